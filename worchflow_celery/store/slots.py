"""Slots of flows with limits: one document per flow and key, each change of it one atomic write.

A slot is as good as the lease of the claim that took it: it counts while its execution is
``processing`` in that epoch, or on its way to a worker. So a dead worker's slots need nobody to
free them, and a worker that was silent for too long holds none.
"""

from collections.abc import Collection as Many
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from pymongo import IndexModel
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, OperationFailure

from worchflow_celery.allowance import EXPECTED, Holder, Limit, Slot, State, is_stale
from worchflow_celery.errors import CorruptDocument
from worchflow_celery.store import writes
from worchflow_celery.store.database import Database, is_passing, translated
from worchflow_celery.store.records import Claim, Document, corrupt
from worchflow_celery.store.taking import entered, fields_of, kept, left, milliseconds

#: Documents looked at in one go.
_BATCH = 100
INDEXES = [
    IndexModel(
        [("flow", 1), ("look_at", 1)],
        name="look",
        partialFilterExpression={"look_at": {"$exists": True}},
    ),
    IndexModel(
        [("expires_at", 1)],
        name="expired",
        partialFilterExpression={"expires_at": {"$exists": True}},
    ),
]


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to who wants a slot."""

    slot: Slot
    granted: bool
    #: When it started, if the start was counted.
    started_at: datetime | None


@dataclass(frozen=True, slots=True)
class Look:
    """Slots that somebody is to look at."""

    id: str
    flow: str
    key: str | None
    look_at: datetime
    #: Seconds until then.
    wait: float


class Slots:
    """The ``slots`` collection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, limit: Limit, execution_id: str, epoch: int, *, start: bool) -> Taken:
        """Take a slot, and a start if one is needed; the same call again changes nothing more.

        Those who wait come first. Of an execution that has a slot from an earlier claim, it
        becomes this claim's.
        """
        entry = {"execution": execution_id, "epoch": epoch}
        document = self._change(limit, entered(limit, entry, start=start, patient=True))
        slot = _slot_of(document)
        started = [one["at"] for one in document["starts"] if _is(one, execution_id, epoch)]
        held = any(_is(one, execution_id, epoch) for one in document["holders"])
        granted = (held or limit.at_once is None) and (bool(started) or not start)
        return Taken(slot, granted, started[0] if started else None)

    def reserve(
        self, limit: Limit, execution_id: str, epoch: int, *, start: bool
    ) -> tuple[Slot, bool]:
        """Keep a slot for an execution that was called; whether there was one."""
        until = {"$add": ["$$NOW", milliseconds(EXPECTED)]}
        entry = {"execution": execution_id, "epoch": epoch, "start": start, "until": until}
        document = self._change(limit, entered(limit, entry, start=start, patient=False))
        kept_for_it = any(_is(one, execution_id, epoch) for one in document["holders"])
        return _slot_of(document), kept_for_it

    def give_back(self, limit: Limit, execution_id: str, epoch: int) -> Slot:
        """Let a slot go."""
        return _slot_of(self._change(limit, left(limit, [(execution_id, epoch)])))

    def get_in_line(self, limit: Limit, line: str, look_at: datetime) -> Slot:
        """Note that somebody waits: from now on nobody passes, and whoever leaves calls."""
        change: Document = {
            "lines": {"$setUnion": ["$lines", [line]]},
            "queued": {"$add": [{"$ifNull": ["$queued", 0]}, 1]},
            "look_at": {"$min": ["$look_at", look_at]},
        }
        return _slot_of(self._change(limit, [*kept(limit), {"$set": change}, fields_of(limit)]))

    def close_lines(self, limit: Limit, lines: Many[str], queued: int) -> None:
        """Note that nobody waits, unless somebody got in line meanwhile."""
        remaining = {"$setDifference": ["$lines", list(lines)]}
        change: writes.Pipeline = [
            {"$set": {"lines": remaining}},
            {"$set": {"look_at": {"$cond": [{"$eq": ["$lines", []]}, "$$REMOVE", "$look_at"]}}},
            fields_of(limit),
        ]
        with self._checked(limit.id):
            self._collection.update_one({"_id": limit.id, "queued": queued}, change)

    def without_stale(self, limit: Limit, slot: Slot) -> Slot:
        """Take slots back that nobody holds any more."""
        states = self._states([holder.execution for holder in slot.holders])
        stale = [
            (holder.execution, holder.epoch)
            for holder in slot.holders
            if is_stale(holder, states.get(holder.execution), slot.now)
        ]
        return _slot_of(self._change(limit, left(limit, stale))) if stale else slot

    def admit(self, claim: Claim, at: datetime) -> bool:
        """Note on an execution that its start is counted; ``False``: the lease was lost."""
        # A claim before this one may have died on the way here. It was no start.
        again = {"$eq": ["$trigger.kind", "retry"]}
        change: Document = {
            "admitted": True,
            "started_at": {"$cond": [again, "$started_at", at]},
            "attempt_started_at": at,
        }
        query = {
            "_id": claim.id,
            "epoch": claim.epoch,
            "owner.token": claim.token,
            "status": "processing",
        }
        with translated(self._database.settings):
            executions = self._database.collection("executions")
            return writes.update(executions, query, [{"$set": change}])

    def to_look_at(self, flows: Sequence[str], *, ahead: float) -> list[Look]:
        """Slots with a line that are to be looked at now, or within ``ahead`` seconds."""
        bound = self._database.now() + timedelta(seconds=ahead)
        query = {"flow": {"$in": list(flows)}, "look_at": {"$lte": bound}}
        fields = {"flow": 1, "key": 1, "look_at": 1, "now": "$$NOW"}
        with translated(self._database.settings):
            found = list(self._collection.find(query, fields).sort("look_at", 1).limit(_BATCH))
        return [
            Look(
                one["_id"],
                one["flow"],
                one.get("key"),
                one["look_at"],
                (one["look_at"] - one["now"]).total_seconds(),
            )
            for one in found
        ]

    def win(self, limit: Limit, look_at: datetime) -> Slot | None:
        """Be the one who looks; ``None``: another one is."""
        later = {"$add": ["$$NOW", milliseconds(self.pause)]}
        query = {"_id": limit.id, "look_at": look_at}
        with self._checked(limit.id):
            document = writes.find_and_update(
                self._collection, query, [*kept(limit), {"$set": {"look_at": later}}], _FIELDS
            )
        return _slot_of(document) if document else None

    def look_again(self, limit: Limit, at: datetime) -> None:
        """Have somebody look no later than then."""
        query = {"_id": limit.id, "look_at": {"$exists": True}}
        with self._checked(limit.id):
            self._collection.update_one(query, {"$min": {"look_at": at}})

    def purge(self) -> None:
        """Remove documents that hold nothing any more."""
        query = {
            "expires_at": {"$lte": self._database.now()},
            "$expr": {"$lte": ["$expires_at", "$$NOW"]},
        }
        with translated(self._database.settings):
            self._collection.delete_many(query)

    @property
    def pause(self) -> timedelta:
        """The time between two looks at slots with a line, if nothing calls for one."""
        return timedelta(seconds=self._database.settings.lease_ttl)

    def _states(self, ids: Sequence[str]) -> dict[str, State]:
        fields = dict.fromkeys(("epoch", "status", "paused", "updated_at"), 1)
        with translated(self._database.settings):
            found = self._database.collection("executions").find({"_id": {"$in": ids}}, fields)
            return {
                one["_id"]: State(
                    one["epoch"], one["status"], bool(one.get("paused")), one["updated_at"]
                )
                for one in found
            }

    def _change(self, limit: Limit, change: writes.Pipeline) -> Document:
        with self._checked(limit.id):
            while True:
                try:
                    document = writes.find_and_update(
                        self._collection, {"_id": limit.id}, change, _FIELDS, upsert=True
                    )
                except DuplicateKeyError:  # another one made it at the same moment
                    continue
                assert document is not None
                return document

    @contextmanager
    def _checked(self, slot_id: str) -> Iterator[None]:
        try:
            with translated(self._database.settings):
                yield
        except OperationFailure as error:
            if is_passing(error):
                raise
            raise CorruptDocument(
                f"the stored slots {slot_id!r} cannot be changed: remove the document; it is "
                "made again"
            ) from error

    @property
    def _collection(self) -> "Collection[Document]":
        self._database.ensure_indexes("slots", INDEXES)
        return self._database.collection("slots")


_FIELDS: Document = {
    **dict.fromkeys(("holders", "starts", "lines", "queued"), 1),
    "now": "$$NOW",
}


def _is(one: Document, execution_id: str, epoch: int) -> bool:
    return bool(one.get("execution") == execution_id and one.get("epoch") == epoch)


def _slot_of(document: Document) -> Slot:
    try:
        return Slot(
            document["now"],
            tuple(Holder(**one) for one in document["holders"]),
            tuple(one["at"] for one in document["starts"]),
            frozenset(document["lines"]),
            document.get("queued", 0),
        )
    except (KeyError, TypeError) as error:
        raise corrupt("slot", document["_id"], error) from error
