"""The steps of a sync flow."""

import functools
import inspect
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from worchflow_celery.annotations import annotation_of
from worchflow_celery.clock import elapsed
from worchflow_celery.context import SHORT_WAIT, Running, running_step
from worchflow_celery.deadlines import Deadline, Watch
from worchflow_celery.errors import StepMisuse
from worchflow_celery.journal import Journal, Run
from worchflow_celery.options import StepOptions
from worchflow_celery.parallel import (
    MOST_AT_ONCE,
    ONCE,
    Parallel,
    Part,
    Race,
    check_concurrency,
    in_threads,
    listed,
)

P = ParamSpec("P")
A = TypeVar("A")
T = TypeVar("T")

_NOTHING = nullcontext[None]()


class Step(Parallel):
    """The steps of a sync flow.

    A step whose ``run`` has returned never runs again in this execution: later attempts read its
    checkpoint. One that is interrupted runs again.
    """

    def __init__(self, journal: Journal, watch: Watch, deadline: Deadline | None) -> None:
        super().__init__(journal, watch)
        #: Of the attempt; it must not strike while a checkpoint is being written.
        self._deadline = deadline

    def run(
        self,
        name: str,
        fn: Callable[..., T],
        *args: Any,
        retries: int = 0,
        retry_delay: float | timedelta = 1.0,
        timeout: float | timedelta | None = None,
    ) -> T:
        """Run ``fn(*args)`` once and return its recorded result, now and on later attempts.

        ``retries`` more runs follow a run that raises, each after ``retry_delay`` (seconds or a
        timedelta); ``timeout`` bounds one run. A ``name`` used again is a step of its own.
        Raises what ``fn`` raised last, ``StepTimeout``, ``StepMisuse``, or, finally for this
        step, ``UnserializableResult`` or ``PayloadTooLarge``.
        """
        with self._deadline.suspended() if self._deadline else _NOTHING:
            key = self._begin(name)
            known = self._journal.recall(key, fn)
            if known is not None:
                return known.value  # type: ignore[no-any-return]
            self._check(name, fn)
            options = StepOptions.of(retries, retry_delay, timeout)
            return self._run(key, name, fn, args, options)

    def map(
        self, name: str, fn: Callable[[A], T], items: Iterable[A], *, concurrency: int = 4
    ) -> list[T]:
        """Run ``fn(item)`` for each item, ``concurrency`` at once in threads; return the results.

        Each is a step of its own, ``name[0]``, ``name[1]``, …, and runs once. The first error
        stops what has not begun, and is raised when what runs has ended.
        """
        values, at_once = listed(items), check_concurrency(concurrency)
        with self._deadline.suspended() if self._deadline else _NOTHING:
            return self._at_once(self._parts_of_map(name, fn, values), at_once)

    def gather(self, /, **named_fns: Callable[[], Any]) -> dict[str, Any]:
        """Run all functions at once, each in a thread and as a step of its own; see ``map``."""
        with self._deadline.suspended() if self._deadline else _NOTHING:
            values = self._at_once(self._parts_of_gather(named_fns), MOST_AT_ONCE)
            return dict(zip(named_fns, values, strict=True))

    def _at_once(self, parts: list[Part], at_once: int) -> list[Any]:
        race = self._race(parts)
        in_threads(race, lambda part: self._part(race, part), at_once)
        return race.ended(parts)

    def _part(self, race: Race, part: Part) -> Any:
        """One of several steps, in a thread of its own."""
        self._journal.boundary()
        run = self._journal.start(part.key, part.name)
        running_step.set(Running(self._journal, part.key, run.attempt))
        try:
            value = self._limited(functools.partial(part.fn, *part.args))
        except Exception as error:  # whatever a step raises is its outcome
            self._journal.failed(run, error, ONCE, told=race.is_first(error))
            raise
        return self._recorded(run, value, part.fn)

    def _limited(self, call: Callable[[], T]) -> T:
        """Call under the limit of the attempt, in a thread that is not the flow's."""
        if self._deadline is None:
            return call()
        return self._watch.within(self._deadline.twin(), call)

    def _run(
        self, key: str, name: str, fn: Callable[..., T], args: tuple[Any, ...], options: StepOptions
    ) -> T:
        call = functools.partial(fn, *args)
        while True:
            self._journal.boundary()
            run = self._journal.start(key, name)
            try:
                value = self._call(call, run.attempt, key, name, options.timeout)
            except Exception as error:  # whatever a step raises is its outcome
                delay = self._journal.failed(run, error, options)
                self._pause(delay)
                continue
            return self._recorded(run, value, fn)

    def _recorded(self, run: Run, value: T, fn: Callable[..., T]) -> T:
        if inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()  # or Python would warn that nobody has awaited it
            raise StepMisuse(
                f"step {run.name!r} returned an awaitable: it needs an `async def` flow"
            )
        recorded: T = self._journal.completed(run, value, annotation_of(fn))
        return recorded

    def _call(
        self, call: Callable[[], T], attempt: int, key: str, name: str, timeout: float | None
    ) -> T:
        token = running_step.set(Running(self._journal, key, attempt))
        limit = self._deadline
        try:
            if limit is None:
                return self._timed(call, timeout, name)
            # Around the call alone: struck in what makes the step's own limit, the attempt's
            # limit would leave a lock behind.
            return self._timed(lambda: limit.within(call), timeout, name)
        finally:
            if limit is not None:
                limit.disarm()  # the step's limit may have struck before the call's own
            running_step.reset(token)

    def _pause(self, delay: float) -> None:
        self._journal.leave_if_longer(delay, SHORT_WAIT)
        until = elapsed() + delay
        while (left := until - elapsed()) > 0:
            self._journal.boundary()
            time.sleep(min(left, 0.2))

    def _begin(self, name: str) -> str:
        key = super()._begin(name)
        self._journal.check_thread(name)
        return key

    @staticmethod
    def _check(name: str, fn: object) -> None:
        Parallel._check(name, fn)
        if inspect.iscoroutinefunction(fn):
            raise StepMisuse(f"step {name!r}: a coroutine function needs an `async def` flow")
