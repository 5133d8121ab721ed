"""Real `celery beat` processes, and what they have told and done."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tests.acceptance.timed import build
from tests.support import ROOT, Bench, eventually
from worchflow_celery.models import Window

#: What the beats of tests are set to; seconds.
TTL, INTERVAL = 3.0, 0.5
SCHEDULER = "worchflow_celery.Scheduler"


@dataclass(frozen=True)
class Told:
    """A signal that a beat has sent."""

    at: float
    beat: str
    signal: str
    detail: str


class Beat:
    """One process."""

    def __init__(self, name: str, environment: dict[str, str], log: Path, *options: str) -> None:
        self.name = name
        self.log = log
        self._output = log.open("wb")
        chosen = ["-l", "INFO", *(options if "-S" in options else ("-S", SCHEDULER, *options))]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "tests.acceptance.timed", "beat", *chosen],
            cwd=ROOT,
            env={**os.environ, **environment, "TEST_BEAT": name, "PYTHONUNBUFFERED": "1"},
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def signal(self, number: int) -> float:
        """Send a signal; return when."""
        self.process.send_signal(number)
        return time.time()

    def stop(self) -> int:
        """A clean end; the exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(20)

    def end(self) -> None:
        """Whatever is left of it, at the end of a test."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(10)
        self._output.close()


class Room:
    """One prefix with any number of beats."""

    def __init__(self, bench: Bench, directory: Path, **environment: str) -> None:
        self.bench = bench
        self._directory = directory
        self._environment = {
            "TEST_REDIS_URL": bench.redis_url,
            "TEST_DATABASE_URL": bench.database_url,
            "TEST_PREFIX": bench.prefix,
            "TEST_DIRECTORY": str(directory),
            "TEST_TTL": str(TTL),
            "TEST_INTERVAL": str(INTERVAL),
            **environment,
        }
        self.beats: dict[str, Beat] = {}
        self.app, self.worchflow, self.diary = build(self._environment)

    def beat(self, name: str, *options: str, **environment: str) -> Beat:
        """A beat that is starting."""
        given = {**self._environment, **environment}
        log = self._directory / f"{name}.log"
        self.beats[name] = Beat(name, given, log, *options)
        return self.beats[name]

    def environment(self) -> dict[str, str]:
        return dict(self._environment)

    def told(self, signal_name: str = "", *, beat: str = "", since: float = 0) -> list[Told]:
        """What the beats have told, in its order."""
        lines = [line.split() for line in self.diary.lines() if line[0].isdigit()]
        all_told = [Told(float(line[0]), *line[1:4]) for line in lines]
        return [
            one
            for one in all_told
            if signal_name in ("", one.signal) and beat in ("", one.beat) and one.at >= since
        ]

    def wait(self, signal_name: str, *, beat: str = "", since: float = 0) -> Told:
        """Wait until a beat has told something, and return it."""

        def found() -> list[Told]:
            return self.told(signal_name, beat=beat, since=since)

        return eventually(found, within=30, what=f"{signal_name} of {beat}\n{self.log()}")[0]

    def leader(self) -> Beat:
        """The beat that began the last term."""
        self.wait("leader_acquired")
        return self.beats[self.told("leader_acquired")[-1].beat]

    def windows(self, flow: str) -> list[Window]:
        """Oldest first."""
        return self.worchflow.windows(flow, 1000)[::-1]

    def grow(self, flow: str, by: int) -> None:
        """Wait until so many windows more have run."""
        count = len(self.executions(flow)) + by
        eventually(
            lambda: len(self.executions(flow)) >= count, within=30, what=f"windows\n{self.log()}"
        )

    def executions(self, flow: str) -> list[datetime]:
        """The windows of its executions, oldest first, seen without the library."""
        found = self.bench.collection("executions").find({"flow": flow})
        return sorted(one["scheduled_for"] for one in found)

    def runs(self, entry: str) -> int:
        """How often an ordinary entry ran, as MongoDB knows it."""
        found = self.bench.collection("schedules").find_one({"_id": f"entry:{entry}"})
        return int(found["runs"]) if found else 0

    def messages(self, task: str) -> int:
        """How many messages of a task the queue holds."""
        with self.bench.broker() as broker:
            return sum(f'"task": "{task}"'.encode() in raw for raw in queue(broker, self.bench))

    def log(self) -> str:
        """What all have told, and written."""
        logs = [f"--- {beat.name}\n{beat.text()}" for beat in self.beats.values()]
        return "\n".join([*map(str, self.told()), *logs])

    def close(self) -> None:
        for beat in self.beats.values():
            beat.end()
        self.worchflow.close()
        self.app.close()


def queue(broker: object, bench: Bench) -> list[bytes]:
    return broker.lrange(bench.prefix, 0, -1)  # type: ignore[attr-defined, no-any-return]


def without_holes(moments: list[datetime]) -> bool:
    """Whether the moments are all seconds from the first to the last, each once."""
    first = moments[0]
    return moments == [first + timedelta(seconds=number) for number in range(len(moments))]


@contextmanager
def room(
    directory: Path, *, redis_url: str, database_url: str, **environment: str
) -> Iterator[Room]:
    """A place for beats; they end with the block."""
    bench = Bench(redis_url, database_url, prefix=f"t{uuid.uuid4().hex[:10]}")
    opened = Room(bench, directory, **environment)
    try:
        yield opened
    finally:
        opened.close()
        bench.client.close()
