"""What executions log: inserted in batches, confirmed by one server, removed with the execution.

Not fenced: what an attempt logs after it has lost its lease is kept, too, under its own epoch.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from operator import attrgetter

from pydantic import ValidationError
from pymongo import InsertOne, WriteConcern
from pymongo.collection import Collection

from worchflow_celery import codec
from worchflow_celery.observed import LogLine
from worchflow_celery.store.database import Database, translated, write_new
from worchflow_celery.store.expressions import belonging
from worchflow_celery.store.records import Document, shown

#: Lines that are kept of one execution; one more says that there were more.
KEPT = 1000
_PATIENCE_MS = 3000
_MORE = f"This execution has logged more than the {KEPT} lines that are kept"


@dataclass(frozen=True, slots=True)
class NewLine:
    """A line that is to be stored."""

    execution_id: str
    #: Of the attempt, and which line of it this is: together its place.
    epoch: int
    number: int
    at: datetime
    level: str
    message: str
    #: Encoded.
    fields: str | None
    step: str | None
    attempt: int


class Logs:
    """The ``logs`` collection: ``_id`` is execution, epoch and number."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, lines: Iterable[NewLine]) -> None:
        """Store lines, as far as their executions have room; known ones are left alone."""
        with translated(self._database.settings):
            writes: list[InsertOne[Document]] = []
            key = attrgetter("execution_id", "epoch")
            for _, of_one in groupby(sorted(lines, key=key), key=key):
                writes += [InsertOne(_document(line)) for line in self._that_fit(list(of_one))]
            if writes:
                collection = self._collection.with_options(write_concern=WriteConcern(w=1, j=False))
                write_new(collection, writes)

    def read(self, execution_id: str, after: str | None, limit: int) -> list[LogLine]:
        """Lines in their order, those after one."""
        within = belonging(execution_id)
        if after is not None:
            del within["$gte"]
            within["$gt"] = f"{execution_id} {after}"
        with translated(self._database.settings):
            found = self._collection.find({"_id": within}).sort("_id", 1).limit(limit)
            documents = list(found.max_time_ms(_PATIENCE_MS))
        return [line for document in documents if (line := _line_of(document))]

    def _that_fit(self, lines: list[NewLine]) -> list[NewLine]:
        first = lines[0]
        before = first.number
        if first.epoch > 1:  # attempts before this one may have filled it
            within = {"_id": belonging(first.execution_id)}
            before = self._collection.count_documents(within, limit=KEPT + 1)
        room = KEPT - before
        if room < 0:
            return []
        if len(lines) > room:
            lines[room:] = [replace(lines[room], message=_MORE, fields=None, level="WARNING")]
        return lines

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("logs")


def _document(line: NewLine) -> Document:
    document: Document = {
        "_id": f"{line.execution_id} {line.epoch:08d}.{line.number:06d}",
        "at": line.at,
        "level": line.level,
        "message": line.message,
        "attempt": line.attempt,
    }
    more = {"step": line.step, "fields": line.fields}
    return document | {name: value for name, value in more.items() if value is not None}


def _line_of(document: Document) -> LogLine | None:
    try:
        place = document["_id"].partition(" ")[2]
        fields = shown(document.get("fields"))
        return LogLine.model_validate({**document, "id": place, "fields": fields})
    except (ValidationError, codec.UndecodableValue, AttributeError):
        return None  # none of ours
