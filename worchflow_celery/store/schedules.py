"""Schedules: how far each has come, what became of each window, when ordinary entries ran last."""

from collections.abc import Collection as Many
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError
from pymongo import DESCENDING, IndexModel, InsertOne, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from worchflow_celery.clock import EPOCH
from worchflow_celery.errors import CorruptDocument
from worchflow_celery.models import Window
from worchflow_celery.store.database import Database, translated, write_new
from worchflow_celery.store.records import Document

_FLOW, _ENTRY = "flow:", "entry:"
#: No schedule of ours has come that far: beyond it cron knows no windows.
_FAR = datetime(9000, 1, 1, tzinfo=UTC)
#: A decision outlives its window by this at least: whoever comes late must find it.
_LEAST_KEPT = timedelta(hours=1)
WINDOW_INDEXES = [
    IndexModel([("flow", 1), ("scheduled_for", DESCENDING)], name="of_flow"),
    # Only windows that nobody fired in time, and that were skipped, have a reason.
    IndexModel(
        [("scheduled_for", DESCENDING)],
        name="with_reason",
        partialFilterExpression={"reason": {"$exists": True}},
    ),
    IndexModel([("expires_at", 1)], name="expired", expireAfterSeconds=0),
]


@dataclass(frozen=True, slots=True)
class Line:
    """What the code says about a flow: when it is due."""

    flow: str
    cron: str
    timezone: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the schedule of a flow has come."""

    line: Line
    #: The last window that was seen to.
    seen: datetime
    #: The last window that ran, and its execution.
    last_run: datetime | None = None
    last_execution: str | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Cursors:
    """What one read of the schedules brought."""

    by_flow: dict[str, Cursor]
    #: Flows whose documents cannot be read.
    broken: list[str]
    #: On MongoDB's clock.
    now: datetime


@dataclass(frozen=True, slots=True)
class EntryRun:
    """The last run of an ordinary beat entry."""

    #: As it is stored, whatever that is: who is to run next must find it unchanged.
    stamp: object
    last_run_at: datetime | None
    runs: int


class Schedules:
    """The ``schedules`` and ``windows`` collections; each method is one write or one read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def cursors(self, flows: Iterable[str] | None = None) -> Cursors:
        """The cursors of some flows, or of all."""
        query: Document = {"kind": "flow"}
        if flows is not None:
            query["_id"] = {"$in": [_FLOW + flow for flow in flows]}
        with translated(self._database.settings):
            found = list(self._collection.find(query, {"now": "$$NOW", **_FIELDS}))
        now = found[0]["now"] if found else self._database.now()
        cursors = [_cursor_of(document) for document in found]
        return Cursors(
            {cursor.line.flow: cursor for cursor in cursors if cursor},
            [_name(one, _FLOW) for one, cursor in zip(found, cursors, strict=True) if not cursor],
            now,
        )

    def begin(self, lines: Sequence[Line]) -> None:
        """Schedules that are new, or have a new expression: they have no past.

        One that another scheduler has begun with the same expression stays as it is.
        """
        begun = [
            UpdateOne(
                {
                    "_id": _FLOW + line.flow,
                    "$or": [{"cron": {"$ne": line.cron}}, {"timezone": {"$ne": line.timezone}}],
                },
                [{"$set": _begun(line)}],
                upsert=True,
            )
            for line in lines
        ]
        if begun:
            with translated(self._database.settings):
                write_new(self._collection, begun)

    def forget_all_but(self, flows: Many[str]) -> None:
        """Remove the schedules of flows that are no more."""
        kept = [_FLOW + flow for flow in flows]
        with translated(self._database.settings):
            self._collection.delete_many({"kind": "flow", "_id": {"$nin": kept}})

    def decide(self, windows: Sequence[Window]) -> list[Window]:
        """Record what is to become of windows, and return what is recorded.

        The first to decide on a window does so for ever: a window that comes back unchanged is
        decided as asked, another one was decided before.
        """
        inserts = [InsertOne(self._window_document(window)) for window in windows]
        with translated(self._database.settings):
            taken = write_new(self._windows, inserts)
            if not taken:
                return list(windows)
            ids = [_window_id(windows[number]) for number in taken]
            found = list(self._windows.find({"_id": {"$in": ids}}))
        recorded = {str(document["_id"]): _window_of(document) for document in found}
        return [recorded.get(_window_id(window), window) for window in windows]

    def advance(self, windows: Sequence[Window]) -> None:
        """Move the cursors over windows that are done with."""
        moves = [
            UpdateOne(
                {"_id": _FLOW + flow, "seen": {"$lt": change["seen"]}},
                {"$set": change},
            )
            for flow, change in _moves(windows).items()
        ]
        with translated(self._database.settings):
            self._collection.bulk_write(moves, ordered=False)

    def windows(self, flow: str, limit: int) -> list[Window]:
        """What became of the last windows of a flow, newest first."""
        with translated(self._database.settings):
            found = self._windows.find({"flow": {"$eq": flow}})
            documents = list(found.sort("scheduled_for", DESCENDING).limit(limit))
        return [_window_of(document) for document in documents]

    def missed(self, since: datetime, limit: int) -> list[Window]:
        """The last windows of all flows that nobody fired in time, newest first."""
        query: Document = {
            "reason": {"$exists": True},
            "scheduled_for": {"$gte": since},
            "outcome": {"$in": ["missed-ran", "missed-skipped"]},
        }
        with translated(self._database.settings):
            found = self._windows.find(query).sort("scheduled_for", DESCENDING).limit(limit)
            return [_window_of(document) for document in found]

    def pause(self, flow: str, paused: bool) -> bool:
        """Pause or resume; a resumed schedule starts from now. ``False``: there is none."""
        change: Document = {"paused": paused, "updated_at": "$$NOW"}
        if not paused:
            change["seen"] = {"$cond": ["$paused", "$$NOW", "$seen"]}
        with translated(self._database.settings):
            answer = self._collection.update_one({"_id": _FLOW + flow}, [{"$set": change}])
        return bool(answer.matched_count)

    def entries(self) -> dict[str, EntryRun]:
        """When ordinary beat entries ran last, by their names."""
        with translated(self._database.settings):
            found = list(self._collection.find({"kind": "entry"}))
        return {_name(document, _ENTRY): _entry_run_of(document) for document in found}

    def begin_entries(self, names: Iterable[str], now: datetime) -> None:
        """Entries that were never seen before count as run now."""
        begun = [
            InsertOne({"_id": _ENTRY + name, "kind": "entry", "last_run_at": now, "runs": 0})
            for name in names
        ]
        if begun:
            with translated(self._database.settings):
                write_new(self._collection, begun)

    def forget_entries_but(self, names: Many[str]) -> None:
        """Remove the entries that are no more."""
        kept = [_ENTRY + name for name in names]
        with translated(self._database.settings):
            self._collection.delete_many({"kind": "entry", "_id": {"$nin": kept}})

    def reserve_entry(self, name: str, stamp: object, now: datetime, runs: int) -> bool:
        """Note a run of an ordinary entry before it is sent; whether it is ours to send."""
        query = {"_id": _ENTRY + name, "last_run_at": {"$eq": stamp}}
        run = {"kind": "entry", "last_run_at": now, "runs": runs}
        with translated(self._database.settings):
            try:
                answer = self._collection.update_one(query, {"$set": run}, upsert=stamp is None)
            except DuplicateKeyError:
                return False
        return bool(answer.matched_count or answer.upserted_id)

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("schedules")

    @property
    def _windows(self) -> "Collection[Document]":
        self._database.ensure_indexes("windows", WINDOW_INDEXES)
        return self._database.collection("windows")

    def _window_document(self, window: Window) -> Document:
        document = {"_id": _window_id(window), **window.model_dump(exclude_none=True)}
        retention = self._database.settings.retention
        if retention is not None:
            kept = max(timedelta(seconds=retention), _LEAST_KEPT)
            document["expires_at"] = window.fired_at + kept
        return document


