"""What a handler is handed: steps that run once."""

import asyncio
import functools
import inspect
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar, overload

from worchflow_celery.annotations import annotation_of
from worchflow_celery.clock import elapsed
from worchflow_celery.deadlines import Deadline, Watch
from worchflow_celery.errors import StepMisuse, StepTimeout
from worchflow_celery.journal import Journal
from worchflow_celery.options import StepOptions

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds that a step's retry is waited for on the worker; longer ones leave it.
_SHORT_WAIT = 5.0
_NOTHING = nullcontext[None]()


@dataclass(frozen=True, slots=True)
class _Running:
    """The step that is being run in this thread or asyncio task."""

    journal: Journal
    key: str
    attempt: int


_running: ContextVar[_Running | None] = ContextVar("worchflow_step", default=None)


class _Context:
    """What steps have in common, in sync and in async flows."""

    def __init__(self, journal: Journal, watch: Watch) -> None:
        self._journal = journal
        self._watch = watch

    @property
    def execution_id(self) -> str:
        """The id of the execution."""
        return self._journal.execution_id

    @property
    def attempt(self) -> int:
        """Inside a step: which run of it this is, 1 + its recorded failures."""
        return self._inside("attempt").attempt

    @property
    def idempotency_key(self) -> str:
        """Inside a step: a key that is the same each time this step of this execution runs.

        Hand it to whatever must not happen twice; a step that is interrupted runs again.
        """
        return f"{self.execution_id}:{self._inside('idempotency_key').key}"

    def _inside(self, what: str) -> _Running:
        running = _running.get()
        if running is None or running.journal is not self._journal:
            raise StepMisuse(f"step.{what} can only be read inside a function run by step.run")
        return running

    def _begin(self, name: str) -> str:
        """Check that a step can begin here; return its key."""
        running = _running.get()
        # Inside a step of another execution, this one runs eagerly: that is no misuse.
        if running is not None and running.journal is self._journal:
            raise StepMisuse(
                f"step {name!r} begins inside step {running.key!r}: "
                "a step is the unit that is repeated, it cannot hold another"
            )
        return self._journal.begin(name)

    @staticmethod
    def _check(name: str, fn: object) -> None:
        """Refuse what cannot be run; what has run is replayed, whatever its function is now."""
        if not callable(fn):
            raise StepMisuse(f"step {name!r}: {fn!r:.80} is not a function; write `lambda: ...`")
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise StepMisuse(f"step {name!r}: a generator function has no result to be recorded")

    def _timed(self, fn: Callable[[], T], timeout: float | None, name: str) -> T:
        if timeout is None:
            return fn()
        message = f"step {name!r} ran longer than its timeout of {timeout:g} s"
        deadline = Deadline(elapsed() + timeout, StepTimeout, message)
        return self._watch.call(deadline, fn)


class Step(_Context):
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
            self._journal.check_thread(name)
            known = self._journal.recall(key, fn)
            if known is not None:
                return known.value  # type: ignore[no-any-return]
            self._check(name, fn)
            if inspect.iscoroutinefunction(fn):
                raise StepMisuse(f"step {name!r}: a coroutine function needs an `async def` flow")
            options = StepOptions.of(retries, retry_delay, timeout)
            return self._run(key, name, fn, args, options)

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
            if inspect.isawaitable(value):
                if inspect.iscoroutine(value):
                    value.close()  # or Python would warn that nobody has awaited it
                raise StepMisuse(
                    f"step {name!r} returned an awaitable: it needs an `async def` flow"
                )
            recorded: T = self._journal.completed(run, value, annotation_of(fn))
            return recorded

    def _call(
        self, call: Callable[[], T], attempt: int, key: str, name: str, timeout: float | None
    ) -> T:
        token = _running.set(_Running(self._journal, key, attempt))
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
            _running.reset(token)

    def _pause(self, delay: float) -> None:
        self._journal.leave_if_longer(delay, _SHORT_WAIT)
        until = elapsed() + delay
        while (left := until - elapsed()) > 0:
            self._journal.boundary()
            time.sleep(min(left, 0.2))


class AsyncStep(_Context):
    """The steps of an async flow: as ``Step``, with ``await``; several may run at once."""

    @overload
    async def run(
        self,
        name: str,
        fn: Callable[..., Awaitable[T]],
        *args: Any,
        retries: int = 0,
        retry_delay: float | timedelta = 1.0,
        timeout: float | timedelta | None = None,
    ) -> T: ...

    @overload
    async def run(
        self,
        name: str,
        fn: Callable[..., T],
        *args: Any,
        retries: int = 0,
        retry_delay: float | timedelta = 1.0,
        timeout: float | timedelta | None = None,
    ) -> T: ...

    async def run(
        self,
        name: str,
        fn: Callable[..., Any],
        *args: Any,
        retries: int = 0,
        retry_delay: float | timedelta = 1.0,
        timeout: float | timedelta | None = None,
    ) -> Any:
        """Run ``fn(*args)``, awaiting it where it is to be awaited; see ``Step.run``."""
        key = self._begin(name)
        known = self._journal.recall(key, fn)
        if known is not None:
            return known.value
        self._check(name, fn)
        options = StepOptions.of(retries, retry_delay, timeout)
        call = functools.partial(fn, *args)
        while True:
            await self._boundary()
            run = self._journal.start(key, name)
            try:
                value = await self._call(call, run.attempt, key, name, options.timeout)
            except Exception as error:  # whatever a step raises is its outcome
                delay = await asyncio.to_thread(self._journal.failed, run, error, options)
                await self._pause(delay)
                continue
            annotation = annotation_of(fn)
            return await asyncio.to_thread(self._journal.completed, run, value, annotation)

    async def _call(
        self, call: Callable[[], Any], attempt: int, key: str, name: str, timeout: float | None
    ) -> Any:
        token = _running.set(_Running(self._journal, key, attempt))
        started = elapsed()
        try:
            value = self._timed(call, timeout, name)
            if not inspect.isawaitable(value):
                return value
            left = None if timeout is None else timeout - (elapsed() - started)
            return await self._awaited(value, left, timeout, name)
        finally:
            _running.reset(token)

    @staticmethod
    async def _awaited(
        value: Awaitable[Any], left: float | None, timeout: float | None, name: str
    ) -> Any:
        limit = asyncio.timeout(left)
        try:
            async with limit:
                return await value
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise StepTimeout(
                f"step {name!r} ran longer than its timeout of {timeout:g} s"
            ) from error

    async def _pause(self, delay: float) -> None:
        self._journal.leave_if_longer(delay, _SHORT_WAIT)
        until = elapsed() + delay
        while (left := until - elapsed()) > 0:
            await self._boundary()
            await asyncio.sleep(min(left, 0.2))

    async def _boundary(self) -> None:
        if self._journal.certain:
            self._journal.boundary()
        else:
            await asyncio.to_thread(self._journal.boundary)
