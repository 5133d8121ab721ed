"""Milliseconds of an attempt that resumes past 100 checkpoints: claim, read, replay, settle.

The first attempt runs 100 steps and fails, the second finds them done. By hand, they are read
with one ``find``.
"""

import time
from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks.contestant import Contestant, both
from benchmarks.place import Place
from benchmarks.plan import interleaved
from benchmarks.probe import final_run
from benchmarks.rows import Row
from benchmarks.stage import Stage
from benchmarks.workers import pair, pool

_STEPS: Sequence[int] = (100,)
_QUICK: Sequence[int] = (20,)
_FEWEST = 3


def measure(stage: Stage) -> Iterator[Row]:
    """The resumed attempt alone, as the worker sees it."""
    (steps,) = stage.plan.some(_STEPS, quick=_QUICK)
    series: dict[str, list[float]] = {"hand": [], "ours": []}
    with (
        stage.place(probed=True) as place,
        pair(place, stage.directory, *pool("prefork", 1)),
    ):
        apps = both(place)
        for app in apps.values():
            _resumed(place, app, steps, 0)
        for number in range(stage.plan.rounds):
            for name in interleaved(("hand", "ours"), number):
                series[name].append(_resumed(place, apps[name], steps, stage.plan.seconds))
    yield Row("resume", f"past {steps} checkpoints", "ms", series)


def _resumed(place: Place, app: Contestant, steps: int, seconds: float) -> float:
    taken: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(taken) < _FEWEST:
        taken.append(final_run(place, app.send(steps, fails=True)).seconds)
    return 1000 * median(taken)
