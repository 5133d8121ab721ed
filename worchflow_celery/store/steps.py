"""Checkpoints: one insert each, never changed, the first writer wins."""

from dataclasses import fields
from operator import attrgetter

from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from worchflow_celery.models import StepRecord
from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.expressions import belonging
from worchflow_celery.store.records import (
    Checkpoint,
    Document,
    Recorded,
    checkpoint_of,
    recorded_of,
)
from worchflow_celery.store.timeline import step_record_of
from worchflow_celery.store.together import Together

#: An execution's id holds no space and a step's name no tab, so that these never meet.
_KEY, _RUN = " ", "\t"

_FIELDS = tuple(field.name for field in fields(Checkpoint))
_VALUES = attrgetter(*_FIELDS)
_RECORDED = dict.fromkeys((field.name for field in fields(Recorded)), 1)

#: So many fit into one answer of the server, unless they are large.
_BATCH = 100_000


class Steps:
    """The ``steps`` collection.

    A completed step is ``execution key``; its failures, kept for the timeline, are
    ``execution key`` + tab + number, the beginnings of its waits the same with a ``w``. What is
    recorded of its compensation, and of its next run when it was undone, has a tab and that
    behind the key. One range of ``_id`` brings all of an execution.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._together = Together()

    def insert(self, execution_id: str, checkpoint: Checkpoint) -> Recorded | None:
        """Record one run of a step; ``None`` when it is stored.

        When somebody, or an earlier try of this very call, has recorded that run already:
        what is recorded.
        """
        document: Document = {"_id": _id_of(execution_id, checkpoint)}
        for name, value in zip(_FIELDS, _VALUES(checkpoint), strict=True):
            if value is not None and value is not False:
                document[name] = value
        with translated(self._database.settings):
            while True:
                try:
                    self._together.insert(self._collection, document)
                    return None
                except DuplicateKeyError:
                    # Read with majority: what is not there yet may never be; then insert again.
                    found = self._collection.find_one({"_id": document["_id"]})
                    if found is not None:
                        return recorded_of(found)

    def read(self, execution_id: str) -> list[Recorded]:
        """All recorded runs of an execution's steps, in no order."""
        return [recorded_of(document) for document in self._of(execution_id, _RECORDED)]

    def read_undoing(self, execution_id: str) -> list[Recorded]:
        """Those alone that tell what is to be undone, and what was; without their results."""
        only = {name: 1 for name in _RECORDED if name != "result"}
        either = {"$or": [{"undo": True}, {"phase": "compensate"}]}
        return [recorded_of(document) for document in self._of(execution_id, only, either)]

    def records(self, execution_id: str) -> list[StepRecord]:
        """An execution's steps as a user reads them, by first start."""
        runs: dict[tuple[str, str | None], list[Checkpoint]] = {}
        found = [checkpoint_of(document) for document in self._of(execution_id)]
        for run in sorted(found, key=lambda run: (run.started_at, run.seq)):
            runs.setdefault((run.key, run.phase), []).append(run)
        return [step_record_of(execution_id, of_step) for of_step in runs.values()]

    def _of(
        self, execution_id: str, only: Document | None = None, more: Document | None = None
    ) -> list[Document]:
        query = {"_id": belonging(execution_id), **(more or {})}
        with translated(self._database.settings):
            return list(self._collection.find(query, only, batch_size=_BATCH))

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("steps")


def _id_of(execution_id: str, checkpoint: Checkpoint) -> str:
    identity = execution_id + _KEY + checkpoint.key
    if checkpoint.phase or checkpoint.again:
        identity += f"{_RUN}{checkpoint.phase or 'again'}{checkpoint.again or 0}"
    if checkpoint.status == "waiting":
        return f"{identity}{_RUN}w{checkpoint.attempt}"
    failed = checkpoint.status == "failed" and not checkpoint.final
    return f"{identity}{_RUN}{checkpoint.attempt}" if failed else identity
