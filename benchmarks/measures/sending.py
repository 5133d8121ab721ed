"""Sends per second of one thread, with nobody who takes them: insert, then publish."""

from collections.abc import Iterator

from benchmarks.plan import interleaved
from benchmarks.rows import Row
from benchmarks.stage import Stage


def measure(stage: Stage) -> Iterator[Row]:
    """The send rate."""
    series: dict[str, list[float]] = {"hand": [], "ours": []}
    with stage.place() as place:
        for number in range(stage.plan.rounds):
            for name in interleaved(("hand", "ours"), number):
                series[name].append(stage.feeders.rate(place, name, 5, stage.plan.seconds))
    yield Row("send", "one thread", "per second", series)
