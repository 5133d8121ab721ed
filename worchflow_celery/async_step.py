"""The steps of an async flow."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar, overload

from worchflow_celery import children, options, tasks, waits
from worchflow_celery.annotations import annotation_of
from worchflow_celery.callables import is_awaitable
from worchflow_celery.clock import elapsed
from worchflow_celery.context import SHORT_WAIT, running_step
from worchflow_celery.errors import Interruption, StepTimeout
from worchflow_celery.options import StepOptions
from worchflow_celery.parallel import (
    MOST_AT_ONCE,
    ONCE,
    Parallel,
    Part,
    Race,
    check_concurrency,
    listed,
)
from worchflow_celery.replay import Run

A = TypeVar("A")
T = TypeVar("T")


class _Done:
    """What may be awaited, and need not be."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


_DONE = _Done()


class AsyncStep(Parallel):
    """The steps of an async flow: as ``Step``, with ``await``; several may run at once."""

    _is_async = True

    @overload
    async def run(
        self,
        name: str,
        fn: Callable[..., Awaitable[T]],
        *args: Any,
        retries: int = 0,
        retry_delay: float | timedelta = 1.0,
        timeout: float | timedelta | None = None,
        compensate: Callable[[T], Any] | None = None,
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
        compensate: Callable[[T], Any] | None = None,
    ) -> T: ...

    async def run(
        self,
        name: str,
        fn: Callable[..., Any],
        *args: Any,
        retries: int = 0,
        retry_delay: float | timedelta = 1.0,
        timeout: float | timedelta | None = None,
        compensate: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Run ``fn(*args)``, awaiting it where it is to be awaited; see ``Step.run``."""
        key = self._begin(name)
        known = self._known(key, name, fn, compensate)
        if known is not None:
            return known.value
        how = StepOptions.of(retries, retry_delay, timeout, compensate)
        call = functools.partial(fn, *args)
        while True:
            await self._boundary()
            run = self._journal.start(key, name)
            try:
                value = await self._call(call, run, how.timeout)
            except Exception as error:  # whatever a step raises is its outcome
                delay = await asyncio.to_thread(self._journal.failed, run, error, how)
                await self._pause(delay)
                continue
            record = functools.partial(self._journal.completed, undo=how.undo)
            return await asyncio.to_thread(record, run, value, annotation_of(fn))

    async def sleep(self, name: str, duration: float | timedelta) -> None:
        """Go on after ``duration``; see ``Step.sleep``."""
        seconds = options.seconds(duration, f"the duration of {name!r}")
        await self._wait(name, waits.sleep, seconds)

    async def sleep_until(self, name: str, when: datetime) -> None:
        """Go on at ``when``; see ``Step.sleep_until``."""
        await self._wait(name, waits.sleep_until, options.check_wake(when, name))

    async def wait_for_signal(
        self, name: str, *, timeout: float | timedelta | None = None, type: Any = None
    ) -> Any:
        """The payload of the next signal of this name, or ``None``; see ``Step``."""
        seconds = options.check_timeout(timeout, name)
        return self._received(await self._wait(name, waits.receive, [name], seconds, type))

    async def wait_for_any(
        self, name: str, *, signals: Sequence[str], timeout: float | timedelta | None = None
    ) -> tuple[str, Any] | None:
        """Name and payload of whichever of these signals came first; see ``Step``."""
        names = options.check_signals(signals, name)
        seconds = options.check_timeout(timeout, name)
        return await self._wait(name, waits.receive, names, seconds, None)

    async def invoke(
        self, name: str, flow: Any, data: Any = None, *, timeout: float | timedelta | None = None
    ) -> Any:
        """The result of a child; see ``Step.invoke``."""
        seconds = options.check_timeout(timeout, name)
        return await self._wait(name, children.invoke, flow, data, seconds)

    async def invoke_all(
        self,
        name: str,
        flow: Any,
        items: Iterable[Any],
        *,
        timeout: float | timedelta | None = None,
    ) -> list[Any]:
        """The results of a child for each item; see ``Step.invoke_all``."""
        seconds = options.check_timeout(timeout, name)
        return await self._wait(name, children.invoke_all, flow, listed(items), seconds)

    async def send(self, name: str, flow: Any, data: Any = None) -> str:
        """Start a child and go on; return its id."""
        return await self._wait(name, children.send, flow, data)

    async def apply(
        self,
        name: str,
        signature: Any,
        *,
        retries: int = 0,
        timeout: float | timedelta | None = None,
    ) -> Any:
        """The result of ordinary Celery tasks; see ``Step.apply``."""
        seconds = options.check_timeout(timeout, name)
        runs = options.check_retries(retries)
        return await self._wait(name, tasks.apply, signature, runs, seconds)

    async def _wait(self, name: str, wait: Callable[..., T], *given: Any) -> T:
        self._check_place(name)
        return await asyncio.to_thread(wait, self._journal, name, *given)

    @overload
    async def map(
        self,
        name: str,
        fn: Callable[[A], Awaitable[T]],
        items: Iterable[A],
        *,
        concurrency: int = 4,
    ) -> list[T]: ...

    @overload
    async def map(
        self, name: str, fn: Callable[[A], T], items: Iterable[A], *, concurrency: int = 4
    ) -> list[T]: ...

    async def map(
        self, name: str, fn: Callable[[A], Any], items: Iterable[A], *, concurrency: int = 4
    ) -> list[Any]:
        """Run ``fn(item)`` for each item, ``concurrency`` at once in tasks; see ``Step.map``."""
        values, at_once = listed(items), check_concurrency(concurrency)
        return await self._at_once(self._parts_of_map(name, fn, values), at_once)

    async def gather(self, /, **named_fns: Callable[[], Any]) -> dict[str, Any]:
        """Run all functions at once, each as a step of its own; see ``Step.map``."""
        values = await self._at_once(self._parts_of_gather(named_fns), MOST_AT_ONCE)
        return dict(zip(named_fns, values, strict=True))

    def progress(self, fraction: float, message: str | None = None) -> Awaitable[None]:
        """Tell how far the execution is; see ``Step.progress``. It need not be awaited."""
        self._report(fraction, message)
        return _DONE

    async def _at_once(self, parts: list[Part], at_once: int) -> list[Any]:
        race, room = self._race(parts), asyncio.Semaphore(at_once)
        async with asyncio.TaskGroup() as tasks:
            while await room.acquire() and (part := race.next()) is not None:
                tasks.create_task(self._part(race, part, room))
        return race.ended(parts)

    async def _part(self, race: Race, part: Part, room: asyncio.Semaphore) -> None:
        """One of several steps, in a task of its own, which tells errors to the race alone."""
        try:
            race.values[part.key] = await self._once(race, part)
        except asyncio.CancelledError as error:
            race.is_first(error)
            raise
        except (Exception, Interruption) as error:
            race.is_first(error)
        finally:
            room.release()

    async def _once(self, race: Race, part: Part) -> Any:
        await self._boundary()
        run = self._journal.start(part.key, part.name)
        try:
            call = functools.partial(part.fn, *part.args)
            value = await self._call(call, run, None)
        except Exception as error:  # whatever a step raises is its outcome
            told = race.is_first(error)
            await asyncio.to_thread(self._journal.failed, run, error, ONCE, told=told)
            raise
        return await asyncio.to_thread(self._journal.completed, run, value, annotation_of(part.fn))

    async def _call(self, call: Callable[[], Any], run: Run, timeout: float | None) -> Any:
        token = running_step.set(self._running(run))
        if run.span is not None:
            run.span.enter()
        started = elapsed()
        try:
            value = self._timed(call, timeout, run.name)
            if not is_awaitable(value):
                return value
            left = None if timeout is None else timeout - (elapsed() - started)
            return await self._awaited(value, left, timeout, run.name)
        finally:
            if run.span is not None:
                run.span.leave()
            running_step.reset(token)

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
        self._journal.leave_if_longer(delay, SHORT_WAIT)
        until = elapsed() + delay
        while (left := until - elapsed()) > 0:
            await self._boundary()
            await asyncio.sleep(min(left, 0.2))

    async def _boundary(self) -> None:
        if self._journal.certain:
            self._journal.boundary()
        else:
            await asyncio.to_thread(self._journal.boundary)
