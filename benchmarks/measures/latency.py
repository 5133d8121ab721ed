"""Milliseconds from a send to the end of a flow of five steps, on an idle worker."""

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import quantiles

from benchmarks.hand import Hand
from benchmarks.ours import Ours
from benchmarks.place import Place
from benchmarks.probe import final_run
from benchmarks.rows import Row
from benchmarks.stage import Stage
from benchmarks.workers import pair, pool

STEPS = 5
_POOLS: Sequence[str] = ("prefork", "threads")
#: A sample of each contestant follows those of the others, until a round is over.
_FEWEST = 20


def measure(stage: Stage) -> Iterator[Row]:
    """The median and the 95th percentile of each pool."""
    for kind in stage.plan.some(_POOLS, quick=_POOLS[:1]):
        with (
            stage.place(probed=True) as place,
            pair(place, stage.directory, *pool(kind, 2)),
        ):
            sends = _sends(place)
            _round(place, sends, 0)  # warms up
            rounds = [_round(place, sends, stage.plan.seconds) for _ in range(stage.plan.rounds)]
        for name, index in (("p50", 9), ("p95", 18)):
            series = {
                who: [1000 * quantiles(one[who], n=20)[index] for one in rounds] for who in sends
            }
            yield Row("idle latency, 5 steps", f"{kind}, {name}", "ms", series)


def _sends(place: Place) -> dict[str, Callable[[], str]]:
    hand, ours = Hand(place), Ours(place)
    return {
        "nothing": lambda: str(hand.nothing.apply_async(()).id),
        "hand": lambda: hand.send(STEPS),
        "ours": lambda: ours.send(STEPS),
    }


def _round(
    place: Place, sends: dict[str, Callable[[], str]], seconds: float
) -> dict[str, list[float]]:
    """Seconds of each sample."""
    samples: dict[str, list[float]] = {who: [] for who in sends}
    end = time.monotonic() + seconds * len(sends)
    while time.monotonic() < end or len(samples["ours"]) < _FEWEST:
        for who, send in sends.items():
            begin = time.time()
            samples[who].append(final_run(place, send()).ended_at - begin)
    return samples
