"""The shop on a place of its own: what acceptance tests send to, look at and start workers on."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pymongo

from tests.acceptance.shop import build
from tests.support import Bench, Worker, eventually, workers
from worchflow_celery import Execution, ExecutionHandle
from worchflow_celery.servers import MongoServer, RedisServer
from worchflow_celery.servers.binaries import MONGOD, REDIS, locate
from worchflow_celery.servers.launch import Launch

MODULE = "tests.acceptance.shop"


@dataclass(frozen=True)
class Story:
    """What became of an execution, and what its steps did."""

    execution: Execution
    #: Its steps by number, each time one began.
    order: list[int]

    @property
    def begun(self) -> list[int]:
        """How often each of its steps began."""
        return [self.order.count(number) for number in range(self.execution.data["count"])]

    @property
    def outcomes(self) -> list[str]:
        return [attempt.outcome for attempt in self.execution.attempts]

    @property
    def places(self) -> list[str]:
        """The names of the workers it was on, without their host part."""
        return [str(attempt.worker).partition("@")[0] for attempt in self.execution.attempts]


def seconds_until_end(story: Story, moment: datetime) -> float:
    """Seconds from a moment to the end of an execution."""
    assert story.execution.finished_at is not None
    return (story.execution.finished_at - moment).total_seconds()


class Stage:
    """One prefix, one directory for what steps write, any number of workers."""

    def __init__(
        self, bench: Bench, directory: Path, start: Callable[..., Worker], **environment: str
    ) -> None:
        self.bench = bench
        self.directory = directory
        self._start = start
        self.app, self.worchflow, self.diary = build(environment)
        self._client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            bench.database_url, tz_aware=True
        )

    def worker(self, name: str, *options: str, **environment: str) -> Worker:
        """A worker that is starting; its name is seen in ``Story.places``."""
        return self._start("-n", f"{name}@{self.bench.prefix}", *options, **environment)

    def queue(self, name: str) -> str:
        """A queue beside the default one, for those workers alone that are to have it."""
        return f"{self.bench.prefix}.{name}"

    def send(self, flow: str, data: Any = None, **options: Any) -> ExecutionHandle[Any]:
        return self.worchflow.flows[flow].send(data, **options)

    def open(self, gate: str = "gate") -> None:
        """Let held steps go on."""
        (self.directory / gate).touch()

    def wait_for(self, *words: object, times: int = 1, within: float = 15.0) -> None:
        """Wait until the diary has a line so many times."""
        line = " ".join(map(str, words))
        eventually(lambda: self.diary.counts()[line] >= times, within=within, what=line)

    def story(self, handle: ExecutionHandle[Any]) -> Story:
        begins = f"begin {handle.id} "
        lines = [line for line in self.diary.lines() if line.startswith(begins)]
        return Story(handle.get(), [int(line.removeprefix(begins)) for line in lines])

    def finished(self, handle: ExecutionHandle[Any], within: float = 30.0) -> Story:
        """Wait for its end, whatever that is."""
        try:
            eventually(lambda: handle.status.finished, within=within, what=f"{handle.id} ends")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None
        return self.story(handle)

    def collection(self, name: str) -> "pymongo.collection.Collection[dict[str, Any]]":
        """One of the stage's collections, seen without the library."""
        return self._client.get_default_database()[f"{self.bench.prefix}_{name}"]

    def documents(self, handle: ExecutionHandle[Any]) -> list[dict[str, Any]]:
        """All that MongoDB holds of an execution, seen without the library."""
        steps = {"_id": {"$gte": f"{handle.id} ", "$lt": f"{handle.id}!"}}
        return [
            *self.collection("executions").find({"_id": handle.id}),
            *self.collection("steps").find(steps),
        ]

    def log(self) -> str:
        """What all workers have written."""
        logs = sorted(self.directory.glob("worker*.log"))
        return "\n".join(log.read_text(errors="replace") for log in logs)

    def close(self) -> None:
        self._client.close()
        self.worchflow.close()
        self.app.close()


@contextmanager
def staged(
    bench: Bench, directory: Path, module: str = MODULE, **environment: str
) -> Iterator[Stage]:
    """Set up a stage; its workers are of a module, and end with the block."""
    place = {
        "TEST_REDIS_URL": bench.redis_url,
        "TEST_DATABASE_URL": bench.database_url,
        "TEST_PREFIX": bench.prefix,
        "TEST_DIRECTORY": str(directory),
        **environment,
    }
    with workers(bench, directory, module, **environment) as start:
        stage = Stage(bench, directory, start, **place)
        try:
            yield stage
        finally:
            stage.close()


#: Sets up a stage for a ``with`` block; settings as ``TEST_…`` variables.
SetUp = Callable[..., AbstractContextManager[Stage]]


def own_redis(directory: Path) -> RedisServer:
    """A broker that may be hurt: this test's own, whatever servers the others use."""
    return RedisServer(Launch(locate([REDIS])[REDIS], directory, temporary=True))


def own_mongod(directory: Path) -> MongoServer:
    """A store that may be hurt."""
    return MongoServer(Launch(locate([MONGOD])[MONGOD], directory, temporary=True))
