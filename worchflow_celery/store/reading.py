"""What pages and commands read of executions: every query is bounded, by rows and by time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pymongo
from pymongo.collection import Collection

from worchflow_celery.clock import EPOCH, elapsed
from worchflow_celery.errors import CorruptDocument, StoreUnavailable
from worchflow_celery.models import FINISHED, Execution, ExecutionStatus
from worchflow_celery.options import check_search_field, searchable
from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.expressions import belonging
from worchflow_celery.store.finding import NEWEST_FIRST, after_cursor, cursor_of, of_status
from worchflow_celery.store.records import Checkpoint, Document, checkpoint_of, execution_of

#: The most that is counted; one more stands for "more".
MOST_COUNTED = 10_001
#: Data that is larger is not read for a list.
_SHOWN_BYTES = 4096
_LAST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Row:
    """An execution in a list: without its result, its attempts, and data that is large."""

    execution: Execution
    #: Of its encoded data; ``execution.data`` is ``None`` when they are too many to be shown.
    data_bytes: int

    @property
    def shows_data(self) -> bool:
        """Whether its data was read."""
        return self.data_bytes <= _SHOWN_BYTES


@dataclass(frozen=True, slots=True)
class Rows:
    """Some executions, and where the next page begins."""

    rows: list[Row]
    cursor: str | None = None
    #: Ids of documents that cannot be read.
    broken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """What counts of one of a flow's last executions."""

    id: str
    status: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    error: Mapping[str, Any] | None


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """The longest that everything in this block may take together."""
    with pymongo.timeout(seconds):
        yield


class Reading:
    """Bounded queries over executions and their steps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self, filters: Mapping[str, Any], *, limit: int, cursor: str | None = None) -> Rows:
        """A page of executions, newest first."""
        query = {"$and": [filters, after_cursor(cursor)]} if cursor else dict(filters)
        with translated(self._database.settings):
            found = list(self._executions.find(query, _ROW).sort(NEWEST_FIRST).limit(limit + 1))
        more = len(found) > limit
        return _rows(found[:limit], cursor_of(found[limit - 1]) if more else None)

    def by_id(self, beginning: str, limit: int) -> Rows:
        """Executions whose ids begin so, in the order of their ids."""
        within = {"$gte": beginning, "$lt": beginning + _LAST}
        return self._some({"_id": within}, limit)

    def children(self, stems: Sequence[str], limit: int) -> Rows:
        """Executions that steps have begun; their ids are those of the steps, or ``stem.N``."""
        each = [{"_id": {"$gte": f"{one}.", "$lt": f"{one}/"}} for one in stems]
        return self._some({"$or": [{"_id": {"$in": list(stems)}}, *each]}, limit)

    def sent_at(self, execution_ids: Sequence[str]) -> dict[str, datetime]:
        """When each of these executions was sent, of those that are there."""
        query = {"_id": {"$in": list(execution_ids)}}
        with translated(self._database.settings):
            found = list(self._executions.find(query, {"created_at": 1}))
        return {str(one["_id"]): one["created_at"] for one in found}

    def count(self, filters: Mapping[str, Any], most: int = MOST_COUNTED) -> int:
        """How many there are, up to a limit."""
        with translated(self._database.settings):
            return self._executions.count_documents(filters, limit=most)

    def counts(
        self, filters: Mapping[str, Mapping[str, Any]], within: float = 0.15
    ) -> dict[str, int | None]:
        """How many of each there are; ``None`` for what took too long to count."""
        found: dict[str, int | None] = dict.fromkeys(filters)
        self._executions  # noqa: B018 - connects, if that is still to be done
        end = elapsed() + within
        for name, query in filters.items():
            try:
                with patience(max(0.02, end - elapsed())):
                    found[name] = self.count(query)
            except StoreUnavailable:
                continue
        return found

    def samples(self, flow: str, limit: int) -> list[Sample]:
        """The last executions of a flow, newest first."""
        query = {"flow": {"$eq": flow}}
        with translated(self._database.settings):
            found = list(self._executions.find(query, _SAMPLE).sort(NEWEST_FIRST).limit(limit))
        return [_sample(one) for one in found if isinstance(one.get("created_at"), datetime)]

    def last_completed(self, flow: str) -> str | None:
        """The last execution of a flow that has completed, by when it was sent."""
        query = {"flow": {"$eq": flow}, **of_status(["completed"])}
        with translated(self._database.settings):
            found = self._executions.find(query, {"_id": 1}).sort(NEWEST_FIRST).limit(1)
            return next((str(one["_id"]) for one in found), None)

    def runs(self, execution_id: str, limit: int) -> list[Checkpoint]:
        """The recorded runs of an execution's steps, by their starts; ``limit`` at most."""
        with translated(self._database.settings):
            found = list(self._steps.find({"_id": belonging(execution_id)}).limit(limit))
        runs = [run for one in found if (run := _checkpoint(one)) is not None]
        return sorted(runs, key=lambda run: (run.started_at, run.seq))

    def step_samples(self, execution_ids: Sequence[str], limit: int) -> list[Document]:
        """Name, status, attempt and times of the recorded runs of many executions' steps."""
        if not execution_ids:
            return []
        each = [{"_id": belonging(one)} for one in execution_ids]
        with translated(self._database.settings):
            return list(self._steps.find({"$or": each}, _RUN).limit(limit))

    def last_runs(self, execution_ids: Sequence[str], most: int) -> dict[str, list[Document]]:
        """Name, status and times of the runs of each of these executions, ``most`` of each."""
        if not execution_ids:
            return {}
        each: list[list[Document]] = [
            [{"$match": {"_id": belonging(one)}}, {"$limit": most}, {"$project": _RUN}]
            for one in execution_ids
        ]
        name = self._steps.name
        others: list[Document] = [
            {"$unionWith": {"coll": name, "pipeline": one}} for one in each[1:]
        ]
        found: dict[str, list[Document]] = {}
        with translated(self._database.settings):
            for run in self._steps.aggregate([*each[0], *others]):
                found.setdefault(str(run["_id"]).partition(" ")[0], []).append(run)
        return found

    def _some(self, query: Document, limit: int) -> Rows:
        with translated(self._database.settings):
            return _rows(list(self._executions.find(query, _ROW).sort("_id").limit(limit)), None)

    @property
    def _executions(self) -> "Collection[Document]":
        return self._database.collection("executions")

    @property
    def _steps(self) -> "Collection[Document]":
        return self._database.collection("steps")


