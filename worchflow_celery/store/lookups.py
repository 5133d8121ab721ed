"""What an operator asks beside `find`: ids by their beginning, last steps, failures in groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING
from pymongo.collection import Collection

from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.expressions import belonging
from worchflow_celery.store.finding import NEWEST_FIRST, of_status

Document = dict[str, Any]

#: After every character of an id.
_END = "\x7f"
#: Failures, and steps, that are looked at for one answer.
_MOST_FAILURES, _MOST_STEPS = 10_000, 10_000
_HEAD = 120


@dataclass(frozen=True, slots=True)
class Failure:
    """An execution that failed."""

    id: str
    #: When it was sent.
    at: datetime
    type: str
    #: Its beginning.
    message: str


class Lookups:
    """Bounded reads over executions and steps, for people; nothing here is on a hot path."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ids(self, prefix: str, limit: int) -> list[str]:
        """Ids that begin with this, in order."""
        within = {"$gte": prefix, "$lt": prefix + _END}
        with translated(self._database.settings):
            found = self._executions.find({"_id": within}, {"_id": 1})
            return [one["_id"] for one in found.sort("_id", ASCENDING).limit(limit)]

    def last_steps(self, execution_ids: Sequence[str]) -> dict[str, str]:
        """The name of the last step that each of these executions has recorded."""
        if not execution_ids:
            return {}
        ranges = [{"_id": belonging(one)} for one in execution_ids]
        fields = {"name": 1, "seq": 1, "started_at": 1}
        last: dict[str, tuple[Any, Any, str]] = {}
        with translated(self._database.settings):
            steps = self._database.collection("steps").find({"$or": ranges}, fields)
            for step in steps.limit(_MOST_STEPS):
                owner = str(step["_id"]).partition(" ")[0]
                mark = (step.get("started_at"), step.get("seq"), str(step.get("name")))
                if owner not in last or _is_later(mark, last[owner]):
                    last[owner] = mark
        return {owner: name for owner, (_, _, name) in last.items()}

    def failed(self, flow: str, since: datetime, limit: int) -> list[Failure]:
        """The newest failed executions of a flow."""
        query = {"flow": {"$eq": flow}, **of_status(["failed"]), "created_at": {"$gte": since}}
        fields = {"at": "$created_at", "type": _GROUP["type"], "message": _GROUP["message"]}
        with translated(self._database.settings):
            found = self._executions.find(query, fields).sort(NEWEST_FIRST).limit(limit)
            return [Failure(str(one.pop("_id")), **one) for one in found]

    def failures(self, since: datetime, flow: str | None, limit: int) -> list[Document]:
        """Failed executions in groups of flow, type and beginning of the message.

        Each with its count, the newest id and when that ended; of the newest 10,000.
        """
        query: Document = {
            "status": "failed",
            "finished_at": {"$exists": True},
            "created_at": {"$gte": since},
        }
        if flow is not None:
            query["flow"] = {"$eq": flow}
        newest = {"created_at": DESCENDING, "_id": DESCENDING}
        pipeline: list[Document] = [
            {"$match": query},
            {"$sort": newest},
            {"$limit": _MOST_FAILURES},
            {"$group": {"_id": _GROUP, "count": {"$sum": 1}, **_NEWEST}},
            {"$sort": {"count": DESCENDING, "last": DESCENDING, "_id": ASCENDING}},
            {"$limit": limit},
        ]
        with translated(self._database.settings):
            found = list(self._executions.aggregate(pipeline))
        return [{**one["_id"], **{k: one[k] for k in ("count", "last", "id")}} for one in found]

    @property
    def _executions(self) -> "Collection[Document]":
        return self._database.collection("executions")


def _text(field: str) -> Document:
    """The beginning of a stored text, whatever somebody has put there."""
    held = {"$cond": [{"$eq": [{"$type": field}, "string"]}, field, ""]}
    return {"$substrCP": [held, 0, _HEAD]}


_GROUP = {"flow": "$flow", "type": _text("$error.type"), "message": _text("$error.message")}
_NEWEST: Document = {"last": {"$first": "$finished_at"}, "id": {"$first": "$_id"}}


def _is_later(one: tuple[Any, Any, str], other: tuple[Any, Any, str]) -> bool:
    try:
        return bool(one[:2] > other[:2])
    except TypeError:  # a document that somebody else has written to
        return False
