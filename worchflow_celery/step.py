"""The steps of a sync flow."""

import functools
import inspect
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any, TypeVar

from worchflow_celery import children, options, tasks, waits
from worchflow_celery.annotations import annotation_of
from worchflow_celery.callables import is_awaitable, is_coroutine
from worchflow_celery.clock import elapsed
from worchflow_celery.context import SHORT_WAIT, running_step
from worchflow_celery.deadlines import Deadline, Watch
from worchflow_celery.errors import StepMisuse
from worchflow_celery.journal import Journal
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
from worchflow_celery.replay import Run

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
        self._thread = threading.get_ident()

    def run(
        self,
        name: str,
        fn: Callable[..., T],
        *args: Any,
        retries: int = 0,
        retry_delay: float | timedelta = 1.0,
        timeout: float | timedelta | None = None,
        compensate: Callable[[T], Any] | None = None,
    ) -> T:
        """Run ``fn(*args)`` once and return its recorded result, now and on later attempts.

        ``retries`` more runs follow a run that raises, each after ``retry_delay`` (seconds or a
        timedelta); ``timeout`` bounds one run. A ``name`` used again is a step of its own.
        ``compensate`` is called with the result to undo the step when the execution fails or is
        cancelled. Raises what ``fn`` raised last, ``StepTimeout``, ``StepMisuse``, or, finally
        for this step, ``UnserializableResult`` or ``PayloadTooLarge``.
        """
        with self._deadline.suspended() if self._deadline else _NOTHING:
            key = self._begin(name)
            known = self._known(key, name, fn, compensate)
            if known is not None:
                return known.value  # type: ignore[no-any-return]
            how = StepOptions.of(retries, retry_delay, timeout, compensate)
            return self._run(key, name, fn, args, how)

    def sleep(self, name: str, duration: float | timedelta) -> None:
        """Go on after ``duration`` (seconds or a timedelta, up to ten years).

        Longer than a second, no worker and no message is held. Raises ``InvalidOption`` (a
        ``ValueError``).
        """
        seconds = options.seconds(duration, f"the duration of {name!r}")
        self._wait(name, waits.sleep, seconds)

    def sleep_until(self, name: str, when: datetime) -> None:
        """Go on at ``when``, a timezone-aware datetime within ten years; at once if it has passed.

        Raises ``InvalidOption`` (a ``ValueError``).
        """
        end = options.check_wake(when, name)
        self._wait(name, waits.sleep_until, end)

    def wait_for_signal(
        self, name: str, *, timeout: float | timedelta | None = None, type: Any = None
    ) -> Any:
        """The payload of the next signal of this name, also of one that came before.

        ``None`` when none comes within ``timeout`` (seconds or a timedelta; ``None``: as long as
        it takes). No worker is held. ``type`` is what the payload must be; another one fails the
        wait with ``InvalidEventData``.
        """
        seconds = options.check_timeout(timeout, name)
        return self._received(self._wait(name, waits.receive, [name], seconds, type))

    def wait_for_any(
        self, name: str, *, signals: Sequence[str], timeout: float | timedelta | None = None
    ) -> tuple[str, Any] | None:
        """Name and payload of whichever of these signals came first; ``None``: none in time."""
        names = options.check_signals(signals, name)
        seconds = options.check_timeout(timeout, name)
        return self._wait(name, waits.receive, names, seconds, None)

    def invoke(
        self,
        name: str,
        flow: Any,
        data: Any = None,
        *,
        timeout: float | timedelta | None = None,
    ) -> Any:
        """Start an execution of ``flow`` (a flow or its id) exactly once; return its result.

        No worker is held meanwhile. Raises ``ChildFailed`` when it fails or is cancelled, and,
        having cancelled it, ``StepTimeout`` after ``timeout`` (seconds or a timedelta).
        """
        seconds = options.check_timeout(timeout, name)
        return self._wait(name, children.invoke, flow, data, seconds)

    def invoke_all(
        self,
        name: str,
        flow: Any,
        items: Iterable[Any],
        *,
        timeout: float | timedelta | None = None,
    ) -> list[Any]:
        """Start an execution for each item; return their results in the same order.

        As ``invoke``: the first child that fails fails the step, the others go on.
        """
        seconds = options.check_timeout(timeout, name)
        return self._wait(name, children.invoke_all, flow, listed(items), seconds)

    def send(self, name: str, flow: Any, data: Any = None) -> str:
        """Start an execution of ``flow`` exactly once, and go on; return its id."""
        return self._wait(name, children.send, flow, data)

    def apply(
        self,
        name: str,
        signature: Any,
        *,
        retries: int = 0,
        timeout: float | timedelta | None = None,
    ) -> Any:
        """Run an ordinary Celery task, group, chain or chord as a step; return its result.

        ``signature`` is Celery's, as in ``task.s(1)``; it runs where Celery routes it, and no
        worker is held here meanwhile. Its answer comes through its own callbacks, so no result
        backend is needed, but by chords. Raises ``TaskFailed``, and ``StepTimeout`` when no
        answer comes within ``timeout`` (seconds or a timedelta) - without one, a task that Celery
        loses is waited for until the execution is cancelled. ``retries`` more runs follow.
        """
        seconds = options.check_timeout(timeout, name)
        return self._wait(name, tasks.apply, signature, options.check_retries(retries), seconds)

    def _wait(self, name: str, wait: Callable[..., T], *given: Any) -> T:
        with self._deadline.suspended() if self._deadline else _NOTHING:
            self._check_place(name)
            return wait(self._journal, name, *given)

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

    def progress(self, fraction: float, message: str | None = None) -> None:
        """Tell how far the execution is, from 0 to 1; seen in ``Execution.progress`` soon.

        Callable at any rate, inside and outside of steps: it waits for nothing, and at most once
        a second the newest is written. Raises ``InvalidOption``.
        """
        with self._deadline.suspended() if self._deadline else _NOTHING:
            self._report(fraction, message)

    def _at_once(self, parts: list[Part], at_once: int) -> list[Any]:
        race = self._race(parts)
        in_threads(race, lambda part: self._part(race, part), at_once)
        return race.ended(parts)

    def _part(self, race: Race, part: Part) -> Any:
        """One of several steps, in a thread of its own."""
        self._journal.boundary()
        run = self._journal.start(part.key, part.name)
        running_step.set(self._running(run))
        if run.span is not None:
            run.span.enter()  # for as long as the context of this part
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
                value = self._call(call, run, options.timeout)
            except Exception as error:  # whatever a step raises is its outcome
                delay = self._journal.failed(run, error, options)
                self._pause(delay)
                continue
            return self._recorded(run, value, fn, undo=options.undo)

    def _recorded(self, run: Run, value: T, fn: Callable[..., T], *, undo: bool = False) -> T:
        if is_awaitable(value):
            if inspect.iscoroutine(value):
                value.close()  # or Python would warn that nobody has awaited it
            raise StepMisuse(
                f"step {run.name!r} returned an awaitable: it needs an `async def` flow"
            )
        recorded: T = self._journal.completed(run, value, annotation_of(fn), undo=undo)
        return recorded

    def _call(self, call: Callable[[], T], run: Run, timeout: float | None) -> T:
        token = running_step.set(self._running(run))
        limit = self._deadline
        if run.span is not None:
            run.span.enter()
        try:
            if limit is None:
                return self._timed(call, timeout, run.name)
            # Around the call alone: struck in what makes the step's own limit, the attempt's
            # limit would leave a lock behind.
            return self._timed(lambda: limit.within(call), timeout, run.name)
        finally:
            if limit is not None:
                limit.disarm()  # the step's limit may have struck before the call's own
            if run.span is not None:
                run.span.leave()
            running_step.reset(token)

    def _pause(self, delay: float) -> None:
        self._journal.leave_if_longer(delay, SHORT_WAIT)
        until = elapsed() + delay
        while (left := until - elapsed()) > 0:
            self._journal.boundary()
            time.sleep(min(left, 0.2))

    def _check_place(self, name: str) -> None:
        super()._check_place(name)
        if threading.get_ident() != self._thread:
            raise StepMisuse(
                f"step {name!r} begins in another thread than its flow: the order of steps, and "
                "so their keys, would be chance"
            )

    @staticmethod
    def _check(name: str, fn: object) -> None:
        Parallel._check(name, fn)
        if is_coroutine(fn):
            raise StepMisuse(f"step {name!r}: a coroutine function needs an `async def` flow")
