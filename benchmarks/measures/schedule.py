"""Milliseconds from a window until its execution is stored, and until its message is in the queue.

A beat fires alone, for no worker runs; the first window of each case is left out.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from benchmarks.beat import beat
from benchmarks.place import Place
from benchmarks.rows import Row
from benchmarks.stage import Stage

_FEWEST = 2
#: Seconds after which something is wrong.
PATIENCE = 30
#: The lines of each case.
_CASES: Mapping[str, Sequence[str]] = {
    "1 schedule": ["* * * * * *"],
    "1,000, 100 due each second": [f"{number % 10}/10 * * * * *" for number in range(1000)],
    "1,000, all due at once": ["*/5 * * * * *"] * 1000,
}


@dataclass(frozen=True, slots=True)
class Fired:
    """A window whose message has come, in seconds since the epoch."""

    execution_id: str
    published_at: float


def measure(stage: Stage) -> Iterator[Row]:
    """The median and the 95th percentile of each case."""
    plan = stage.plan
    for case in plan.some(list(_CASES), quick=["1 schedule"]):
        with stage.place() as place:
            with beat(place, stage.directory, _CASES[case]):
                _fired(place, 0)
                rounds = [_fired(place, plan.seconds) for _ in range(plan.rounds)]
            late = [_lateness(place, fired) for fired in rounds]
        for until in ("stored", "published"):
            for name, index in (("p50", 9), ("p95", 18)):
                values = [quantiles(one[until], n=20, method="inclusive")[index] for one in late]
                yield Row("lateness of windows", f"{case}, {until}, {name}", "ms", {"ours": values})


def _fired(place: Place, seconds: float) -> list[Fired]:
    """The windows of so many seconds, from the first one to the next pause."""
    fired: list[Fired] = []
    begin = time.time()
    with place.broker() as broker:
        while True:
            found: Any = broker.blpop([place.name], timeout=0.5)
            now = time.time()
            if found is not None:
                fired.append(Fired(json.loads(found[1])["headers"]["id"], now))
            elif len(fired) >= _FEWEST and now - begin >= seconds:
                return fired
            elif now - begin >= seconds + PATIENCE:
                raise RuntimeError(f"no window has come in {PATIENCE} s")


def _lateness(place: Place, fired: Sequence[Fired]) -> dict[str, list[float]]:
    """Milliseconds of each window."""
    ids = [one.execution_id for one in fired]
    with place.client() as client:
        executions = place.database(client)[f"{place.name}_executions"]
        stored = {one["_id"]: one for one in executions.find({"_id": {"$in": ids}})}
    late: dict[str, list[float]] = {"stored": [], "published": []}
    for one in fired:
        due = stored[one.execution_id]["scheduled_for"].timestamp()
        created = stored[one.execution_id]["created_at"].timestamp()
        late["stored"].append(1000 * (created - due))
        late["published"].append(1000 * (one.published_at - due))
    return late
