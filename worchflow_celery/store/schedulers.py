"""Which schedulers there are: one document each, written anew while its loop turns."""

from pydantic import ValidationError
from pymongo import ASCENDING, IndexModel
from pymongo.collection import Collection

from worchflow_celery.observed import SchedulerInfo
from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.records import Document

#: Seconds for which a silent scheduler is taken to live: three of its signs of life.
_SILENT = 15.0
#: Seconds for which one that is gone can still be seen.
_REMEMBERED = 86_400
_PATIENCE_MS = 3000
INDEXES = [IndexModel([("expires_at", ASCENDING)], name="expired", expireAfterSeconds=0)]


class Schedulers:
    """The ``schedulers`` collection; times are of MongoDB's clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def seen(self, id: str, host: str, pid: int, token: str | None) -> None:
        """A scheduler gives a sign of life; ``token`` is of its term, if it leads."""
        same = {"$eq": [{"$ifNull": ["$token", ""]}, {"$literal": token or ""}]}
        change: Document = {
            "host": {"$literal": host},
            "pid": pid,
            "token": {"$literal": token},
            "since": {"$cond": [same, {"$ifNull": ["$since", "$$NOW"]}, "$$NOW"]},
            "seen_at": "$$NOW",
            "expires_at": {"$add": ["$$NOW", _REMEMBERED * 1000]},
        }
        self._database.ensure_indexes("schedulers", INDEXES)
        with translated(self._database.settings):
            self._collection.update_one({"_id": {"$eq": id}}, [{"$set": change}], upsert=True)

    def all(self, limit: int) -> list[SchedulerInfo]:
        """Those that live, the last one seen first."""
        fields = {"now": "$$NOW", **dict.fromkeys(SchedulerInfo.model_fields, 1)}
        with translated(self._database.settings):
            found = self._collection.find({}, fields).sort("expires_at", -1)  # as it was seen
            documents = list(found.limit(limit).max_time_ms(_PATIENCE_MS))
        return [info for one in documents if (info := _info_of(one))]

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("schedulers")


def _info_of(document: Document) -> SchedulerInfo | None:
    try:
        silent = (document["now"] - document["seen_at"]).total_seconds()
        info = SchedulerInfo.model_validate({**document, "id": document["_id"]})
    except (KeyError, TypeError, ValidationError):
        return None  # of another version, or none of ours
    return info if silent <= _SILENT else None
