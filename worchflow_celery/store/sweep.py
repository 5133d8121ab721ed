"""What the dispatcher of each worker does to executions that are due, on MongoDB's clock."""

from collections.abc import Collection as Many
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from worchflow_celery.settings import Settings
from worchflow_celery.store.database import Database, is_passing, translated
from worchflow_celery.store.executions import PUBLISHED_FOR
from worchflow_celery.store.expressions import ended_attempt
from worchflow_celery.store.pauses import NOT_PAUSED
from worchflow_celery.store.records import Document, Due, due_of

#: Executions looked at, and messages published, in one go.
BATCH = 500
#: Seconds that a published message is left alone while its queue is not empty.
BACKLOG_PATIENCE = 600.0
#: Seconds that Celery's own retry message is waited for.
_RETRY_GRACE = 2.0
#: Seconds between two publishes of one execution, at most.
_LONGEST_PAUSE = 20.0
#: What may lie between MongoDB's clock and our notion of it.
CLOCKS_APART = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Scope:
    """What one worker sweeps: what it could run itself."""

    queues: tuple[str, ...]
    flows: tuple[str, ...]
    #: Queues that hold messages: their ``queued`` executions only wait for their turn.
    busy: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """One look at what is due."""

    #: To be published, if we win them.
    due: list[Due]
    #: The same, for so long that their messages are lost, whatever their queues hold.
    overdue: list[Due]
    #: Leases that are silent and not yet under suspicion.
    silent: list[str]
    #: Executions whose suspicion is ripe: nobody has them.
    abandoned: list[str]
    #: Seconds until the next one is due, if that is soon.
    next_due: float | None


