"""What `doctor` asks MongoDB: bounded reads by a client of its own, which makes no index."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

from pymongo import DESCENDING, IndexModel
from pymongo.collection import Collection

from worchflow_celery.clock import elapsed, utcnow
from worchflow_celery.errors import CorruptDocument
from worchflow_celery.settings import Settings
from worchflow_celery.store import audit, batches, rollups, schedulers, schedules, slots, workers
from worchflow_celery.store.database import connect, named, translated
from worchflow_celery.store.indexes import EXECUTION_INDEXES, search_indexes
from worchflow_celery.store.records import execution_of

Document = dict[str, Any]

#: The indexes of collections that are made when they are first used.
_OTHERS = {
    "audit": audit.INDEXES,
    "batches": batches.INDEXES,
    "rollups": rollups.INDEXES,
    "schedulers": schedulers.INDEXES,
    "slots": slots.INDEXES,
    "windows": schedules.WINDOW_INDEXES,
    "workers": workers.INDEXES,
}
#: Executions that are looked at: the newest of all, and of each flow that nobody knows.
SAMPLE = 1000
_OVERDUE = timedelta(minutes=15)
#: Seconds that reading the sample may take, should its documents be large.
_ENOUGH = 2.0
_NEWEST = [("created_at", DESCENDING), ("_id", DESCENDING)]


@dataclass(frozen=True, slots=True)
class Topology:
    """The server that answers."""

    version: str
    #: ``None``: it stands alone.
    replica_set: str | None
    members: int
    #: Seconds by which MongoDB's clock is ahead of ours.
    skew: float


@dataclass(frozen=True, slots=True)
class _Wrong:
    """An index that is missing or different, and the names of those in its way."""

    collection: str
    model: IndexModel
    in_the_way: list[str]

    @property
    def name(self) -> str:
        name = str(self.model.document["name"])
        return name if self.collection == "executions" else f"{self.collection}.{name}"


class Inspection:
    """One look at a database."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = connect(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def topology(self) -> Topology:
        """Who answers; raises ``StoreUnavailable``."""
        with translated(self._settings):
            self._client.admin.command("ping")  # so that connecting is not taken for skew
            before = utcnow()
            hello = self._client.admin.command("hello", codec_options=self._client.codec_options)
            skew = hello["localTime"] - before - (utcnow() - before) / 2
            version = str(self._client.server_info()["version"])
        return Topology(
            version, hello.get("setName"), len(hello.get("hosts", ())) or 1, skew.total_seconds()
        )

    def wrong_indexes(self, search: Iterable[str]) -> list[str]:
        """Names of indexes that are missing or not as they should be."""
        with translated(self._settings):
            return [wrong.name for wrong in self._wrong(search)]

    def fix_indexes(self, search: Iterable[str]) -> list[str]:
        """Make those indexes anew; return their names."""
        fixed = []
        with translated(self._settings):
            for wrong in self._wrong(search):
                for name in wrong.in_the_way:
                    self._collection(wrong.collection).drop_index(name)
                self._collection(wrong.collection).create_indexes([wrong.model])
                fixed.append(wrong.name)
        return fixed

    def stranded(self, known: Iterable[str]) -> dict[str, int]:
        """Flows that nobody knows, with how many of their newest executions are unfinished."""
        unknown: dict[str, int] = {}
        with translated(self._settings):
            for flow in set(self._executions.distinct("flow")) - set(known):
                newest = self._executions.find({"flow": {"$eq": flow}}, {"due_at": 1})
                unfinished = sum("due_at" in one for one in newest.sort(_NEWEST).limit(SAMPLE))
                if unfinished:
                    unknown[str(flow)] = unfinished
        return unknown

    def overdue(self) -> str | None:
        """An execution that somebody should have published long ago."""
        late = {"queue": {"$gte": ""}, "due_at": {"$exists": True, "$lt": utcnow() - _OVERDUE}}
        with translated(self._settings):
            found = self._executions.find_one(late, {"_id": 1})
        return str(found["_id"]) if found else None

    def corrupt(self) -> list[str]:
        """Which of the newest executions cannot be read, and why, as far as time allows."""
        found: list[str] = []
        enough = elapsed() + _ENOUGH
        with translated(self._settings):
            for document in self._executions.find().sort(_NEWEST).limit(SAMPLE):
                if elapsed() > enough:
                    break
                try:
                    execution_of(document)
                except CorruptDocument as error:
                    found.append(str(error))
        return found

    def _wrong(self, search: Iterable[str]) -> Iterator[_Wrong]:
        """Each index that is not as it should be."""
        executions = [*EXECUTION_INDEXES, *search_indexes(search)]
        for collection, models in {"executions": executions, **_OTHERS}.items():
            present = {str(i["name"]): i for i in self._collection(collection).list_indexes()}
            for model in models if present else ():  # else its first use makes them
                wanted = model.document
                if not _same(present.get(wanted["name"], {}), wanted):
                    in_the_way = [n for n, one in present.items() if _clashes(n, one, wanted)]
                    yield _Wrong(collection, model, in_the_way)

    @property
    def _executions(self) -> "Collection[Document]":
        return self._collection("executions")

    def _collection(self, name: str) -> "Collection[Document]":
        database = self._client.get_default_database("worchflow")
        return database[named(self._settings, name)]


def _same(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(_key(present, name) == _key(wanted, name) for name in _TELLING)


_TELLING = ("key", "partialFilterExpression", "unique", "expireAfterSeconds")


def _key(index: Mapping[str, Any], name: str) -> Any:
    value = index.get(name)
    if name == "key":
        return list((value or {}).items())
    return dict(value) if isinstance(value, Mapping) else value


def _clashes(name: str, present: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    telling = ("key", "partialFilterExpression")
    return name == wanted["name"] or all(_key(present, t) == _key(wanted, t) for t in telling)
