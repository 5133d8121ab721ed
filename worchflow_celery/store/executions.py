"""Executions as their senders and readers see them: insert, get, find, retry."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from pymongo import InsertOne, ReturnDocument
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from worchflow_celery.errors import ExecutionNotFound, InvalidTransition
from worchflow_celery.models import Execution, ExecutionStatus, Page
from worchflow_celery.store.database import Database, translated, write_new
from worchflow_celery.store.finding import NEWEST_FIRST, after_cursor, cursor_of
from worchflow_celery.store.records import (
    Document,
    Due,
    Finished,
    NewExecution,
    corrupt,
    due_of,
    execution_of,
)

#: Seconds after a publish until the message counts as lost.
PUBLISHED_FOR = 5.0
_OUTCOME = ("status", "result", "error")


class Executions:
    """The ``executions`` collection; each method is one atomic read or write."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, new: NewExecution) -> bool:
        """Store an execution as ``queued``; ``False`` when its id is taken."""
        with translated(self._database.settings):
            try:
                self._collection.insert_one(self._document(new))
            except DuplicateKeyError:
                return False
        return True

    def insert_many(self, many: Sequence[NewExecution]) -> set[str]:
        """Store executions in one write; return the ids of those that were not there yet."""
        inserts = [InsertOne(self._document(new)) for new in many]
        with translated(self._database.settings):
            taken = set(write_new(self._collection, inserts))
        return {new.id for number, new in enumerate(many) if number not in taken}

    def unfinished(self, execution_ids: Sequence[str]) -> set[str]:
        """Which of these executions have not ended."""
        query = {"_id": {"$in": list(execution_ids)}, "due_at": {"$exists": True}}
        with translated(self._database.settings):
            return {document["_id"] for document in self._collection.find(query, {"_id": 1})}

    def identity(self, execution_id: str) -> tuple[str, str] | None:
        """The flow and the fingerprint of the data of an execution."""
        document = self._find_one(execution_id, {"flow": 1, "data_hash": 1})
        return (document["flow"], document.get("data_hash", "")) if document else None

    def publish_failed(self, *execution_ids: str) -> None:
        """Note that the first messages of executions never went out: due at once."""
        query = {"_id": {"$in": list(execution_ids)}, "status": "queued"}
        with translated(self._database.settings):
            self._collection.update_many(
                {**query, "epoch": 0, "publishes": 1},
                [{"$set": {"due_at": "$$NOW", "publishes": 0}}],
            )

    def get(self, execution_id: str) -> Execution:
        """Read an execution; raises ``ExecutionNotFound``."""
        document = self._find_one(execution_id)
        if document is None:
            raise _not_found(execution_id)
        return execution_of(document)

    def status(self, execution_id: str) -> tuple[ExecutionStatus, str]:
        """The status of an execution, and its flow; raises ``ExecutionNotFound``."""
        document = self._known(execution_id, "status", "flow")
        return ExecutionStatus(document["status"]), document.get("flow", "")

    def raw_result(self, execution_id: str) -> tuple[str, str | None, Mapping[str, Any] | None]:
        """The status of an execution, its encoded result and its error."""
        document = self._known(execution_id, *_OUTCOME)
        return document["status"], document.get("result"), document.get("error")

    def find(self, filters: Mapping[str, Any], *, limit: int, cursor: str | None) -> Page:
        """A page of executions, newest first."""
        query = {"$and": [filters, after_cursor(cursor)]} if cursor else dict(filters)
        with translated(self._database.settings):
            found = list(self._collection.find(query).sort(NEWEST_FIRST).limit(limit + 1))
        page = [execution_of(document) for document in found[:limit]]
        more = len(found) > limit
        return Page(page, cursor_of(found[limit - 1]) if more else None)

    def retry(self, execution_id: str) -> Due:
        """Put a failed or cancelled execution back in line: attempts begin again at 1.

        Raises ``InvalidTransition`` naming the present status, or ``ExecutionNotFound``.
        """
        with translated(self._database.settings):
            document = self._collection.find_one_and_update(
                {"_id": execution_id, **RETRIABLE},
                [{"$set": RETRIED}],
                return_document=ReturnDocument.AFTER,
            )
        if document is None:
            status = self.get(execution_id).status
            raise InvalidTransition(
                f"execution {execution_id!r} is {status}: only a failed or cancelled one can be "
                "retried"
            )
        return due_of(document)

    def follow_up(self, execution_id: str) -> Finished | None:
        """A finished execution after which Celery has yet to go on."""
        document = self._find_one(
            execution_id, dict.fromkeys([*_OUTCOME, "canvas", "parent", "follow_up_at"], 1)
        )
        if document is None or document.get("follow_up_at") is None:
            return None
        return Finished(
            id=execution_id,
            status=document["status"],
            result=document.get("result"),
            error=document.get("error"),
            canvas=document.get("canvas"),
            parent=document.get("parent"),
        )

    def followed_up(self, execution_id: str) -> None:
        """Celery has gone on: its links, chain and chord are on their way."""
        with translated(self._database.settings):
            self._collection.update_one({"_id": execution_id}, {"$unset": {"follow_up_at": ""}})

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("executions")

    def _document(self, new: NewExecution) -> Document:
        now = self._database.now()
        document: Document = {
            "_id": new.id,
            "flow": new.flow,
            "data": new.data,
            "data_hash": new.data_hash,
            "status": ExecutionStatus.QUEUED.value,
            **dict.fromkeys(("attempt", "epoch", "beat", "crashes"), 0),
            "queue": new.queue,
            "trigger": dict(new.trigger),
            "created_at": now,
            "updated_at": now,
            "due_at": new.not_before or now + timedelta(seconds=PUBLISHED_FOR),
            "publishes": 0 if new.not_before else 1,
        }
        return document | _present(
            search=dict(new.search),
            priority=new.priority,
            not_before=new.not_before,
            canvas=new.canvas,
            message=new.message,
            scheduled_for=new.scheduled_for,
            copied=asdict(new.copied) if new.copied else None,
            parent=dict(new.parent) if new.parent else None,
            depth=new.depth or None,
            trace=new.trace,
        )

    def _known(self, execution_id: str, *fields: str) -> Document:
        """These fields of an execution, of which one is its status."""
        document = self._find_one(execution_id, dict.fromkeys(fields, 1))
        if document is None:
            raise _not_found(execution_id)
        if document.get("status") not in list(ExecutionStatus):
            raise corrupt("execution", execution_id, ValueError("it has no status"))
        return document

    def _find_one(
        self, execution_id: str, projection: Mapping[str, Any] | None = None
    ) -> Document | None:
        with translated(self._database.settings):
            return self._collection.find_one({"_id": {"$eq": execution_id}}, projection)


