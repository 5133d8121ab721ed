"""What tests share: places on the servers, conditions to wait for, real worker processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn, TypeVar

import pymongo
import redis
from celery import Celery
from celery.utils.imports import symbol_by_name
from celery.worker.request import Request
from kombu import Exchange, Queue

from worchflow_celery import Worchflow, dispatch
from worchflow_celery.clock import utcnow
from worchflow_celery.errors import LeaseLost
from worchflow_celery.recovery import Sweeper
from worchflow_celery.runtime import host

T = TypeVar("T")
ROOT = Path(__file__).parent.parent


def eventually(condition: Callable[[], T], *, within: float = 10.0, what: str = "") -> T:
    """Wait for a condition to be true and return what it returned; fail after ``within`` s."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what or condition}; last {value!r}")
        time.sleep(0.02)


@dataclass
class Bench:
    """Where one test works: its own prefix, queue and collections."""

    redis_url: str
    database_url: str
    prefix: str
    settings: dict[str, Any] = field(default_factory=dict)

    def celery(self, **conf: Any) -> Celery:
        """An app with its own queue."""
        app = Celery(self.prefix, broker=self.redis_url, set_as_current=False)
        app.conf.update(
            task_default_queue=self.prefix,
            broker_connection_retry_on_startup=True,
            worker_prefetch_multiplier=1,
            task_ignore_result=True,
            **conf,
        )
        return app

    def bind(self, app: Celery, **settings: Any) -> Worchflow:
        """Worchflow on an app, with this test's prefix."""
        given = {"database_url": self.database_url, "prefix": self.prefix, **settings}
        return Worchflow(app, **given)

    @cached_property
    def client(self) -> "pymongo.MongoClient[dict[str, Any]]":
        return pymongo.MongoClient(self.database_url, tz_aware=True)

    @property
    def database(self) -> "pymongo.database.Database[dict[str, Any]]":
        return self.client.get_default_database()

    def collection(self, name: str) -> "pymongo.collection.Collection[dict[str, Any]]":
        """One of the test's collections, seen without the library."""
        return self.database[f"{self.prefix}_{name}"]

    def broker(self) -> "redis.Redis":
        """The broker, seen without the library."""
        return redis.Redis.from_url(self.redis_url)

    def messages(self) -> int:
        """How many messages wait in the test's queue."""
        broker = self.broker()
        return int(broker.llen(self.prefix) + broker.llen(f"{self.prefix}.worchflow"))

    def clean(self) -> None:
        """Remove what the test left."""
        with self.client:
            for name in self.database.list_collection_names():
                if name.startswith(f"{self.prefix}_"):
                    self.database.drop_collection(name)
        del self.client  # closed; the next use opens another one
        with self.broker() as broker:
            broker.delete(self.prefix, f"{self.prefix}.worchflow", f"{self.prefix}:live")


class Worker:
    """A real `celery worker` of a module of this test suite, in a session of its own."""

    def __init__(self, module: str, environment: dict[str, str], log: Path, *options: str) -> None:
        self.log = log
        self._output = log.open("ab")
        command = [sys.executable, "-m", "celery", "-A", module, "worker", "-l", "INFO"]
        quick = ["--without-gossip", "--without-mingle", "-n", f"w{time.monotonic_ns()}@test"]
        self.process = subprocess.Popen(
            [*command, *quick, *options],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def ready(self, within: float = 30.0) -> "Worker":
        """Wait until it consumes."""
        eventually(lambda: self._is_ready(), within=within, what=f"worker ready\n{self.text()}")
        return self

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"the worker ended:\n{self.text()}"
        return " ready." in self.text()

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def children(self) -> list[int]:
        """Pids of its pool processes."""
        tasks = Path(f"/proc/{self.pid}/task")
        return [
            int(child)
            for task in tasks.iterdir()
            for child in (task / "children").read_text().split()
        ]

    def signal(self, number: int) -> None:
        """To the main process alone, as Docker and systemd's KillMode=mixed do."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to the worker and all that it started."""
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(10)

    def pause(self) -> None:
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def stop(self, within: float = 40.0) -> int:
        """A warm shutdown."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def end(self) -> None:
        """Whatever is left of it, at the end of a test."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(10)
        self._output.close()


@contextmanager
def workers(
    bench: Bench, directory: Path, module: str, **environment: str
) -> Iterator[Callable[..., Worker]]:
    """Start workers of a module; all are ended with the block."""
    started: list[Worker] = []
    base = {
        "TEST_REDIS_URL": bench.redis_url,
        "TEST_DATABASE_URL": bench.database_url,
        "TEST_PREFIX": bench.prefix,
        "TEST_DIRECTORY": str(directory),
        **environment,
    }

    def start(*options: str, **more: str) -> Worker:
        log = directory / f"worker{len(started)}.log"
        worker = Worker(module, {**base, **more}, log, *options)
        started.append(worker)
        return worker

    try:
        yield start
    finally:
        for worker in started:
            worker.end()


def take(app: Celery, *queues: str) -> Request | None:
    """Take one message off the app's queues, or those given, as a worker does; ``None``: empty."""
    app.set_current()
    names = queues or (f"{app.main}.worchflow", app.main)
    with app.connection_for_read() as connection:
        for name in names:
            queue = Queue(name, Exchange(""), routing_key=name, channel=connection)
            message = queue.get(no_ack=True)
            if message is not None:
                task = app.tasks[message.headers["task"]]
                return symbol_by_name(task.Request)(message, app=app, task=task)
    return None


def deliver(app: Celery, *queues: str, most: int = 100) -> list[str]:
    """Run what waits in the queues, and what follows of it, in this thread; the tasks' ids."""
    ran: list[str] = []
    while len(ran) < most and (request := take(app, *queues)) is not None:
        eta = request.eta
        eventually(lambda eta=eta: eta is None or eta <= utcnow(), what="the message's ETA")
        request.execute()
        ran.append(request.id)
    return ran


def die() -> NoReturn:
    """End an attempt as SIGKILL would: from here on it writes nothing more."""
    raise LeaseLost("killed by a test")


def revive(worchflow: Worchflow, execution_id: str) -> None:
    """Put an execution whose attempt died back in line, as the dispatcher of its worker does."""
    sweep = worchflow.runtime.store.sweep
    due = sweep.release_orphan(execution_id, host(), os.getppid(), living=[])
    assert due is not None, f"{execution_id} has an owner that lives"
    dispatch.republish(worchflow.runtime, due)


def bring_forward(bench: Bench, execution_id: str) -> None:
    """Turn the clock for one execution: what it waits for has come."""
    moment = utcnow() - timedelta(seconds=5)
    change = {"$set": {"due_at": moment}, "$unset": {"not_before": ""}}
    bench.collection("executions").update_one({"_id": execution_id}, change)


def dispatcher(worchflow: Worchflow, *children: int) -> Sweeper:
    """The dispatcher of a worker that has an app and pool processes, and runs nothing."""
    processes = [SimpleNamespace(pid=pid) for pid in children]
    pool = SimpleNamespace(_pool=SimpleNamespace(_pool=processes)) if children else None
    return Sweeper(worchflow.runtime, SimpleNamespace(app=worchflow.app, pool=pool))


def forget_results(app: Celery) -> None:
    """End what Celery's result backend has subscribed to: later, the servers will be gone."""
    consumer = app.backend.result_consumer
    consumer.subscribed_to.clear()
    consumer.stop()
