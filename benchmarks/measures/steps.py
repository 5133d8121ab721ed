"""Milliseconds of one step in flows of 10 to 5,000 steps, against one journaled insert.

An execution without steps is measured too and taken off, so that what is left is the steps'.
"""

from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks import raw
from benchmarks.contestant import Contestant, both
from benchmarks.place import Place
from benchmarks.plan import interleaved
from benchmarks.probe import final_run
from benchmarks.rows import Row
from benchmarks.stage import Stage
from benchmarks.workers import pair, pool

_FULL: Sequence[int] = (10, 100, 1_000, 5_000)
_QUICK: Sequence[int] = (10, 100)
#: Steps of one contestant in one round, at the least.
_STEPS = 500
_EMPTY_RUNS = 20


def measure(stage: Stage) -> Iterator[Row]:
    """One row for each length."""
    lengths = stage.plan.some(_FULL, quick=_QUICK)
    with (
        stage.place(probed=True) as place,
        pair(place, stage.directory, *pool("prefork", 1)),
    ):
        apps = both(place)
        for app in apps.values():
            _seconds(place, app, steps=10, runs=5)
        rows = [_row(place, apps, length, stage.plan.rounds) for length in lengths]
    yield from rows


def _row(place: Place, apps: dict[str, Contestant], length: int, rounds: int) -> Row:
    series: dict[str, list[float]] = {"insert": [], "hand": [], "ours": []}
    with place.client() as client:
        collection = place.database(client)[f"{place.name}_raw"]
        for number in range(rounds):
            for name in interleaved(tuple(series), number):
                if name == "insert":
                    each = raw.seconds_each(collection, max(length, _STEPS))
                else:
                    each = _each(place, apps[name], length)
                series[name].append(1000 * each)
    return Row("cost of a step", f"{length:>5,} steps", "ms", series)


def _each(place: Place, app: Contestant, length: int) -> float:
    empty = _seconds(place, app, steps=0, runs=_EMPTY_RUNS)
    full = _seconds(place, app, steps=length, runs=max(1, _STEPS // length))
    return (full - empty) / length


def _seconds(place: Place, app: Contestant, *, steps: int, runs: int) -> float:
    return median(final_run(place, app.send(steps)).seconds for _ in range(runs))
