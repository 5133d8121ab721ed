"""Real worker processes: started, held, let go, weighed."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.place import Place
from benchmarks.processes import children, processor_seconds, resident
from benchmarks.serve import ready_key
from worchflow_celery.servers.child import Child

#: Seconds from the start of a worker to its first message; a busy machine is slow.
STARTUP = 60
#: Every worker runs with Celery's defaults, its log level (WARNING) included, but alone.
OPTIONS = ("--without-gossip", "--without-mingle")


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident megabytes of a worker."""

    parent: float
    #: The mean of its pool processes; 0 for a pool of threads.
    child: float


class Worker:
    """A running `celery worker`, which ends with us, however we end."""

    def __init__(self, place: Place, contestant: str, log: Path, *options: str) -> None:
        self._log = log
        program = [sys.executable, "-m", "benchmarks.serve", contestant, place.text()]
        name = f"{contestant}.{place.name}@bench"
        self._child = Child([*program, "-n", name, *OPTIONS, *options], log=log, doomed=None)
        self._ready = ready_key(place, contestant)

    def await_ready(self, place: Place) -> None:
        """Wait until it consumes."""
        deadline = time.monotonic() + STARTUP
        with place.broker() as broker:
            while broker.blpop([self._ready], timeout=1) is None:
                self.check()
                if time.monotonic() > deadline:
                    raise RuntimeError(f"a worker is not ready:\n{self._log.read_text()[-4000:]}")

    def pause(self) -> None:
        """Hold it: its backlog grows, and it takes no time from others.

        The main process alone, since pool processes without work wait for it anyway.
        """
        self._child.pause()

    def resume(self) -> None:
        self._child.resume()

    def memory(self) -> Memory:
        """What it holds now."""
        each = [resident(pid) for pid in children(self._child.pid)]
        return Memory(resident(self._child.pid), sum(each) / len(each) if each else 0.0)

    def processor_seconds(self) -> float:
        """What it and its pool processes have used so far."""
        return processor_seconds(self._child.pid, *children(self._child.pid))

    def check(self) -> None:
        """Fail when it has ended, with its last words."""
        if not self._child.alive:
            raise RuntimeError(f"a worker ended:\n{self._log.read_text()[-4000:]}")

    def stop(self) -> None:
        self._child.stop()


@contextmanager
def pair(place: Place, directory: Path, *options: str) -> Iterator[dict[str, Worker]]:
    """A worker of each contestant, by name."""
    running: dict[str, Worker] = {}
    try:
        for contestant in ("hand", "ours"):
            log = directory / f"{place.name}.{contestant}.log"
            running[contestant] = Worker(place, contestant, log, *options)
        for worker in running.values():
            worker.await_ready(place)
        yield running
        for worker in running.values():
            worker.check()
    finally:
        for worker in running.values():
            worker.stop()


def pool(kind: str, concurrency: int) -> tuple[str, ...]:
    """Celery's options for a pool."""
    return ("-P", kind, "-c", str(concurrency))


def end_on_signal() -> None:
    """Let a SIGTERM unwind as Ctrl-C does, so that workers and servers are ended in order."""

    def leave(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
