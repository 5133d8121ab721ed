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

    def count(self, filters: Mapping[str, Any], most: int | None = None) -> int:
        """How many there are, or up to a limit."""
        with translated(self._database.settings):
            if most is None:
                return self._collection.count_documents(filters)
            return self._collection.count_documents(filters, limit=most)

    def batches(self, filters: Mapping[str, Any]) -> Iterator[list[str]]:
        """The ids of those that are there now, newest first: none comes twice."""
        cursor: str | None = None
        while True:
            ids, cursor = self.batch(filters, cursor)
            yield ids
            if cursor is None:
                return

    def batch(
        self, filters: Mapping[str, Any], cursor: str | None = None, limit: int = BATCH
    ) -> tuple[list[str], str | None]:
        """Some of the ids, newest first, and where those after them begin, if there are any."""
        query = {"$and": [filters, after_cursor(cursor)]} if cursor else dict(filters)
        with translated(self._database.settings):
            found = self._collection.find(query, {"created_at": 1})
            documents = list(found.sort(NEWEST_FIRST).limit(limit))
        more = len(documents) == limit
        return [one["_id"] for one in documents], cursor_of(documents[-1]) if more else None

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
