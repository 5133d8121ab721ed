"""Steps that run at once: what is to run, and what the first error among them means."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from worchflow_celery.context import Context
from worchflow_celery.errors import InvalidOption
from worchflow_celery.options import StepOptions, shown

#: More at once is a mistake: each of them is a thread, or a request to somebody.
MOST_AT_ONCE = 1000
#: One run: whoever wants another one retries the flow.
ONCE = StepOptions(retries=0, retry_delay=0.0, timeout=None)


@dataclass(frozen=True, slots=True)
class Part:
    """One of the steps that run at once."""

    key: str
    name: str
    fn: Callable[..., Any]
    args: tuple[Any, ...]


class Race:
    """How far the parts have come; the first error stops what has not begun."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.waiting: list[Part] = []
        self._begun = 0
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    def next(self) -> Part | None:
        """The next part to begin; ``None``: there is none, or an error came first."""
        with self._lock:
            if self._error is not None or self._begun == len(self.waiting):
                return None
            self._begun += 1
            return self.waiting[self._begun - 1]

    def is_first(self, error: BaseException) -> bool:
        """Note an error; whether it is the one that the flow will be told.

        What cuts the attempt short goes before what a part has raised.
        """
        with self._lock:
            first = self._error is None
            if first or (isinstance(self._error, Exception) and not isinstance(error, Exception)):
                self._error = error
            return first

    def ended(self, parts: Sequence[Part]) -> list[Any]:
        """The values of all parts, in their order; raises the first error."""
        if self._error is not None:
            raise self._error
        return [self.values[part.key] for part in parts]


class Parallel(Context):
    """What ``map`` and ``gather`` have in common in sync and in async flows."""

    def _parts_of_map(self, name: str, fn: Callable[..., Any], items: Sequence[Any]) -> list[Part]:
        keys = self._journal.keys_within(self._begin(name), len(items))
        return [Part(key, name, fn, (item,)) for key, item in zip(keys, items, strict=True)]

    def _parts_of_gather(self, functions: Mapping[str, Callable[..., Any]]) -> list[Part]:
        return [Part(self._begin(name), name, fn, ()) for name, fn in functions.items()]

    def _race(self, parts: Sequence[Part]) -> Race:
        """Tell what is recorded from what has to run; raises what the flow was told before."""
        race = Race()
        for part in parts:
            self._journal.recall_failure(part.key)
        for part in parts:
            known = self._journal.recall(part.key, part.fn)
            if known is not None:
                race.values[part.key] = known.value
            else:
                self._check(part.name, part.fn)
                race.waiting.append(part)
        return race


def in_threads(race: Race, run: Callable[[Part], Any], at_once: int) -> None:
    """Run what waits in threads; return when all of them have ended."""
    context = copy_context()

    def work() -> None:
        while (part := race.next()) is not None:
            try:
                # In a copy for each part: what one sets in it, the next one does not see.
                race.values[part.key] = context.copy().run(run, part)
            except BaseException as error:  # raised again in the thread of the flow
                race.is_first(error)

    count = min(at_once, len(race.waiting))
    threads = [
        threading.Thread(target=work, name=f"worchflow-part-{number}", daemon=True)
        for number in range(count)
    ]
    for thread in threads:
        thread.start()
    try:
        _join(threads)
    except BaseException as error:  # Celery raises its limits, and its end, in this thread
        race.is_first(error)
        if isinstance(error, Exception):  # else the process ends, and nobody waits for it
            _join(threads)
        raise


def _join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join()


def listed(items: Iterable[Any]) -> list[Any]:
    """The items of a step, all of them: their order makes the keys."""
    try:
        iterator = iter(items)
    except TypeError:
        raise InvalidOption(f"items is {shown(items)}: it must be an iterable") from None
    return list(iterator)


def check_concurrency(value: object) -> int:
    """How many parts run at once."""
    good = isinstance(value, int) and not isinstance(value, bool)
    if not good or not 1 <= value <= MOST_AT_ONCE:  # type: ignore[operator]
        raise InvalidOption(
            f"concurrency is {shown(value)}: it must be a whole number from 1 to {MOST_AT_ONCE}"
        )
    return value  # type: ignore[return-value]
