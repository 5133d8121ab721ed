"""Time limits, shutdown and lost leases reach steps that run at once."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, deliver, eventually
from worchflow_celery import AsyncStep, Event, Execution, ExecutionStatus, Step, Worchflow
from worchflow_celery.shutdown import Phase


@pytest.fixture
def run(worchflow: Worchflow, celery_app: Celery) -> Callable[..., Execution]:
    """Define a flow, send it, run its attempts until none is left; return its execution."""

    def run(handler: Callable[..., Any], **options: Any) -> Execution:
        handle = worchflow.flow("flow", retry_delay=0, **options)(handler).send()
        deliver(celery_app, most=1)
        return handle.get()

    return run


def work(number: int) -> int:
    """Plain Python that takes its time, but for the first item."""
    end = time.monotonic() + (20 if number else 0)
    while time.monotonic() < end:
        time.sleep(0.001)
    return number


async def work_async(number: int) -> int:
    await asyncio.sleep(20 if number else 0)
    return number


def sync_flow(event: Event[Any], step: Step) -> None:
    step.map("work", work, range(5), concurrency=2)


async def async_flow(event: Event[Any], step: AsyncStep) -> None:
    await step.map("work", work_async, range(5), concurrency=2)


@pytest.mark.parametrize("flow", [sync_flow, async_flow])
def test_the_limit_of_the_attempt_ends_all_items(
    run: Callable[..., Execution], worchflow: Worchflow, flow: Callable[..., Any]
) -> None:
    execution = run(flow, timeout=0.3)

    assert execution.error is not None and execution.error.type == "ExecutionTimeout"
    assert "'flow' ran longer than its timeout of 0.3 s" in execution.error.message
    assert execution.finished_at and execution.started_at
    assert (execution.finished_at - execution.started_at).total_seconds() < 5
    assert "work[0]" in {r.key for r in worchflow.steps(execution.id) if r.status == "completed"}


def test_a_limit_that_is_not_reached_leaves_no_trace(run: Callable[..., Execution]) -> None:
    def flow(event: Event[Any], step: Step) -> list[int]:
        return step.map("quick", abs, range(300), concurrency=8)

    assert run(flow, timeout=60).result == list(range(300))


def test_the_flow_s_own_code_is_limited_after_a_map(run: Callable[..., Execution]) -> None:
    def flow(event: Event[Any], step: Step) -> None:
        step.map("quick", abs, range(3))
        work(1)

    execution = run(flow, timeout=0.3)

    assert execution.error is not None and execution.error.type == "ExecutionTimeout"


@pytest.mark.parametrize("flow", [sync_flow, async_flow])
def test_a_limit_that_strikes_between_items_is_retried_like_any_error(
    run: Callable[..., Execution], flow: Callable[..., Any]
) -> None:
    execution = run(flow, timeout=0.2, retries=1)

    assert [one.outcome for one in execution.attempts] == ["retrying"]


def sync_until(inside: threading.Event, leave: threading.Event) -> Callable[..., Any]:
    def item(number: int) -> int:
        inside.set()
        leave.wait(10)
        return number

    return lambda event, step: step.map("item", item, range(5), concurrency=2)


def async_until(inside: threading.Event, leave: threading.Event) -> Callable[..., Any]:
    async def item(number: int) -> int:
        inside.set()
        await asyncio.to_thread(leave.wait, 10)
        return number

    async def flow(event: Event[Any], step: AsyncStep) -> list[int]:
        return await step.map("item", item, range(5), concurrency=2)

    return flow


@pytest.mark.parametrize("made", [sync_until, async_until])
def test_at_a_shutdown_what_runs_is_recorded_and_nothing_else_begins(
    worchflow: Worchflow, celery_app: Celery, made: Callable[..., Any]
) -> None:
    inside, leave = threading.Event(), threading.Event()
    handle = worchflow.flow("flow")(made(inside, leave)).send()
    worker = threading.Thread(target=deliver, args=(celery_app,), kwargs={"most": 1})

    worker.start()
    assert inside.wait(10)
    worchflow.runtime.shutdown.begin(Phase.WARM)
    leave.set()
    worker.join(10)

    execution, records = handle.get(), worchflow.steps(handle.id)
    assert (execution.status, execution.attempt) == (ExecutionStatus.QUEUED, 1)
    assert [one.outcome for one in execution.attempts] == ["handed-over"]
    assert {one.status for one in records} == {"completed"}
    assert len(records) <= 2


@pytest.mark.parametrize("made", [sync_until, async_until])
def test_a_lost_lease_stops_a_map_and_records_nothing_more(
    bench: Bench, celery_app: Celery, made: Callable[..., Any]
) -> None:
    worchflow = bench.bind(celery_app, lease_ttl=1.0)
    inside, leave = threading.Event(), threading.Event()
    handle = worchflow.flow("flow")(made(inside, leave)).send()
    worker = threading.Thread(target=deliver, args=(celery_app,), kwargs={"most": 1})

    worker.start()
    assert inside.wait(10)
    change = {"$set": {"status": "queued"}, "$inc": {"epoch": 1}}
    bench.collection("executions").update_one({"_id": handle.id}, change)
    keeper = worchflow.runtime.process.keeper
    eventually(lambda: all(one.lost for one in keeper._leases.values()))
    leave.set()
    worker.join(10)

    assert worchflow.steps(handle.id) == []
    assert handle.status == ExecutionStatus.QUEUED
    worchflow.close()
