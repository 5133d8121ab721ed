"""Executions are ended from outside: asked to stop while they run, cancelled while they do not."""

from pymongo import ReturnDocument
from pymongo.collection import Collection

from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.records import Document


class Endings:
    """The way to ``cancelled``; each method is one atomic write."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(self, execution_id: str, what: str) -> Document | None:
        """Ask the worker of a running execution to stop it; ``None``: it does not run.

        Whoever is to be cancelled stays so.
        """
        query: Document = {"_id": {"$eq": execution_id}, "status": "processing"}
        if what != "cancel":
            query["asked"] = {"$ne": "cancel"}
        with translated(self._database.settings):
            return self._collection.find_one_and_update(
                query,
                {"$set": {"asked": what}},
                return_document=ReturnDocument.AFTER,
            )

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("executions")
