"""Waiting executions are called back by what they wait for.

A call is counted on the execution whatever its state is, and an attempt parks only if it was not
called since its claim. So a call that comes while nobody waits yet is not lost, and nobody has to
look again after parking.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pymongo import ASCENDING, ReturnDocument
from pymongo.collection import Collection

from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.executions import PUBLISHED_FOR
from worchflow_celery.store.records import Document, Due, due_of


@dataclass(frozen=True, slots=True)
class Called:
    """An execution that was called out of a line."""

    due: Due
    epoch: int
    #: Its start is counted.
    admitted: bool


class Calls:
    """The way from ``waiting`` to due."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def call(self, execution_id: str, what: str) -> Due | None:
        """Call an execution; return it, to be published, if it waits for this.

        One that is paused becomes due, too, and is published when it is resumed.
        """
        waits = {"$and": [{"$eq": ["$status", "waiting"]}, {"$in": [what, _AWAITS]}]}
        soon = {"$add": ["$$NOW", round(PUBLISHED_FOR * 1000)]}
        change = {
            "calls": {"$add": [{"$ifNull": ["$calls", 0]}, 1]},
            "due_at": {"$cond": [{"$and": [waits, {"$not": ["$paused"]}]}, soon, "$due_at"]},
            "publishes": {"$cond": [waits, 0, "$publishes"]},
            "not_before": {"$cond": [waits, "$$REMOVE", "$not_before"]},
            "awaits": {"$cond": [waits, "$$REMOVE", "$awaits"]},
        }
        query = {"_id": {"$eq": execution_id}, "due_at": {"$exists": True}}
        with translated(self._database.settings):
            before = self._collection.find_one_and_update(
                query, [{"$set": change}], return_document=ReturnDocument.BEFORE
            )
        if before is None or before["status"] != "waiting" or before.get("paused"):
            return None
        return due_of({**before, "publishes": 0}) if what in before.get("awaits", ()) else None

    def call_first(self, whats: Sequence[str]) -> Called | None:
        """Make that execution due that waits for one of these and was created first."""
        change = {
            "calls": {"$add": [{"$ifNull": ["$calls", 0]}, 1]},
            "due_at": {"$add": ["$$NOW", round(PUBLISHED_FOR * 1000)]},
            "publishes": 0,
            "not_before": "$$REMOVE",
            "awaits": "$$REMOVE",
        }
        query = {"awaits": {"$in": list(whats)}, "status": "waiting", "paused": {"$ne": True}}
        with translated(self._database.settings):
            document = self._collection.find_one_and_update(
                query,
                [{"$set": change}],
                sort=[("created_at", ASCENDING)],
                return_document=ReturnDocument.AFTER,
            )
        if document is None:
            return None
        return Called(due_of(document), document["epoch"], bool(document.get("admitted")))

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("executions")


_AWAITS: Document = {"$ifNull": ["$awaits", []]}
