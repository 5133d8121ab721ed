"""Waiting executions are called back by what they wait for."""

from pymongo import ReturnDocument
from pymongo.collection import Collection

from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.executions import PUBLISHED_FOR
from worchflow_celery.store.records import Document, Due, due_of


class Calls:
    """The way from ``waiting`` to due; a call that finds nobody waiting does nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def call(self, execution_id: str, what: str) -> Due | None:
        """Make an execution due that waits for this; return it, to be published.

        One that is paused becomes due, too, and is published when it is resumed.
        """
        now_due = {"$add": ["$$NOW", round(PUBLISHED_FOR * 1000)]}
        change = {
            "due_at": {"$cond": ["$paused", "$due_at", now_due]},
            "publishes": 0,
            "not_before": "$$REMOVE",
            "awaits": "$$REMOVE",
        }
        query = {"_id": {"$eq": execution_id}, "status": "waiting", "awaits": {"$eq": what}}
        with translated(self._database.settings):
            document = self._collection.find_one_and_update(
                query, [{"$set": change}], return_document=ReturnDocument.AFTER
            )
        return due_of(document) if document and not document.get("paused") else None

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("executions")
