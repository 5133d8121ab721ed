"""How many executions ended in each minute, and how long they took: counted once, when it is over.

A cursor says up to where it is done. Whoever wins it counts the next minutes; should it die, its
hold on the cursor runs out. A minute is inserted once and never changed.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from pymongo import ASCENDING, IndexModel, InsertOne
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from worchflow_celery.clock import EPOCH
from worchflow_celery.histogram import LAST, Histogram
from worchflow_celery.store.database import Database, translated, write_new
from worchflow_celery.store.records import Document

MINUTE = timedelta(minutes=1)
#: After a minute's end, until all that ended in it is seen.
_GRACE = timedelta(seconds=15)
#: Minutes counted in one go, when some have been missed.
_AT_ONCE = 10 * MINUTE
#: Before the first minute that is counted, when nothing was counted yet.
_BACK = 60 * MINUTE
#: Seconds after which a winner is taken to be dead.
_HELD = 30
KEPT = timedelta(days=35)
_PATIENCE_MS = 3000
_CURSOR = "cursor"
INDEXES = [IndexModel([("expires_at", ASCENDING)], name="expired", expireAfterSeconds=0)]


class Rollups:
    """The ``rollups`` collection: a document per minute in which anything ended."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: When there is something to count, as far as we know.
        self._due = EPOCH

    def advance(self) -> int:
        """Count minutes that are over, if it is on us; return how many."""
        now = self._database.now()
        if now < self._due:
            return 0
        self._database.ensure_indexes("rollups", INDEXES)
        with translated(self._database.settings):
            begin, over = self._cursor(now), _minute_of(now - _GRACE)
            if begin >= over:
                self._due = begin + MINUTE + _GRACE
                return 0
            if not self._win(begin):
                return 0
            end = min(over, begin + _AT_ONCE)
            writes = [InsertOne(document) for document in self._count(begin, end)]
            if writes:
                write_new(self._collection, writes)
            done = {"$set": {"minute": end, "held_until": EPOCH}}
            self._collection.update_one({"_id": _CURSOR, "minute": begin}, done)
            return (end - begin) // MINUTE

    def read(self, flow: str | None, since: datetime, until: datetime) -> list[Document]:
        """Minutes with their flows, or with one of them, in their order."""
        query: Document = {"_id": {"$gte": since, "$lt": until}}
        fields: Document = {"flows": 1}
        if flow is not None:
            query["flows.flow"] = {"$eq": flow}
            fields = {"flows": {"$elemMatch": {"flow": {"$eq": flow}}}}
        with translated(self._database.settings):
            found = self._collection.find(query, fields).sort("_id", 1)
            return list(found.limit(KEPT // MINUTE).max_time_ms(_PATIENCE_MS))

    def _cursor(self, now: datetime) -> datetime:
        """The first minute that is not counted."""
        found = self._collection.find_one({"_id": _CURSOR})
        if found is None:
            first: Document = {
                "_id": _CURSOR,
                "minute": _minute_of(now - _BACK),
                "held_until": EPOCH,
            }
            try:
                self._collection.insert_one(first)
            except DuplicateKeyError:
                return self._cursor(now)
            found = first
        minute: datetime = found["minute"]
        return minute

    def _win(self, minute: datetime) -> bool:
        query = {
            "_id": _CURSOR,
            "minute": minute,
            "$expr": {"$lte": ["$held_until", "$$NOW"]},
        }
        hold = {"$set": {"held_until": {"$add": ["$$NOW", _HELD * 1000]}}}
        return bool(self._collection.update_one(query, [hold]).modified_count)

    def _count(self, begin: datetime, end: datetime) -> Iterable[Document]:
        executions = self._database.collection("executions")
        minutes: dict[datetime, dict[str, _OfFlow]] = {}
        for group in executions.aggregate(_groups(begin, end)):
            key = group["_id"]
            flows = minutes.setdefault(key["minute"], {})
            flows.setdefault(key["flow"], _OfFlow(key["flow"])).add(group)
        for minute, flows in sorted(minutes.items()):
            counted = [flows[name].dump() for name in sorted(flows)]
            yield {"_id": minute, "flows": counted, "expires_at": minute + KEPT}

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("rollups")


class _OfFlow:
    """What ended of one flow in one minute."""

    def __init__(self, flow: str) -> None:
        self._flow = flow
        self._ended = {"completed": 0, "failed": 0, "cancelled": 0}
        self._duration, self._wait = Histogram(), Histogram()

    def add(self, group: Mapping[str, Document]) -> None:
        """A group of those that are alike."""
        key = group["_id"]
        count: int = group["n"]  # type: ignore[assignment]
        if key["status"] in self._ended:
            self._ended[key["status"]] += count
        for name, histogram in (("duration", self._duration), ("wait", self._wait)):
            if key.get(name) is not None:
                total, longest = group[f"{name}_total"], group[f"{name}_longest"]
                histogram.add(int(key[name]), count, float(total), float(longest))  # type: ignore[arg-type]

    def dump(self) -> Document:
        """As it is stored."""
        histograms = {"duration": self._duration.dump(), "wait": self._wait.dump()}
        return {"flow": self._flow, **self._ended, **histograms}


def _minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def _groups(begin: datetime, end: datetime) -> list[Document]:
    """Out of the index alone: no document, which may be large, is read."""
    minute = {"$subtract": ["$finished_at", {"$mod": [{"$toLong": "$finished_at"}, 60_000]}]}
    took: Document = {"$subtract": ["$finished_at", "$started_at"]}
    took = {"$cond": [{"$eq": ["$status", "completed"]}, took, None]}
    waited: Document = {"$subtract": ["$started_at", "$created_at"]}
    facts = {"flow": 1, "status": 1, "minute": minute, "took": took, "waited": waited}
    alike = {
        "minute": "$minute",
        "flow": "$flow",
        "status": "$status",
        "duration": _bucket("$took"),
        "wait": _bucket("$waited"),
    }
    sums = {
        "n": {"$sum": 1},
        "duration_total": {"$sum": "$took"},
        "duration_longest": {"$max": "$took"},
        "wait_total": {"$sum": "$waited"},
        "wait_longest": {"$max": "$waited"},
    }
    return [
        {"$match": {"finished_at": {"$gte": begin, "$lt": end}}},
        {"$project": {"_id": 0, **facts}},
        {"$group": {"_id": alike, **sums}},
    ]


def _bucket(milliseconds: str) -> Document:
    """The bucket of a duration, nothing for none."""
    place = {"$ceil": {"$log": [{"$max": [milliseconds, 1]}, 2]}}
    return {"$cond": [{"$gt": [milliseconds, None]}, {"$min": [place, LAST]}, None]}
