"""Sends from processes of their own, so that they share no interpreter with what is measured."""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Self

from benchmarks.contestant import Contestant, contestant
from benchmarks.hand import Hand
from benchmarks.place import Place

#: Processes that fill a backlog side by side; they work while the workers are held.
FEEDERS = 2


class Feeders:
    """A few processes that stay, since each has to import Celery first."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(FEEDERS, mp_context=get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def fill(self, place: Place, name: str, count: int, steps: int | None) -> None:
        """Send so many executions; ``steps=None``: of the task that does nothing."""
        share = -(-count // FEEDERS)
        shares = [min(share, count - share * number) for number in range(FEEDERS)]
        sent = [self._pool.submit(_fill, place, name, some, steps) for some in shares]
        for one in sent:
            one.result()

    def rate(self, place: Place, name: str, steps: int, seconds: float) -> float:
        """Sends per second of a single thread."""
        return self._pool.submit(_rate, place, name, steps, seconds).result()


def _fill(place: Place, name: str, count: int, steps: int | None) -> None:
    send = _sender(_app(place, name), steps)
    for _ in range(count):
        send()


def _rate(place: Place, name: str, steps: int, seconds: float) -> float:
    send = _sender(_app(place, name), steps)
    for _ in range(20):  # connections, indexes, caches
        send()
    count, begin = 0, time.perf_counter()
    while (taken := time.perf_counter() - begin) < seconds:
        send()
        count += 1
    return count / taken


def _sender(app: Contestant, steps: int | None) -> Callable[[], object]:
    if steps is not None:
        return lambda: app.send(steps)
    if not isinstance(app, Hand):
        raise ValueError("the task that does nothing belongs to the plain app")
    return lambda: app.nothing.apply_async(())


@cache
def _app(place: Place, name: str) -> Contestant:
    return contestant(name, place)
