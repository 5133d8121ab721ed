"""Executions per second of one worker that works off a standing backlog.

The floor is what MongoDB takes from plain threads or processes, divided by the writes of one
execution in its worker: a claim, its steps, a settling.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import raw
from benchmarks.backlog import Backlog, backlogs
from benchmarks.place import Place
from benchmarks.plan import interleaved
from benchmarks.rows import Row
from benchmarks.stage import Stage
from benchmarks.workers import pair, pool

#: Pool, concurrency, and the numbers of steps of the flows that are measured there.
Cell = tuple[str, int, Sequence[int]]
_POOLS = ("threads", "prefork")
_EVERY: Sequence[Cell] = [
    (kind, concurrency, (1, 5, 20)) for kind in _POOLS for concurrency in (1, 4, 16)
]
#: Left out to save time: 1 and 20 steps at the lowest and the highest concurrency.
_USUAL: Sequence[Cell] = [
    (kind, concurrency, (1, 5, 20) if concurrency == 4 else (5,)) for kind, concurrency, _ in _EVERY
]
_QUICK: Sequence[Cell] = [("threads", 4, (1,))]

#: Executions before the clock runs: every thread and process connects and warms up.
_WARM_UP = 20
#: How much longer than asked a backlog is to last, for rates vary.
_SPARE = 1.15


def measure(stage: Stage) -> Iterator[Row]:
    """All cells, each with workers of its own."""
    for cell in stage.plan.some(_USUAL, quick=_QUICK, every=_EVERY):
        yield from _Rates(stage, cell).rows()


@dataclass(frozen=True, slots=True)
class _Contestant:
    """Who works, on executions of how many steps (``None``: the task that does nothing)."""

    name: str
    steps: int | None = None


class _Rates:
    """The contestants of one pool at one concurrency."""

    def __init__(self, stage: Stage, cell: Cell) -> None:
        self._stage = stage
        self._pool, self._concurrency, steps = cell
        durable = [_Contestant(name, some) for some in steps for name in ("hand", "ours")]
        self._contestants = [_Contestant("floor"), _Contestant("hand"), *durable]
        self._steps = steps
        self._rates: dict[_Contestant, list[float]] = {one: [] for one in self._contestants}

    def rows(self) -> Iterator[Row]:
        """Measure, in interleaved rounds; one row for each number of steps."""
        stage, options = self._stage, pool(self._pool, self._concurrency)
        with stage.place() as place, pair(place, stage.directory, *options) as workers:
            found = backlogs(stage, place, workers)
            expected = self._warm_up(found)
            for number in range(stage.plan.rounds):
                for one in interleaved(self._contestants, number):
                    rate = self._rate(place, one, found, expected)
                    self._rates[one].append(rate)
                    expected[one] = rate
        for some in self._steps:
            yield self._row(some)

    def _warm_up(self, found: Mapping[str, Backlog]) -> dict[_Contestant, float]:
        """Let every thread and process connect; learn how large a backlog has to be."""
        some = _WARM_UP + 4 * self._concurrency
        for backlog in found.values():
            backlog.drain(some, 1)
        return {
            one: found[one.name].drain(some, one.steps).rate
            for one in self._contestants
            if one.name in found
        }

    def _rate(
        self,
        place: Place,
        one: _Contestant,
        found: Mapping[str, Backlog],
        expected: Mapping[_Contestant, float],
    ) -> float:
        seconds = self._stage.plan.seconds
        if one.name == "floor":
            return raw.rate(place, self._pool, self._concurrency, seconds)
        count = max(10 * self._concurrency, round(expected[one] * seconds * _SPARE))
        return found[one.name].drain(count, one.steps).rate

    def _row(self, steps: int) -> Row:
        floor = self._rates[_Contestant("floor")]
        series = {
            "floor": [rate / (steps + 2) for rate in floor],
            "nothing": self._rates[_Contestant("hand")],
            "hand": self._rates[_Contestant("hand", steps)],
            "ours": self._rates[_Contestant("ours", steps)],
        }
        case = f"{self._pool} {self._concurrency:>2}, {steps:>2} steps"
        return Row("throughput", case, "executions/s", series)
