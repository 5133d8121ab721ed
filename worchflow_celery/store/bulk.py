"""Many executions at once: counted, listed in batches, put back in line."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pymongo.collection import Collection

from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.executions import RETRIABLE, RETRIED
from worchflow_celery.store.finding import NEWEST_FIRST, after_cursor, cursor_of
from worchflow_celery.store.records import Document, Due, due_of

#: Executions that are read, and changed, in one go.
BATCH = 500
#: Nobody has cancelled them, and they are not being undone.
NOT_CANCELLED: Document = {"asked": {"$ne": "cancel"}, "ending": {"$exists": False}}


class Bulk:
    """Reads and writes of many executions, safe beside whoever else changes them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, filters: Mapping[str, Any]) -> int:
        """How many there are."""
        with translated(self._database.settings):
            return self._collection.count_documents(filters)

    def batches(self, filters: Mapping[str, Any]) -> Iterator[list[str]]:
        """The ids of those that are there now, newest first: none comes twice."""
        query = dict(filters)
        while True:
            with translated(self._database.settings):
                cursor = self._collection.find(query, {"created_at": 1})
                found = list(cursor.sort(NEWEST_FIRST).limit(BATCH))
            yield [document["_id"] for document in found]
            if len(found) < BATCH:
                return
            query = {"$and": [filters, after_cursor(cursor_of(found[-1]))]}

    def retry(self, execution_ids: Sequence[str], token: str) -> tuple[int, list[Due]]:
        """Put those back in line that are failed or cancelled still: how many, and their messages.

        ``token`` is fresh and random. A message that somebody else has published is not among
        them.
        """
        query = {"_id": {"$in": list(execution_ids)}}
        change = [{"$set": {**RETRIED, "publisher": token}}]
        with translated(self._database.settings):
            changed = self._collection.update_many({**query, **RETRIABLE}, change).modified_count
            won = list(self._collection.find({**query, "publisher": token})) if changed else []
        return changed, [due_of(document) for document in won]

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("executions")
