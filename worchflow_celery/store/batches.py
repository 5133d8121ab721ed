"""Jobs over many executions: one document each, moved on by whoever runs it, gone after a month."""

import secrets
from datetime import timedelta

from pydantic import ValidationError
from pymongo import ASCENDING, IndexModel, ReturnDocument
from pymongo.collection import Collection

from worchflow_celery.observed import Batch
from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.records import Document

#: Seconds after which one that gives no sign of life is taken to have nobody who runs it.
SILENT = 30
_KEPT = timedelta(days=30)
INDEXES = [IndexModel([("expires_at", ASCENDING)], name="expired", expireAfterSeconds=0)]


class Batches:
    """The ``batches`` collection; times are of MongoDB's clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, action: str, filter: str, who: str, total: int) -> Batch:
        """Keep a new one, which waits to be run."""
        now = self._database.now()
        batch = Batch(
            id=secrets.token_hex(8),
            action=action,
            filter=filter,
            who=who,
            total=total,
            status="waiting",
            created_at=now,
            seen_at=now,
        )
        document = batch.model_dump(exclude={"id"}, exclude_none=True)
        self._database.ensure_indexes("batches", INDEXES)
        with translated(self._database.settings):
            self._collection.insert_one({"_id": batch.id, **document, "expires_at": now + _KEPT})
        return batch

    def get(self, id: str) -> Batch | None:
        """Read one."""
        fields = {"now": "$$NOW", **dict.fromkeys(Batch.model_fields, 1)}
        with translated(self._database.settings):
            return _batch_of(self._collection.find_one({"_id": {"$eq": id}}, fields))

    def take(self, id: str, owner: str) -> Batch | None:
        """Run one that waits; ``None``: another one does, or it was stopped."""
        change: Document = {"status": "running", "owner": {"$literal": owner}, "seen_at": "$$NOW"}
        return self._change({"_id": {"$eq": id}, "status": "waiting"}, change)

    def advance(
        self, id: str, owner: str, *, changed: int, skipped: int, cursor: str | None
    ) -> Batch | None:
        """Count what was done; no ``cursor``: all is done. ``None``: somebody else runs it."""
        change: Document = {
            "changed": {"$add": ["$changed", changed]},
            "skipped": {"$add": ["$skipped", skipped]},
            "cursor": {"$literal": cursor},
            "seen_at": "$$NOW",
        }
        if cursor is None:
            change |= {"status": "completed", "finished_at": "$$NOW"}
        return self._change({"_id": {"$eq": id}, "owner": {"$eq": owner}}, change)

    def stop(self, id: str, note: str | None = None) -> Batch | None:
        """Stop one that has not ended, after what is being done now."""
        change: Document = {"status": "stopped", "note": {"$literal": note}, "seen_at": "$$NOW"}
        running = {"$in": ["waiting", "running"]}
        return self._change({"_id": {"$eq": id}, "status": running}, change)

    def wait_again(self, id: str) -> Batch | None:
        """Have one run on that was stopped, or whose runner is gone."""
        silent = {"$lt": ["$seen_at", {"$subtract": ["$$NOW", SILENT * 1000]}]}
        left = {"status": {"$in": ["waiting", "running"]}, "$expr": silent}
        change: Document = {
            "status": "waiting",
            "owner": "$$REMOVE",
            "note": "$$REMOVE",
            "seen_at": "$$NOW",
        }
        return self._change({"_id": {"$eq": id}, "$or": [{"status": "stopped"}, left]}, change)

    def _change(self, query: Document, change: Document) -> Batch | None:
        with translated(self._database.settings):
            found = self._collection.find_one_and_update(
                query, [{"$set": change}], return_document=ReturnDocument.AFTER
            )
        return _batch_of(found)

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("batches")


def _batch_of(document: Document | None) -> Batch | None:
    if document is None:
        return None
    try:
        silent = (document.get("now", document["seen_at"]) - document["seen_at"]).total_seconds()
        lost = silent > SILENT and document["status"] in ("waiting", "running")
        return Batch.model_validate({**document, "id": document["_id"], "lost": lost})
    except (KeyError, TypeError, ValidationError):
        return None  # of another version
