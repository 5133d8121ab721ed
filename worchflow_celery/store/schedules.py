"""Schedules: how far each has come, what became of each window, when ordinary entries ran last."""

from collections.abc import Collection as Many
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pymongo import DESCENDING, IndexModel, InsertOne, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, DuplicateKeyError

from worchflow_celery.clock import EPOCH
from worchflow_celery.models import Window
from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.records import Document

_FLOW, _ENTRY = "flow:", "entry:"


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the schedule of a flow has come."""

    flow: str
    cron: str
    timezone: str
    #: The last window that was seen to.
    seen: datetime
    #: The last window that ran.
    last_run: datetime | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Cursors:
    """What one read of the schedules brought."""

    by_flow: dict[str, Cursor]
    #: Ids of documents that cannot be read.
    broken: list[str]
    #: On MongoDB's clock.
    now: datetime


class Schedules:
    """The ``schedules`` and ``windows`` collections."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._indexed = False

    def cursors(self, flows: Iterable[str] | None = None) -> Cursors:
        """The cursors of some flows, or of all, in one read."""
        query: Document = {"kind": "flow"}
        if flows is not None:
            query["_id"] = {"$in": [_FLOW + flow for flow in flows]}
        with translated(self._database.settings):
            found = list(self._collection.find(query, {"now": "$$NOW", **_FIELDS}))
        now = found[0]["now"] if found else self._database.now()
        cursors = [_cursor_of(document) for document in found]
        return Cursors(
            {cursor.flow: cursor for cursor in cursors if cursor},
            [str(one["_id"]) for one, cursor in zip(found, cursors, strict=True) if not cursor],
            now,
        )

    def begin(self, flow: str, cron: str, timezone: str, *, paused: bool) -> None:
        """A schedule that is new, or has a new expression: it has no past."""
        change = {
            "kind": "flow",
            "flow": {"$literal": flow},
            "cron": {"$literal": cron},
            "timezone": {"$literal": timezone},
            "seen": "$$NOW",
            "paused": paused,
            "updated_at": "$$NOW",
        }
        with translated(self._database.settings):
            self._collection.update_one({"_id": _FLOW + flow}, [{"$set": change}], upsert=True)

    def forget_all_but(self, flows: Many[str]) -> None:
        """Remove the schedules of flows that are no more."""
        kept = [_FLOW + flow for flow in flows]
        with translated(self._database.settings):
            self._collection.delete_many({"kind": "flow", "_id": {"$nin": kept}})

    def record(self, windows: Sequence[Window]) -> None:
        """Write what became of windows, once each, and then move the cursors on."""
        inserts = [InsertOne(_window_document(window)) for window in windows]
        moves = [
            UpdateOne(
                {"_id": _FLOW + window.flow, "seen": {"$lt": window.scheduled_for}},
                {"$set": {"seen": window.scheduled_for, **_ran(window)}},
            )
            for window in windows
        ]
        with translated(self._database.settings):
            try:
                self._windows.bulk_write(inserts, ordered=False)
            except BulkWriteError as error:
                if any(one.get("code") != 11000 for one in error.details["writeErrors"]):
                    raise
            self._collection.bulk_write(moves, ordered=True)

    def windows(self, flow: str, limit: int) -> list[Window]:
        """What became of the last windows of a flow, newest first."""
        with translated(self._database.settings):
            found = list(
                self._windows.find({"flow": {"$eq": flow}})
                .sort("scheduled_for", DESCENDING)
                .limit(limit)
            )
        return [Window.model_validate(document) for document in found]

    def pause(self, flow: str, paused: bool) -> bool:
        """Pause or resume; a resumed schedule starts from now. ``False``: there is none."""
        change: Document = {"paused": paused, "updated_at": "$$NOW"}
        if not paused:
            change["seen"] = {"$cond": ["$paused", "$$NOW", "$seen"]}
        with translated(self._database.settings):
            answer = self._collection.update_one({"_id": _FLOW + flow}, [{"$set": change}])
        return bool(answer.matched_count)

    def last_executions(self, flows: Sequence[str]) -> dict[str, str]:
        """The execution of the last window that ran, of each of these flows."""
        query = {"_id": {"$in": [_FLOW + flow for flow in flows]}}
        with translated(self._database.settings):
            found = list(self._collection.find(query, {"flow": 1, "last_execution": 1}))
        return {one["flow"]: one["last_execution"] for one in found if one.get("last_execution")}

    def entries(self) -> dict[str, tuple[datetime, int]]:
        """When the app's ordinary beat entries ran last, and how often they have."""
        with translated(self._database.settings):
            found = list(self._collection.find({"kind": "entry"}))
        return {
            document["name"]: (document["last_run_at"], document.get("runs", 0))
            for document in found
            if isinstance(document.get("last_run_at"), datetime)
        }

    def reserve_entry(
        self, name: str, seen: datetime | None, now: datetime, runs: int
    ) -> datetime | None:
        """Note a run of an ordinary entry before it is sent; the time, when it is ours to send."""
        query = {"_id": _ENTRY + name, "last_run_at": seen}
        run = {"kind": "entry", "name": name, "last_run_at": now, "runs": runs}
        with translated(self._database.settings):
            try:
                answer = self._collection.update_one(query, {"$set": run}, upsert=seen is None)
            except DuplicateKeyError:
                return None
        return now if answer.matched_count or answer.upserted_id else None

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("schedules")

    @property
    def _windows(self) -> "Collection[Document]":
        windows = self._database.collection("windows")
        if not self._indexed:
            with translated(self._database.settings):
                windows.create_indexes(
                    [IndexModel([("flow", 1), ("scheduled_for", DESCENDING)], name="of_flow")]
                )
            self._indexed = True
        return windows


_FIELDS = dict.fromkeys("flow cron timezone seen last_run paused".split(), 1)


def _cursor_of(document: Document) -> Cursor | None:
    """A cursor; ``None`` for a document that is none."""
    try:
        cursor = Cursor(
            flow=document["flow"],
            cron=document["cron"],
            timezone=document["timezone"],
            seen=document["seen"],
            last_run=document.get("last_run"),
            paused=bool(document.get("paused", False)),
        )
        return cursor if cursor.seen > EPOCH else None
    except (KeyError, TypeError):
        return None


def _window_document(window: Window) -> Document:
    document = window.model_dump(exclude_none=True)
    stamp = f"{window.scheduled_for:%Y-%m-%dT%H:%M:%SZ}"
    return {"_id": f"{window.flow}@{stamp}", **document}


def _ran(window: Window) -> Document:
    if window.execution_id is None:
        return {}
    return {"last_run": window.scheduled_for, "last_execution": window.execution_id}
