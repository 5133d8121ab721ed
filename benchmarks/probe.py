"""Seen from inside a worker: when each run of a task ended, and how long it took.

Between Celery's own ``task_prerun`` and ``task_postrun``, so both sides are timed alike, without
the broker's way and without anybody who polls.
"""

import json
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import redis
from celery import signals

from benchmarks.place import Place

#: Seconds after which a run that has not been reported is missing.
PATIENCE = 120


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a task in a worker."""

    task_id: str
    state: str
    seconds: float
    #: In seconds since the epoch.
    ended_at: float


def install(place: Place) -> None:
    """Report all runs of this worker's tasks from now on."""
    begun: dict[str, float] = {}

    def before(task_id: str, **_: Any) -> None:
        begun[task_id] = time.perf_counter()

    def after(task_id: str, state: str, **_: Any) -> None:
        seconds, ended_at = time.perf_counter() - begun.pop(task_id), time.time()
        report = json.dumps([task_id, state, seconds, ended_at])
        _broker(place).rpush(_key(place), report)

    signals.task_prerun.connect(before, weak=False)
    signals.task_postrun.connect(after, weak=False)


def next_run(place: Place) -> Run:
    """Wait for the next report."""
    found: Any = _broker(place).blpop([_key(place)], timeout=PATIENCE)
    if found is None:
        raise RuntimeError(f"no run of a task ended within {PATIENCE} s")
    return Run(*json.loads(found[1]))


def final_run(place: Place, task_id: str) -> Run:
    """Wait until a task has succeeded; runs that ended in a retry are passed over."""
    while True:
        run = next_run(place)
        if run.task_id == task_id and run.state == "SUCCESS":
            return run


def _key(place: Place) -> str:
    return f"{place.name}.runs"


@cache
def _broker(place: Place) -> "redis.Redis":
    return place.broker()