_BYTES: Document = {
    "$cond": [{"$eq": [{"$type": "$data"}, "string"]}, {"$strLenBytes": "$data"}, 0]
}
_ROW: Document = {
    **dict.fromkeys(
        """flow status attempt crashes error created_at updated_at started_at finished_at due_at
        owner.worker trigger parent scheduled_for paused progress compensated""".split(),
        1,
    ),
    "data": {"$cond": [{"$lte": [_BYTES, _SHOWN_BYTES]}, "$data", "null"]},
    "bytes": _BYTES,
}
_SAMPLE = dict.fromkeys(
    "status created_at started_at finished_at attempt error.type error.message".split(), 1
)
_RUN = dict.fromkeys("key name kind status attempt phase started_at finished_at".split(), 1)


def status_filters(base: Mapping[str, Any]) -> dict[str, Document]:
    """For each status the filter of those executions, and ``all``; what is always quick first."""
    ranked = sorted(ExecutionStatus, key=lambda one: one not in FINISHED)
    return {
        "all": {"created_at": {"$gte": EPOCH}, **base},  # so that an index is read, not documents
        **{str(one): {**base, **of_status([one.value])} for one in ranked},
    }


def searched(field: str, text: str) -> Document:
    """The filter of a search for a field, by a text that may stand for a number."""
    values: list[Any] = [text]
    with suppress(ValueError, OverflowError):
        values.append(searchable(int(text)))
    with suppress(ValueError):
        values.append(float(text))
    if text in ("true", "false"):
        values.append(text == "true")
    return {f"search.{check_search_field(field)}": {"$in": values}}


def _rows(found: Sequence[Document], cursor: str | None) -> Rows:
    rows, broken = [], []
    for one in found:
        try:
            rows.append(Row(execution_of(one), int(one.get("bytes", 0))))
        except CorruptDocument:
            broken.append(str(one["_id"]))
    return Rows(rows, cursor, tuple(broken))


def _sample(document: Document) -> Sample:
    error = document.get("error")
    return Sample(
        id=str(document["_id"]),
        status=str(document.get("status")),
        created_at=document["created_at"],
        started_at=document.get("started_at"),
        finished_at=document.get("finished_at"),
        attempt=document.get("attempt", 0),
        error=error if isinstance(error, Mapping) else None,
    )


def _checkpoint(document: Document) -> Checkpoint | None:
    try:
        return checkpoint_of(document)
    except CorruptDocument:
        return None