_FIELDS = dict.fromkeys("flow cron timezone seen last_run last_execution paused".split(), 1)


def _begun(line: Line) -> Document:
    return {
        "kind": "flow",
        "flow": {"$literal": line.flow},
        "cron": {"$literal": line.cron},
        "timezone": {"$literal": line.timezone},
        "seen": "$$NOW",
        "paused": {"$eq": ["$paused", True]},
        "updated_at": "$$NOW",
    }


def _name(document: Document, prefix: str) -> str:
    return str(document["_id"]).removeprefix(prefix)


def _cursor_of(document: Document) -> Cursor | None:
    """A cursor; ``None`` for a document that is none."""
    try:
        cursor = Cursor(
            line=Line(document["flow"], document["cron"], document["timezone"]),
            seen=document["seen"],
            last_run=document.get("last_run"),
            last_execution=document.get("last_execution"),
            paused=bool(document.get("paused", False)),
        )
        sound = cursor.line.flow == _name(document, _FLOW) and EPOCH < cursor.seen < _FAR
    except (KeyError, TypeError):
        return None
    return cursor if sound else None


def _window_id(window: Window) -> str:
    return f"{window.flow}@{window.scheduled_for:%Y-%m-%dT%H:%M:%SZ}"


def _window_of(document: Document) -> Window:
    try:
        return Window.model_validate(document)
    except ValidationError as error:
        raise CorruptDocument(
            f"the stored window {document.get('_id')!r:.250} cannot be read: repair or remove the "
            "document"
        ) from error


def _moves(windows: Sequence[Window]) -> Mapping[str, Document]:
    """The changes of the cursors, one for each flow."""
    moves: dict[str, Document] = {}
    for window in sorted(windows, key=lambda window: window.scheduled_for):
        change = moves.setdefault(window.flow, {})
        change["seen"] = window.scheduled_for
        if window.execution_id is not None:
            change |= {"last_run": window.scheduled_for, "last_execution": window.execution_id}
    return moves


def _entry_run_of(document: Document) -> EntryRun:
    stamp, runs = document.get("last_run_at"), document.get("runs")
    return EntryRun(
        stamp=stamp,
        last_run_at=stamp if isinstance(stamp, datetime) else None,
        runs=runs if isinstance(runs, int) else 0,
    )
