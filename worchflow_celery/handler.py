"""A handler is called: with its event and steps, under its time limit, sync or async."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any

from worchflow_celery import codec, results
from worchflow_celery.async_step import AsyncStep
from worchflow_celery.callables import is_awaitable
from worchflow_celery.clock import elapsed
from worchflow_celery.context import logger_of
from worchflow_celery.deadlines import Deadline
from worchflow_celery.definition import Definition
from worchflow_celery.errors import ExecutionTimeout, StepMisuse
from worchflow_celery.journal import Journal
from worchflow_celery.models import ErrorInfo, Event
from worchflow_celery.runtime import Runtime
from worchflow_celery.step import Step
from worchflow_celery.store.records import Claim


def call(runtime: Runtime, definition: Definition, claim: Claim, journal: Journal) -> str:
    """Call the handler of a claimed execution; return its result, encoded.

    Raises whatever the handler raises, and what says that data or result are not as they must be.
    """
    event: Event[Any] = Event(
        claim.id, claim.flow, definition.data(claim.data), claim.created_at, claim.attempt
    ).logging_to(logger_of(journal))
    run = _run_async if definition.is_async else _run
    return _encoded(runtime, definition, run(runtime, definition, event, journal))


def event_of(definition: Definition, claim: Claim) -> Event[Any]:
    """The event for those who look at a failure: data that does not fit is given as it is."""
    try:
        data = definition.data(claim.data)
    except Exception:  # validators are the user's
        data = codec.plain_of(claim.data)
    return Event(claim.id, claim.flow, data, claim.created_at, claim.attempt)


def call_aside(definition: Definition, fn: Callable[[], Any]) -> None:
    """Call a function of the user's beside the handler; it may be async where the flow is."""

    async def call() -> None:
        value = fn()
        if is_awaitable(value):
            await value

    if definition.is_async:
        _run_coroutine(call())
        return
    value = copy_context().run(fn)
    if is_awaitable(value):
        if inspect.iscoroutine(value):
            value.close()  # or Python would warn that nobody has awaited it
        raise StepMisuse("it returned an awaitable: it needs an `async def` flow")


def call_on_failure(
    runtime: Runtime,
    definition: Definition,
    event: Event[Any],
    error: ErrorInfo,
    journal: Journal,
) -> None:
    """Call what a flow does about its failure, with steps of its own."""
    watch, fn = runtime.process.watch, definition.on_failure
    step = AsyncStep(journal, watch) if definition.is_async else Step(journal, watch, None)
    assert fn is not None
    try:
        event = event.logging_to(logger_of(journal))
        call_aside(definition, lambda: fn(event, error, step))
    finally:
        journal.close()


def _run(runtime: Runtime, definition: Definition, event: Event[Any], journal: Journal) -> Any:
    watch, timeout = runtime.process.watch, definition.options.timeout
    if timeout is None:
        return _bound(definition, event, Step(journal, watch, None))()
    deadline = Deadline(elapsed() + timeout, ExecutionTimeout, _too_long(definition))
    return watch.call(deadline, _bound(definition, event, Step(journal, watch, deadline)))


def _run_async(
    runtime: Runtime, definition: Definition, event: Event[Any], journal: Journal
) -> Any:
    handler = _bound(definition, event, AsyncStep(journal, runtime.process.watch))

    async def run() -> Any:
        timeout = definition.options.timeout
        limit, begun = asyncio.timeout(timeout), elapsed()
        try:
            async with limit:
                result = await handler()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ExecutionTimeout(_too_long(definition)) from error
        if timeout is not None and elapsed() - begun > timeout:
            raise ExecutionTimeout(_too_long(definition))  # it never awaited: the loop was blocked
        return result

    return _run_coroutine(run())


def _run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it in a loop of its own; in a thread of its own when this one's loop is busy."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    ended: list[Any] = []

    def run() -> None:
        try:
            ended.append((asyncio.run(coroutine), None))
        except BaseException as error:  # carried over to the waiting thread
            ended.append((None, error))

    thread = threading.Thread(target=run, name="worchflow-eager")
    thread.start()
    thread.join()
    value, error = ended[0]
    if error is not None:
        raise error
    return value


def _bound(definition: Definition, event: Event[Any], step: Step | AsyncStep) -> Callable[[], Any]:
    if definition.wants_step:
        return lambda: definition.function(event=event, step=step)
    return lambda: definition.function(event=event)


def _too_long(definition: Definition) -> str:
    timeout = definition.options.timeout or 0
    return f"flow {definition.id!r} ran longer than its timeout of {timeout:g} s"


def _encoded(runtime: Runtime, definition: Definition, result: Any) -> str:
    limit = runtime.settings.max_payload_bytes
    return results.encode(f"flow {definition.id!r}", result, definition.returns, limit)
