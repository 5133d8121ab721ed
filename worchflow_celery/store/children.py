"""Executions that a step of another execution has begun."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo.collection import Collection

from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.records import Document

_FIELDS: Document = dict.fromkeys(("status", "result", "error"), 1)


@dataclass(frozen=True, slots=True)
class Child:
    """What has become of a child."""

    id: str
    status: str
    #: Encoded, when it completed.
    result: str | None
    error: Mapping[str, Any] | None


class Children:
    """Queries over the parents that executions name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, ids: Sequence[str]) -> dict[str, Child]:
        """Those of the children that exist, by id."""
        with translated(self._database.settings):
            found = self._collection.find({"_id": {"$in": list(ids)}}, _FIELDS)
            return {
                one["_id"]: Child(one["_id"], one["status"], one.get("result"), one.get("error"))
                for one in found
            }

    def unfinished(self, parent_id: str, key: str | None = None) -> list[str]:
        """The awaited children of an execution, or of one of its steps, that have not ended."""
        query = self._unfinished(parent_id, key)
        with translated(self._database.settings):
            return [one["_id"] for one in self._collection.find(query, {"_id": 1})]

    def are_finished(self, parent_id: str, key: str) -> bool:
        """Whether all awaited children of a step have ended."""
        with translated(self._database.settings):
            return self._collection.find_one(self._unfinished(parent_id, key), {"_id": 1}) is None

    @staticmethod
    def _unfinished(parent_id: str, key: str | None) -> Document:
        query: Document = {
            "parent.id": {"$eq": parent_id},
            "parent.waits": True,
            "due_at": {"$exists": True},
        }
        return query if key is None else {**query, "parent.key": {"$eq": key}}

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("executions")
