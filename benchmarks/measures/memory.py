"""Resident megabytes of a worker after so many executions: does it stay flat?

Each portion is a backlog larger than those of `throughput`, so its rates are told, too.
"""

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.backlog import Drain, backlogs
from benchmarks.rows import Row
from benchmarks.stage import Stage
from benchmarks.workers import Memory, pair, pool

#: Executions of one step, and after how many of them the worker is weighed.
_FULL: Sequence[int] = (100, 5_000, 10_000, 15_000, 20_000)
_QUICK: Sequence[int] = (20, 60, 100)


def measure(stage: Stage) -> Iterator[Row]:
    """Parent and child of a prefork pool of two, at each weighing."""
    counts = stage.plan.some(_FULL, quick=_QUICK)
    with (
        stage.place() as place,
        pair(place, stage.directory, *pool("prefork", 2)) as workers,
    ):
        found = backlogs(stage, place, workers)
        weighed: dict[str, list[Memory]] = {name: [] for name in workers}
        drains: dict[str, list[Drain]] = {name: [] for name in workers}
        for before, count in zip((0, *counts), counts, strict=False):
            for name, worker in workers.items():
                drains[name].append(found[name].drain(count - before, 1))
                weighed[name].append(worker.memory())
    yield from _weights(counts, weighed)
    rates = {name: [one.rate for one in some[1:]] for name, some in drains.items()}
    case = f"prefork 2, 1 step, {counts[-1] - counts[-2]:,} waiting"
    yield Row("throughput of a large backlog", case, "executions/s", rates)


def _weights(counts: Sequence[int], weighed: Mapping[str, Sequence[Memory]]) -> Iterator[Row]:
    for number, count in enumerate(counts):
        for part in ("parent", "child"):
            series = {name: [getattr(some[number], part)] for name, some in weighed.items()}
            yield Row("memory, prefork", f"{part} after {count:>6,}", "MB", series)