class Sweep:
    """Queries and batch writes; each is safe beside any number of other dispatchers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def look(self, scope: Scope, *, ahead: float) -> Found:
        """What is due now, or within ``ahead`` seconds, in one query."""
        with translated(self._database.settings):
            documents = list(
                self._collection.find(self._wanted(scope, ahead), LOOK_FIELDS).limit(BATCH)
            )
        found = Found([], [], [], [], None)
        pauses = []
        for document in documents:
            if not all(isinstance(document.get(name), kind) for name, kind in _OURS.items()):
                continue  # not written by us: `doctor` finds it, the others go on
            wait = (document["due_at"] - document["now"]).total_seconds()
            if document["status"] == "processing":
                wait = self._judge_lease(document, found)
            elif wait <= 0:
                overdue = wait <= -BACKLOG_PATIENCE
                (found.overdue if overdue else found.due).append(due_of(document))
            if wait > 0:
                pauses.append(wait)
        return replace(found, next_due=min(pauses, default=None))

    def suspect(self, execution_ids: Sequence[str]) -> None:
        """Note which silent leases were seen at which beat; any renewal voids it."""
        query = {
            "_id": {"$in": list(execution_ids)},
            "status": "processing",
            "$expr": {
                "$and": [
                    self._due(self._settings.lease_ttl / 2),
                    {"$ne": ["$suspect.beat", "$beat"]},
                ]
            },
        }
        with translated(self._settings):
            self._collection.update_many(
                query, [{"$set": {"suspect": {"beat": "$beat", "at": "$$NOW"}}}]
            )

    def take_back(self, execution_id: str) -> Due | None:
        """Put an abandoned execution back in line; ``None``: its owner lives, or another did it.

        The store itself confirms that the lease is over and that its beat stood still for the
        time of observation.
        """
        observed = {"$subtract": ["$$NOW", round(self._settings.observation * 1000)]}
        ripe = {
            "$and": [
                self._due(0),
                {"$eq": ["$suspect.beat", "$beat"]},
                {"$lte": ["$suspect.at", observed]},
            ]
        }
        return self._release({"_id": execution_id, "status": "processing", "$expr": ripe})

    def orphans(
        self, host: str, parent: int, living: Many[int], queues: Sequence[str]
    ) -> list[str]:
        """Executions of pool processes of ours that have died."""
        query = {
            "queue": {"$in": list(queues)},
            "due_at": {"$exists": True},
            "status": "processing",
            "owner.host": host,
            "owner.parent": parent,
            "owner.pid": {"$nin": list(living)},
        }
        with translated(self._settings):
            return [document["_id"] for document in self._collection.find(query, {"_id": 1})]

    def release_orphan(
        self, execution_id: str, host: str, parent: int, living: Many[int]
    ) -> Due | None:
        """Put the execution of a dead pool process back in line."""
        return self._release(
            {
                "_id": execution_id,
                "status": "processing",
                "owner.host": host,
                "owner.parent": parent,
                "owner.pid": {"$nin": list(living)},
            }
        )

    def win(self, due: Sequence[Due], token: str) -> list[Due]:
        """Those of the due executions that are ours to publish; each has one winner."""
        ids = [one.id for one in due]
        pause = {"$multiply": [PUBLISHED_FOR * 1000, {"$pow": [2, {"$min": ["$publishes", 10]}]}]}
        change = {
            "publisher": token,
            "publishes": {"$add": ["$publishes", 1]},
            "due_at": {"$add": ["$$NOW", {"$min": [pause, _LONGEST_PAUSE * 1000]}]},
        }
        query = {
            "_id": {"$in": ids},
            "status": {"$in": ["queued", "retrying", "waiting"]},
            **NOT_PAUSED,
            "$expr": self._due(0),
        }
        with translated(self._settings):
            if not self._collection.update_many(query, [{"$set": change}]).modified_count:
                return []
            won = self._collection.find({"_id": {"$in": ids}, "publisher": token}, {"_id": 1})
            winners = {document["_id"] for document in won}
        return [one for one in due if one.id in winners]

    def not_published(self, due: Sequence[Due], token: str) -> None:
        """Give back what was won while the broker is away: due at once, not counted."""
        query = {"_id": {"$in": [one.id for one in due]}, "publisher": token}
        change = {
            "due_at": "$$NOW",
            "publishes": {"$subtract": ["$publishes", 1]},
            "publisher": "$$REMOVE",
        }
        query["status"] = {"$in": ["queued", "retrying", "waiting"]}
        with translated(self._settings):
            self._collection.update_many(query, [{"$set": change}])

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("executions")

    @property
    def _settings(self) -> Settings:
        return self._database.settings

    @staticmethod
    def _due(ahead: float) -> Document:
        limit: object = "$$NOW"
        if ahead:
            limit = {"$add": ["$$NOW", round(ahead * 1000)]}
        return {"$lte": ["$due_at", limit]}

    def _wanted(self, scope: Scope, ahead: float) -> Document:
        """Of each kind its own range of the index: no backlog is read to find what is due."""
        busy = list(scope.busy)
        idle = [queue for queue in scope.queues if queue not in busy]
        every, published = list(scope.queues), {"$gt": 0}
        new: Document = {"status": "queued", "epoch": 0}
        running = self._kind(every, {"status": "processing"}, self._settings.lease_ttl / 2)
        resting = [
            self._kind(every, {"status": "retrying", "publishes": published}, -_RETRY_GRACE),
            self._kind(every, {"status": "retrying", "publishes": 0}, ahead),
            self._kind(every, {"status": "waiting"}, ahead),
            self._kind(every, {"status": "queued", "epoch": {"$gt": 0}}, ahead),
            self._kind(every, {**new, "publishes": 0}, ahead),
            # Those in a busy queue wait for their turn.
            self._kind(idle, {**new, "publishes": published}, 0),
            self._kind(busy, {**new, "publishes": published}, -BACKLOG_PATIENCE),
        ]
        kinds = [running, *({**kind, **NOT_PAUSED} for kind in resting)]
        return {"flow": {"$in": list(scope.flows)}, "$or": kinds}

    def _kind(self, queues: list[str], of: Document, ahead: float) -> Document:
        # The server's own clock decides. Ours, which is not far from it, bounds the range.
        bound = self._database.now() + timedelta(seconds=ahead) + CLOCKS_APART
        within = {"queue": {"$in": queues}, "due_at": {"$lte": bound}}
        return {**of, **within, "$expr": self._due(ahead)}

    def _judge_lease(self, document: Document, found: Found) -> float:
        """Sort a silent lease; return the seconds until it is abandoned, if it stays silent."""
        observation = timedelta(seconds=self._settings.observation)
        suspect = document.get("suspect")
        suspect = suspect if isinstance(suspect, dict) else {}
        since = suspect.get("at")
        if suspect.get("beat") != document.get("beat") or not isinstance(since, datetime):
            found.silent.append(document["_id"])
            return observation.total_seconds()
        wait: timedelta = max(document["due_at"], since + observation) - document["now"]
        if wait <= timedelta():
            found.abandoned.append(document["_id"])
        return wait.total_seconds()

    def _release(self, query: Document) -> Due | None:
        change: Document = {
            "status": "queued",
            "epoch": {"$add": ["$epoch", 1]},
            "crashes": {"$add": ["$crashes", 1]},
            "crashed": {
                "$slice": [{"$concatArrays": [{"$ifNull": ["$crashed", []]}, ["$epoch"]]}, -1100]
            },
            "suspect": "$$REMOVE",
            "attempts": ended_attempt("lost", None),
            "updated_at": "$$NOW",
            "due_at": "$$NOW",
            "publishes": 0,
        }
        with translated(self._settings):
            try:
                document = self._collection.find_one_and_update(
                    query, [{"$set": change}], LOOK_FIELDS, return_document=True
                )
            except OperationFailure as error:
                if is_passing(error):
                    raise
                return None  # it has fields that are none of ours; the others go on
        return due_of(document) if document else None


#: What each document has that we wrote.
_OURS = {"_id": str, "flow": str, "queue": str, "epoch": int, "publishes": int, "due_at": datetime}

LOOK_FIELDS: Document = dict.fromkeys(
    [
        "flow",
        "queue",
        "priority",
        "status",
        "epoch",
        "beat",
        "suspect",
        "publishes",
        "due_at",
        "canvas",
        "message",
    ],
    1,
)
LOOK_FIELDS["now"] = "$$NOW"