RETRIABLE: Document = {
    "status": {"$in": ["failed", "cancelled"]},
    "purging": {"$exists": False},
}
#: Raises the epoch: whoever might still believe to own the execution is fenced off.
RETRIED: Document = {
    "status": "queued",
    "attempt": 0,
    "epoch": {"$add": ["$epoch", 1]},
    "crashed": [],
    "admitted": "$$REMOVE",
    "current_step": "$$REMOVE",
    "retried_epoch": {"$add": ["$epoch", 1]},
    "compensated": "$$REMOVE",
    "trigger": {"kind": "retry", "ref": "$$REMOVE"},
    "error": "$$REMOVE",
    "not_before": "$$REMOVE",
    "finished_at": "$$REMOVE",
    "expires_at": "$$REMOVE",
    "follow_up_at": "$$REMOVE",
    "updated_at": "$$NOW",
    "due_at": {"$add": ["$$NOW", int(PUBLISHED_FOR * 1000)]},
    "publishes": 1,
}


def _not_found(execution_id: str) -> ExecutionNotFound:
    return ExecutionNotFound(
        f"no execution has the id {execution_id!r:.80}: it may have been removed after its "
        "retention, or belong to another worchflow_prefix"
    )


def _present(**fields: Any) -> Document:
    return {name: value for name, value in fields.items() if value not in (None, {})}
