"""Milliseconds of processor time for one execution: in the worker, and in mongod for it.

Other work on the machine stretches throughput and latency; this it leaves almost alone.
"""

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.backlog import Backlog, Drain, backlogs
from benchmarks.plan import Plan, interleaved
from benchmarks.rows import Row
from benchmarks.stage import Stage
from benchmarks.workers import pair, pool

_POOLS: Sequence[str] = ("threads", "prefork")
_STEPS: Sequence[int] = (1, 5, 20)
_CONCURRENCY = 4
#: Steps of one contestant in one round, and executions at the least.
_TOTAL, _FEWEST, _QUICK = 1_000, 100, 40


def measure(stage: Stage) -> Iterator[Row]:
    """The worker's and mongod's share, for each pool and number of steps."""
    for kind in stage.plan.some(_POOLS, quick=_POOLS[:1]):
        options = pool(kind, _CONCURRENCY)
        with stage.place() as place, pair(place, stage.directory, *options) as workers:
            found = backlogs(stage, place, workers)
            for backlog in found.values():
                backlog.drain(10 * _CONCURRENCY, 1)
            for steps in stage.plan.some(_STEPS, quick=_STEPS[:1]):
                yield from _rows(f"{kind}, {steps:>2} steps", _drains(stage.plan, found, steps))


def _drains(plan: Plan, found: Mapping[str, Backlog], steps: int) -> dict[str, list[Drain]]:
    count = _QUICK if plan.quick else max(_FEWEST, _TOTAL // steps)
    drains: dict[str, list[Drain]] = {name: [] for name in found}
    for number in range(plan.rounds):
        for name in interleaved(tuple(found), number):
            drains[name].append(found[name].drain(count, steps))
    return drains


def _rows(case: str, drains: Mapping[str, Sequence[Drain]]) -> Iterator[Row]:
    for part in ("worker", "mongod"):
        series = {
            name: [1000 * getattr(one, part) for one in some] for name, some in drains.items()
        }
        if all(all(values) for values in series.values()):  # nothing is known of others' mongod
            yield Row("processor time of an execution", f"{case}, {part}", "ms", series)
