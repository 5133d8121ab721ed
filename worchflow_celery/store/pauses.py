"""Executions are held where they are, and let go on."""

from collections.abc import Sequence

from pymongo import ReturnDocument
from pymongo.collection import Collection

from worchflow_celery.models import Execution
from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.executions import PUBLISHED_FOR
from worchflow_celery.store.records import Document, Due, due_of, execution_of

#: A part of filters: whoever claims, sweeps or publishes leaves paused executions alone.
NOT_PAUSED: Document = {"paused": {"$ne": True}}

#: Milliseconds.
_A_DAY = 86_400_000
_RUNS = {"$eq": ["$status", "processing"]}


class Pauses:
    """The flag ``paused`` of unfinished executions; each method is one atomic write."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pause(self, execution_id: str) -> Execution | None:
        """Hold an execution, and ask its worker to stop; ``None``: it is over, or unknown."""
        asked = {"$ifNull": ["$asked", "pause"]}
        change = {
            "paused": True,
            "asked": {"$cond": [_RUNS, asked, {"$ifNull": ["$asked", "$$REMOVE"]}]},
            "updated_at": {"$cond": ["$paused", "$updated_at", "$$NOW"]},
        }
        document = self._change(execution_id, {}, change)
        return execution_of(document) if document else None

    def resume(self, execution_id: str) -> tuple[Execution, Due | None] | None:
        """Let a paused execution go on, from when it was to go on anyhow; ``None``: it is not.

        With it, what is to be published; nothing if it runs, or its time has not come.
        """
        still_to_wait = {"$gt": ["$not_before", "$$NOW"]}  # a missing one is less than any time
        soon = {"$add": ["$$NOW", round(PUBLISHED_FOR * 1000)]}
        due = {"$cond": [still_to_wait, "$not_before", soon]}
        change = {
            "paused": "$$REMOVE",
            "asked": {"$cond": [{"$eq": ["$asked", "pause"]}, "$$REMOVE", "$asked"]},
            "due_at": {"$cond": [_RUNS, "$due_at", due]},
            "publishes": {"$cond": [_RUNS, "$publishes", 0]},
            "updated_at": "$$NOW",
        }
        document = self._change(execution_id, {"paused": True}, change)
        if document is None:
            return None
        waits = "not_before" in document and document["not_before"] >= document["due_at"]
        published = document["status"] != "processing" and not waits
        return execution_of(document), due_of(document) if published else None

    def rest(self, queues: Sequence[str]) -> None:
        """Put paused executions that are due out of the dispatchers' sight, for a day."""
        query: Document = {
            "queue": {"$in": list(queues)},
            "status": {"$in": ["queued", "retrying", "waiting"]},
            "due_at": {"$lte": self._database.now()},
            "paused": True,
        }
        later = {"due_at": {"$add": ["$$NOW", _A_DAY]}}
        with translated(self._database.settings):
            self._collection.update_many(query, [{"$set": later}])

    def _change(self, execution_id: str, also: Document, change: Document) -> Document | None:
        query = {"_id": {"$eq": execution_id}, "due_at": {"$exists": True}, **also}
        with translated(self._database.settings):
            return self._collection.find_one_and_update(
                query, [{"$set": change}], return_document=ReturnDocument.AFTER
            )

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("executions")
