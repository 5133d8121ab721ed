"""Signals that were sent to executions: inserted, never changed.

Which of them are used up is written nowhere but in the checkpoints of the waits that took them.
"""

import itertools
import secrets
from collections.abc import Collection as Many
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pymongo.collection import Collection

from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.expressions import belonging
from worchflow_celery.store.records import Document

_count = itertools.count()


@dataclass(frozen=True, slots=True)
class Received:
    """A signal that an execution got."""

    #: Unique within the execution; it sorts by arrival.
    ref: str
    name: str
    #: Encoded.
    data: str
    #: Of a Celery task that failed, in the place of its result.
    error: Mapping[str, str] | None = None


class Signals:
    """The ``signals`` collection: ``_id`` is execution, moment of arrival and name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(
        self, execution_id: str, name: str, data: str, error: Mapping[str, str] | None = None
    ) -> None:
        """Keep a signal for an execution."""
        now = self._database.now()
        moment = f"{int(now.timestamp() * 1000):013d}{next(_count) % 10**6:06d}"
        document: Document = {
            "_id": f"{execution_id} {moment}{secrets.token_hex(3)} {name}",
            "name": name,
            "data": data,
            "at": now,
        }
        if error is not None:
            document["error"] = dict(error)
        with translated(self._database.settings):
            self._collection.insert_one(document)

    def first(self, execution_id: str, names: Sequence[str], taken: Many[str]) -> Received | None:
        """The earliest signal of these names that no wait has taken."""
        found = (one for one in self.all(execution_id, names) if one.ref not in taken)
        return next(found, None)

    def all(self, execution_id: str, names: Sequence[str]) -> Iterator[Received]:
        """The signals of these names in the order in which they came."""
        query: Document = {"_id": belonging(execution_id), "name": {"$in": list(names)}}
        with translated(self._database.settings):
            for one in self._collection.find(query).sort("_id", 1):
                ref = one["_id"].partition(" ")[2]
                yield Received(ref, one["name"], one["data"], one.get("error"))

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("signals")
