"""Limits on one attempt and on one run of a step, raised inside the code."""

import asyncio
import inspect
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from worchflow_celery import AsyncStep, Event, Execution, ExecutionStatus, Step, Worchflow, signals
from worchflow_celery.errors import ExecutionTimeout, StepTimeout

LIMIT = 0.25


def work(seconds: float = 20) -> str:
    """Plain Python that takes its time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.001)
    return "done"


async def work_async(seconds: float = 20) -> str:
    await asyncio.sleep(seconds)
    return "done"


def in_the_flow(event: Event[Any]) -> str:
    return work()


def in_a_step(event: Event[Any], step: Step) -> str:
    return step.run("work", work)


def after_a_step(event: Event[Any], step: Step) -> str:
    step.run("quick", int)
    return work()


async def in_an_async_flow(event: Event[Any]) -> str:
    return await work_async()


async def in_an_async_step(event: Event[Any], step: AsyncStep) -> str:
    return await step.run("work", work_async)


HANDLERS = [in_the_flow, in_a_step, after_a_step, in_an_async_flow, in_an_async_step]


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("limit", [LIMIT, timedelta(seconds=LIMIT)])
def test_an_attempt_that_takes_too_long_fails(
    run: Callable[..., Execution], handler: Callable[..., Any], limit: Any
) -> None:
    execution = run(handler, timeout=limit)

    assert execution.status == ExecutionStatus.FAILED
    assert execution.error is not None
    assert execution.error.type == "ExecutionTimeout"
    assert "'flow' ran longer than its timeout of 0.25 s" in execution.error.message
    assert execution.started_at and execution.finished_at
    assert execution.finished_at - execution.started_at < timedelta(seconds=5)


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_timeout_bounds_each_attempt_and_is_retried_like_any_error(
    run: Callable[..., Execution], handler: Callable[..., Any]
) -> None:
    execution = run(handler, timeout=0.1, retries=1)

    assert [one.outcome for one in execution.attempts] == ["retrying", "failed"]
    assert {one.error.type for one in execution.attempts if one.error} == {"ExecutionTimeout"}


def step_in_a_sync_flow(event: Event[Any], step: Step) -> str:
    return step.run("work", work, timeout=LIMIT, retries=1, retry_delay=0)


async def step_in_an_async_flow(event: Event[Any], step: AsyncStep) -> str:
    return await step.run("work", work_async, timeout=LIMIT, retries=1, retry_delay=0)


async def sync_step_in_an_async_flow(event: Event[Any], step: AsyncStep) -> str:
    return await step.run("work", work, timeout=LIMIT, retries=1, retry_delay=0)


@pytest.mark.parametrize(
    "handler", [step_in_a_sync_flow, step_in_an_async_flow, sync_step_in_an_async_flow]
)
@pytest.mark.parametrize("limit_of_the_flow", [None, 10])
def test_a_step_that_takes_too_long_is_retried_like_any_error(
    run: Callable[..., Execution],
    worchflow: Worchflow,
    handler: Callable[..., Any],
    limit_of_the_flow: float | None,
) -> None:
    execution = run(handler, timeout=limit_of_the_flow)

    (record,) = worchflow.steps(execution.id)
    assert execution.error is not None and record.error is not None
    assert execution.error.type == record.error.type == "StepTimeout"
    assert "step 'work' ran longer than its timeout of 0.25 s" in execution.error.message
    assert (record.status, record.attempt) == ("failed", 2)


def test_a_handler_that_swallows_its_timeout_is_timed_out_all_the_same(
    run: Callable[..., Execution],
) -> None:
    def flow(event: Event[Any]) -> str:
        try:
            return work()
        except Exception:
            return "too late"

    execution = run(flow, timeout=LIMIT)

    assert execution.error is not None and execution.error.type == "ExecutionTimeout"


def test_a_step_s_timeout_can_be_caught_by_the_flow(run: Callable[..., Execution]) -> None:
    def flow(event: Event[Any], step: Step) -> str:
        try:
            return step.run("work", work, timeout=LIMIT)
        except StepTimeout:
            return step.run("instead", lambda: "plan B")

    assert run(flow, timeout=10).result == "plan B"


def test_the_attempt_s_timeout_is_no_failure_that_a_step_retries(
    run: Callable[..., Execution],
) -> None:
    ran: list[int] = []

    def slow() -> str:
        ran.append(1)
        return work()

    def flow(event: Event[Any], step: Step) -> str:
        return step.run("work", slow, retries=5, retry_delay=0)

    execution = run(flow, timeout=LIMIT)

    assert execution.error is not None and execution.error.type == "ExecutionTimeout"
    assert ran == [1]


def test_a_blocking_call_is_interrupted_when_it_returns(run: Callable[..., Execution]) -> None:
    after: list[str] = []

    def flow(event: Event[Any]) -> None:
        time.sleep(2 * LIMIT)
        for _ in range(1000):
            pass
        after.append("never")

    execution = run(flow, timeout=LIMIT)

    assert execution.error is not None and execution.error.type == "ExecutionTimeout"
    assert after == []


def test_code_is_interrupted_where_it_is_and_its_cleanup_runs(
    run: Callable[..., Execution],
) -> None:
    cleaned: list[str] = []

    def flow(event: Event[Any]) -> None:
        try:
            work()
        except ExecutionTimeout as error:
            cleaned.append(type(error).__name__)
            raise
        finally:
            cleaned.append("finally")

    run(flow, timeout=LIMIT)

    assert cleaned == ["ExecutionTimeout", "finally"]


@pytest.mark.parametrize("handler", [in_a_step, in_an_async_step])
def test_steps_that_completed_before_the_timeout_are_not_run_again(
    run: Callable[..., Execution], worchflow: Worchflow, handler: Callable[..., Any]
) -> None:
    ran: list[int] = []

    def sync(event: Event[Any], step: Step) -> Any:
        step.run("first", ran.append, 1)
        return handler(event, step) if event.attempt == 1 else "resumed"

    async def asynchronous(event: Event[Any], step: AsyncStep) -> Any:
        await step.run("first", ran.append, 1)
        return await handler(event, step) if event.attempt == 1 else "resumed"

    flow = asynchronous if inspect.iscoroutinefunction(handler) else sync
    execution = run(flow, timeout=2 * LIMIT, retries=1)

    assert execution.result == "resumed"
    assert ran == [1]


def test_time_between_the_steps_counts_and_a_short_step_after_it_is_not_begun(
    run: Callable[..., Execution],
) -> None:
    ran: list[str] = []

    def flow(event: Event[Any], step: Step) -> None:
        step.run("first", ran.append, "first")
        time.sleep(3 * LIMIT)
        step.run("second", ran.append, "second")

    execution = run(flow, timeout=2 * LIMIT)

    assert execution.error is not None and execution.error.type == "ExecutionTimeout"
    assert ran == ["first"]


def test_a_timeout_does_not_strike_while_a_step_is_being_recorded(
    run: Callable[..., Execution], worchflow: Worchflow
) -> None:
    told: list[str] = []

    def tell(key: str, **_: Any) -> None:
        work(3 * LIMIT)
        told.append(key)

    def flow(event: Event[Any], step: Step) -> str:
        step.run("step", int)
        return "too late"

    signals.step_completed.connect(tell, sender=worchflow)
    execution = run(flow, timeout=2 * LIMIT)
    signals.step_completed.disconnect(tell, sender=worchflow)

    assert execution.error is not None and execution.error.type == "ExecutionTimeout"
    assert told == ["step"]
    assert [one.status for one in worchflow.steps(execution.id)] == ["completed"]


def test_a_timeout_that_was_met_raises_nothing_later(run: Callable[..., Execution]) -> None:
    def flow(event: Event[Any], step: Step) -> str:
        step.run("quick", work, 0.01, timeout=2 * LIMIT)
        return work(3 * LIMIT)

    assert run(flow).result == "done"


def test_a_timeout_error_of_the_code_s_own_stays_what_it_is(
    run: Callable[..., Execution],
) -> None:
    async def own() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(1)

    async def flow(event: Event[Any], step: AsyncStep) -> None:
        await step.run("own", own, timeout=10)

    execution = run(flow, timeout=10)

    assert execution.error is not None and execution.error.type == "TimeoutError"


def test_an_async_flow_that_never_awaits_is_over_its_time_all_the_same(
    run: Callable[..., Execution],
) -> None:
    async def stubborn(event: Event[Any]) -> str:
        return work(3 * LIMIT)

    execution = run(stubborn, timeout=LIMIT)

    assert execution.status == ExecutionStatus.FAILED
    assert execution.error is not None
    assert execution.error.type == "ExecutionTimeout"
