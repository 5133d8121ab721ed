"""`task_always_eager` and `apply`: a flow runs in this process at once, stored as always."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery, chain

from tests.support import Bench
from worchflow_celery import AsyncStep, Event, ExecutionStatus, Step, Worchflow
from worchflow_celery.errors import InvalidEventData


@pytest.fixture
def celery_app(bench: Bench) -> Iterator[Celery]:
    app = bench.celery()
    app.conf.task_always_eager = True
    yield app
    app.close()


@pytest.fixture(autouse=True)
def flows(worchflow: Worchflow, celery_app: Celery) -> None:
    @celery_app.task(name="add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    @worchflow.flow("double")
    def double(event: Event[int], step: Step) -> int:
        return step.run("double", lambda: 2 * event.data)

    @worchflow.flow("fails")
    def fails(event: Event[Any]) -> None:
        raise ValueError("no")

    @worchflow.flow("retried", retries=2, retry_delay=3600)
    def retried(event: Event[Any]) -> int:
        if event.attempt < 3:
            raise ConnectionError
        return event.attempt


def test_a_flow_runs_at_once_and_is_stored_as_always(bench: Bench, worchflow: Worchflow) -> None:
    handle = worchflow.flows["double"].send(4)

    execution = handle.get()
    assert (execution.status, execution.result) == (ExecutionStatus.COMPLETED, 8)
    assert [one.result for one in worchflow.steps(handle.id)] == [8]
    assert bench.messages() == 0


def test_a_flow_sent_by_name_runs_at_once(worchflow: Worchflow) -> None:
    assert worchflow.send("double", 4).result(1) == 8


def test_an_id_is_an_idempotency_key_here_too(worchflow: Worchflow) -> None:
    double = worchflow.flows["double"]
    double.send(4, id="d-1")

    assert double.send(4, id="d-1").result(1) == 8
    assert len(worchflow.get("d-1").attempts) == 1


def test_invalid_data_is_refused_here_too(worchflow: Worchflow) -> None:
    with pytest.raises(InvalidEventData):
        worchflow.flows["double"].send("many")

    assert worchflow.find() == []


def test_retries_follow_without_their_delay(worchflow: Worchflow) -> None:
    execution = worchflow.flows["retried"].send().get()

    assert execution.result == 3
    outcomes = [(one.number, one.outcome) for one in execution.attempts]
    assert outcomes == [(1, "retrying"), (2, "retrying"), (3, "completed")]


@pytest.mark.parametrize("delay", [4, 3600])
def test_retries_of_a_step_follow_without_their_delay(worchflow: Worchflow, delay: float) -> None:
    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> int:
        def fail_once() -> int:
            if step.attempt == 1:
                raise ConnectionError
            return step.attempt

        return step.run("flaky", fail_once, retries=1, retry_delay=delay)

    execution = flow.send().get()

    assert execution.result == 2
    assert execution.finished_at is not None
    assert execution.finished_at - execution.created_at < timedelta(seconds=3)


@pytest.mark.parametrize("when", [{"delay": 3600}, {"countdown": 3600}])
def test_a_delayed_flow_runs_at_once(worchflow: Worchflow, when: dict[str, int]) -> None:
    double = worchflow.flows["double"]

    started = double.send(4, **when) if "delay" in when else double.apply_async((4,), **when)

    assert worchflow.get(started.id).result == 8


def test_a_failure_is_stored_and_not_raised(worchflow: Worchflow) -> None:
    handle = worchflow.flows["fails"].send()

    assert handle.status == ExecutionStatus.FAILED


def test_task_eager_propagates_raises_the_last_error(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    celery_app.conf.task_eager_propagates = True

    with pytest.raises(ValueError, match="no"):
        worchflow.flows["fails"].send()

    assert [one.status for one in worchflow.find()] == [ExecutionStatus.FAILED]
    assert worchflow.flows["retried"].send().result(1) == 3


def test_delay_returns_a_result_that_is_there(worchflow: Worchflow) -> None:
    result = worchflow.flows["double"].delay(4)

    assert (result.get(), result.state) == (8, "SUCCESS")
    assert worchflow.get(result.id).result == 8


def test_the_result_of_a_failed_flow_raises_its_error(worchflow: Worchflow) -> None:
    result = worchflow.flows["fails"].delay()

    assert result.state == "FAILURE"
    with pytest.raises(ValueError, match="no"):
        result.get()


def test_apply_runs_a_flow_here_whatever_the_settings_say(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    celery_app.conf.task_always_eager = False

    result = worchflow.flows["double"].apply((4,))

    assert result.get() == 8
    assert worchflow.get(result.id).result == 8


def test_apply_raises_the_error_when_asked_to(worchflow: Worchflow) -> None:
    with pytest.raises(ValueError, match="no"):
        worchflow.flows["fails"].apply(throw=True)


def test_a_chain_goes_through_a_flow(celery_app: Celery) -> None:
    tasks = celery_app.tasks

    result = chain(tasks["add"].s(1, 2), tasks["double"].s(), tasks["add"].s(1)).apply_async()

    assert result.get() == 7


def test_links_follow_a_flow(worchflow: Worchflow) -> None:
    double = worchflow.flows["double"]

    double.apply_async((4,), link=double.s())

    assert sorted(one.result for one in worchflow.find()) == [8, 16]


def test_a_flow_may_start_another_one(worchflow: Worchflow) -> None:
    @worchflow.flow("outer")
    def outer(event: Event[Any], step: Step) -> int:
        inner = step.run("start", lambda: str(worchflow.send("double", 4)))
        return int(worchflow.handle(inner).result(1))

    assert outer.send().result(1) == 8


def test_an_async_flow_runs_beside_the_loop_that_sends_it(worchflow: Worchflow) -> None:
    @worchflow.flow("flow")
    async def flow(event: Event[Any], step: AsyncStep) -> int:
        await asyncio.sleep(0)
        return await step.run("step", lambda: 8)

    async def send() -> int:
        return flow.send().result(1)

    assert asyncio.run(send()) == 8
