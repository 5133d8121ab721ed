"""How fast a worker works off a standing backlog, and what that takes.

The worker is held while the backlog is sent, so that neither the feeders nor the sends compete
with it; then it is let go, and the clock runs until its last execution has ended. What is
measured is the worker alone: its messages, its claims, its steps, its settling.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from benchmarks.contestant import Contestant, both
from benchmarks.place import Place
from benchmarks.processes import processor_seconds
from benchmarks.stage import Stage
from benchmarks.workers import Worker

#: Seconds for which a backlog may stand still before the run is given up.
PATIENCE = 120
#: Seconds between two looks at the queue.
_LOOK = 0.005

_UNFINISHED = {"status": {"$ne": "completed"}}


@dataclass(frozen=True, slots=True)
class Drain:
    """A backlog that was worked off."""

    #: Executions per second.
    rate: float
    #: Seconds of processor time for one execution, in the worker and in mongod for it.
    worker: float
    mongod: float


class Backlog:
    """The queue and the documents of one contestant."""

    def __init__(
        self, stage: Stage, place: Place, app: Contestant, workers: Mapping[str, Worker]
    ) -> None:
        self._stage = stage
        self._place = place
        self._app = app
        self._worker = workers[app.name]
        self._others = [worker for name, worker in workers.items() if name != app.name]
        self._broker = place.broker()
        database = place.database(place.client())
        self._executions = database[f"{app.prefix}_executions"]
        self._steps = database[f"{app.prefix}_steps"]

    def drain(self, count: int, steps: int | None) -> Drain:
        """Work it off; raises unless every execution and every step was recorded.

        ``steps=None``: of the task that does nothing, until its queue is empty. It leaves no
        trace by which the last ones could be timed: those, at most two for each thread or
        process, count as done.
        """
        for worker in self._others:
            worker.pause()
        try:
            return self._drained(count, steps)
        finally:
            for worker in self._others:
                worker.resume()

    def _drained(self, count: int, steps: int | None) -> Drain:
        recorded = self._recorded()
        self._fill(count, steps)
        begin, used = time.time(), self._used()
        self._worker.resume()
        self._wait(lambda: self._broker.llen(self._app.queue) == 0, count)
        end = time.time()
        worker, mongod = (
            (now - then) / count for now, then in zip(self._used(), used, strict=True)
        )
        if steps is not None:
            self._wait(lambda: self._executions.count_documents(_UNFINISHED) == 0, count)
            self._check(recorded, count, steps)
            end = self._ended()
        return Drain(count / (end - begin), worker, mongod)

    def _fill(self, count: int, steps: int | None) -> None:
        self._worker.pause()
        try:
            self._stage.feeders.fill(self._place, self._app.name, count, steps)
        except BaseException:
            self._worker.resume()
            raise

    def _used(self) -> tuple[float, float]:
        mongod = self._stage.servers.mongod
        return (
            self._worker.processor_seconds(),
            processor_seconds(mongod.pid) if mongod.owned else 0.0,
        )

    def _wait(self, condition: Callable[[], bool], count: int) -> None:
        deadline = time.monotonic() + PATIENCE + count / 10
        while not condition():
            self._worker.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._app.name}: a backlog of {count} is not worked off")
            time.sleep(_LOOK)

    def _recorded(self) -> tuple[int, int]:
        """How many executions are completed, and how many steps are recorded, of all times."""
        completed = self._executions.count_documents({"status": "completed"})
        return completed, self._steps.count_documents({})

    def _check(self, before: tuple[int, int], count: int, steps: int) -> None:
        completed, recorded = (
            now - then for now, then in zip(self._recorded(), before, strict=True)
        )
        if (completed, recorded) != (count, count * steps):
            raise RuntimeError(
                f"{self._app.name}: {completed} executions completed and {recorded} steps were "
                f"recorded, not {count} with {steps} each"
            )

    def _ended(self) -> float:
        """When the last execution ended, by its own record, in seconds since the epoch."""
        last = self._executions.find_one(sort=[("finished_at", -1)])
        ended: datetime = (last or {})["finished_at"]
        return ended.timestamp()


def backlogs(stage: Stage, place: Place, workers: Mapping[str, Worker]) -> dict[str, Backlog]:
    """One of each contestant, by name."""
    return {name: Backlog(stage, place, app, workers) for name, app in both(place).items()}
