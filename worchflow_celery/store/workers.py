"""Which workers there are: one document each, written anew by its dispatcher, gone a day after."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pymongo import ASCENDING, IndexModel
from pymongo.collection import Collection

from worchflow_celery.observed import WorkerInfo
from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.records import Document

#: Seconds for which a silent worker is taken to live: three of its heartbeats.
_SILENT = 15.0
#: Seconds for which a worker that is gone can still be seen.
_REMEMBERED = 86_400.0
#: Seconds that a read for people may take.
_PATIENCE_MS = 3000
INDEXES = [IndexModel([("expires_at", ASCENDING)], name="expired", expireAfterSeconds=0)]


class Workers:
    """The ``workers`` collection; times are of MongoDB's clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def seen(self, id: str, facts: Mapping[str, Any]) -> None:
        """A worker gives a sign of life, with what there is to know about it."""
        self._write(
            id,
            {
                **{name: {"$literal": value} for name, value in facts.items()},
                "started_at": {"$ifNull": ["$started_at", "$$NOW"]},
                "seen_at": "$$NOW",
                "stopping_at": "$$REMOVE",
                "expires_at": {"$add": ["$$NOW", round(_REMEMBERED * 1000)]},
            },
            new=True,
        )

    def stops(self, id: str) -> None:
        """A worker begins to shut down."""
        self._write(id, {"stopping_at": "$$NOW", "seen_at": "$$NOW"})

    def all(self, limit: int) -> list[WorkerInfo]:
        """Those that were seen within a day, the last one seen first."""
        fields = {"now": "$$NOW", **dict.fromkeys(WorkerInfo.model_fields, 1)}
        with translated(self._database.settings):
            found = self._collection.find({}, fields).sort("expires_at", -1)  # as it was seen
            documents = list(found.limit(limit).max_time_ms(_PATIENCE_MS))
        return [info for document in documents if (info := _info_of(document))]

    def _write(self, id: str, change: Document, *, new: bool = False) -> None:
        self._database.ensure_indexes("workers", INDEXES)
        with translated(self._database.settings):
            self._collection.update_one({"_id": {"$eq": id}}, [{"$set": change}], upsert=new)

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("workers")


def _info_of(document: Document) -> WorkerInfo | None:
    try:
        silent = (document["now"] - document["seen_at"]).total_seconds()
        alive = silent <= _SILENT and document.get("stopping_at") is None
        return WorkerInfo.model_validate({**document, "id": document["_id"], "alive": alive})
    except (KeyError, TypeError, ValidationError):
        return None  # of another version, or none of ours
