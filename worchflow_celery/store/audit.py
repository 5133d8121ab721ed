"""Who did what to executions and schedules: inserted, never changed, never removed by us."""

import itertools
import secrets

from pydantic import ValidationError
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.collection import Collection

from worchflow_celery.observed import AuditRecord
from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.records import Document

_PATIENCE_MS = 3000
_count = itertools.count()
INDEXES = [IndexModel([("target", ASCENDING), ("_id", DESCENDING)], name="of_target")]


class Audit:
    """The ``audit`` collection: ``_id`` begins with the moment, so that it sorts by it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, who: str, action: str, target: str, n: int, note: str | None) -> AuditRecord:
        """Keep a record."""
        now = self._database.now()
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as MongoDB keeps it
        moment = f"{int(now.timestamp() * 1000):013d}{next(_count) % 10**6:06d}"
        record = AuditRecord(
            id=f"{moment}-{secrets.token_hex(6)}",
            at=now,
            who=who,
            action=action,
            target=target,
            n=n,
            note=note,
        )
        document = record.model_dump(exclude_none=True)
        document["_id"] = document.pop("id")
        self._database.ensure_indexes("audit", INDEXES)
        with translated(self._database.settings):
            self._collection.insert_one(document)
        return record

    def newest(self, limit: int, *, before: str | None, target: str | None) -> list[AuditRecord]:
        """Records, newest first: those before one, those of one target."""
        query: Document = {}
        if before is not None:
            query["_id"] = {"$lt": before}
        if target is not None:
            query["target"] = {"$eq": target}
        with translated(self._database.settings):
            found = self._collection.find(query).sort("_id", -1).limit(limit)
            documents = list(found.max_time_ms(_PATIENCE_MS))
        return [record for document in documents if (record := _record_of(document))]

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("audit")


def _record_of(document: Document) -> AuditRecord | None:
    try:
        return AuditRecord.model_validate({**document, "id": document["_id"]})
    except ValidationError:
        return None  # none of ours
