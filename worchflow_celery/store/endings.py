"""Executions are ended from outside: asked to stop while they run, cancelled while they do not."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pymongo import ReturnDocument
from pymongo.collection import Collection

from worchflow_celery.outcome import CALLED_OFF
from worchflow_celery.store import writes
from worchflow_celery.store.attempts import held
from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.executions import PUBLISHED_FOR
from worchflow_celery.store.expressions import later
from worchflow_celery.store.records import Claim, Document, Due, Ending, due_of


@dataclass(frozen=True, slots=True)
class Present:
    """An execution as it was when it was looked at."""

    id: str
    flow: str
    status: str
    epoch: int
    #: ``failed`` or ``cancelled``, while it is undone.
    ending: str | None
    #: Where it runs, or ran last.
    worker: str | None
    #: Its message.
    due: Due
    parent: Mapping[str, Any] | None
    retried_epoch: int


#: The error of an execution that somebody cancelled.
CALLED_OFF_ERROR = {"type": "Cancelled", "message": CALLED_OFF}
#: Whatever an execution was about to do; the epoch fences off who might still believe to own it.
_LEFT: Document = {
    "epoch": {"$add": ["$epoch", 1]},
    "updated_at": "$$NOW",
    **dict.fromkeys(("not_before", "awaits", "asked", "paused", "suspect"), "$$REMOVE"),
}
#: A pause that was asked for meanwhile stays so.
_UNASKED = {"$cond": [{"$eq": ["$asked", "cancel"]}, "$$REMOVE", "$asked"]}
_PRESENT = dict.fromkeys(
    [
        "flow",
        "queue",
        "priority",
        "status",
        "epoch",
        "ending",
        "owner.worker",
        "canvas",
        "message",
        "parent",
        "retried_epoch",
        "publishes",
    ],
    1,
)


class Endings:
    """The way to ``cancelled``; each method is one atomic write."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(self, execution_id: str, what: str) -> Document | None:
        """Ask the worker of a running execution to stop it; ``None``: it does not run.

        Whoever is to be cancelled stays so.
        """
        query: Document = {"_id": {"$eq": execution_id}, "status": "processing"}
        query["ending"] = {"$exists": False}
        if what != "cancel":
            query["asked"] = {"$ne": "cancel"}
        with translated(self._database.settings):
            return self._collection.find_one_and_update(
                query,
                {"$set": {"asked": what}},
                return_document=ReturnDocument.AFTER,
            )

    def decide(self, claim: Claim, ending: Ending) -> bool:
        """Write down how a claimed execution ends; ``False``: the lease is lost.

        Or it was asked to cancel, and this is another end.
        """
        query = held(claim)
        if ending.status != "cancelled":
            query["asked"] = {"$ne": "cancel"}
        change: Document = {"ending": {"$literal": asdict(ending)}, "asked": _UNASKED}
        with translated(self._database.settings):
            return writes.update(self._collection, query, [{"$set": change}])

    def look(self, execution_id: str) -> Present | None:
        """An execution as it is now; ``None``: there is none of this id."""
        with translated(self._database.settings):
            found = self._collection.find_one({"_id": {"$eq": execution_id}}, _PRESENT)
        return present_of(found) if found else None

    def cancel(self, present: Present, *, retention: float | None, follow_up: float | None) -> bool:
        """End an execution that does not run; ``False``: it has changed since it was looked at."""
        change: Document = {
            **_LEFT,
            "status": "cancelled",
            "due_at": "$$REMOVE",
            "error": {"$literal": CALLED_OFF_ERROR},
            "finished_at": "$$NOW",
        }
        if retention is not None:
            change["expires_at"] = later(retention)
        if follow_up is not None:
            change["follow_up_at"] = later(follow_up)
        return self._change(present, change)

    def undo(self, present: Present) -> bool:
        """Have one undone that does not run; it then ends as cancelled."""
        ending = Ending("cancelled", CALLED_OFF_ERROR, present.epoch + 1)
        change: Document = {
            **_LEFT,
            "status": "queued",
            "due_at": later(PUBLISHED_FOR),
            "publishes": 1,
            "ending": {"$literal": asdict(ending)},
        }
        return self._change(present, change)

    def _change(self, present: Present, change: Document) -> bool:
        query = {"_id": present.id, "status": present.status, "epoch": present.epoch}
        with translated(self._database.settings):
            return bool(self._collection.update_one(query, [{"$set": change}]).modified_count)

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("executions")


def present_of(document: Document) -> Present:
    """What a document says of the present."""
    return Present(
        id=document["_id"],
        flow=document["flow"],
        status=document["status"],
        epoch=document["epoch"],
        ending=(document.get("ending") or {}).get("status"),
        worker=(document.get("owner") or {}).get("worker"),
        due=due_of(document),
        parent=document.get("parent"),
        retried_epoch=document.get("retried_epoch", 0),
    )
