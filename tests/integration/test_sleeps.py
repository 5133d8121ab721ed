"""Sleeps: an execution that waits for a time holds no worker and no message."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, bring_forward, deliver, dispatcher, eventually
from worchflow_celery import AsyncStep, Event, ExecutionStatus, Step, Worchflow


def test_a_sleeping_execution_holds_no_worker_and_no_message(
    worchflow: Worchflow, celery_app: Celery, bench: Bench
) -> None:
    @worchflow.flow("sleeper")
    def sleeper(event: Event[Any], step: Step) -> str:
        step.sleep("nap", timedelta(hours=1))
        return "rested"

    handle = sleeper.send()

    deliver(celery_app)

    assert handle.status == ExecutionStatus.WAITING
    assert bench.messages() == 0
    due_at = handle.get().due_at
    assert due_at is not None
    assert timedelta(minutes=59) < due_at - datetime.now(UTC) <= timedelta(hours=1)


def test_a_sleep_is_over_after_its_time_and_is_not_slept_again(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    ran: list[str] = []

    @worchflow.flow("sleeper")
    def sleeper(event: Event[Any], step: Step) -> str:
        step.run("before", ran.append, "before")
        step.sleep("nap", 1.2)
        step.run("after", ran.append, "after")
        return "rested"

    handle = sleeper.send()
    deliver(celery_app)

    eventually(lambda: dispatcher(worchflow).sweep() and deliver(celery_app))

    assert handle.result(1) == "rested"
    assert ran == ["before", "after"]
    assert handle.get().attempt == 1


def test_an_execution_that_wakes_too_early_sleeps_on(
    worchflow: Worchflow, celery_app: Celery, bench: Bench
) -> None:
    @worchflow.flow("sleeper")
    def sleeper(event: Event[Any], step: Step) -> None:
        step.sleep("nap", 3600)

    handle = sleeper.send()
    deliver(celery_app)
    due = handle.get().due_at
    bring_forward(bench, handle.id)

    dispatcher(worchflow).sweep()
    deliver(celery_app)

    again = handle.get()
    assert again.status == ExecutionStatus.WAITING
    assert due is not None and again.due_at is not None
    assert abs(again.due_at - due) < timedelta(seconds=1)


def test_a_dispatcher_looks_again_when_the_next_sleep_is_over(
    worchflow: Worchflow, celery_app: Celery, bench: Bench
) -> None:
    @worchflow.flow("sleeper")
    def sleeper(event: Event[Any], step: Step) -> None:
        step.sleep("nap", timedelta(hours=1))

    handle = sleeper.send()
    deliver(celery_app)
    sweeper = dispatcher(worchflow)
    assert 0.5 <= sweeper.sweep() <= 1  # nothing is due for now

    soon = {"$set": {"due_at": datetime.now(UTC) + timedelta(seconds=0.4)}}
    bench.collection("executions").update_one({"_id": handle.id}, soon)

    assert sweeper.sweep() <= 0.4


def test_a_short_sleep_stays_on_the_worker(worchflow: Worchflow, celery_app: Celery) -> None:
    @worchflow.flow("sleeper")
    def sleeper(event: Event[Any], step: Step) -> str:
        step.sleep("blink", 0.1)
        step.sleep_until("past", datetime(2020, 1, 1, tzinfo=UTC))
        return "rested"

    handle = sleeper.send()

    deliver(celery_app)

    assert handle.result(1) == "rested"
    assert [step.kind for step in worchflow.steps(handle.id)] == ["sleep", "sleep"]


@pytest.mark.parametrize(
    "sleep",
    [
        lambda step: step.sleep("nap", -1),
        lambda step: step.sleep("nap", timedelta(days=4000)),
        lambda step: step.sleep("nap", float("nan")),
        lambda step: step.sleep("nap", "an hour"),
        lambda step: step.sleep_until("nap", datetime(2040, 1, 1)),
        lambda step: step.sleep_until("nap", datetime(2400, 1, 1, tzinfo=UTC)),
        lambda step: step.sleep_until("nap", 5),
    ],
)
def test_a_sleep_that_cannot_be_is_a_value_error(
    worchflow: Worchflow, celery_app: Celery, sleep: Any
) -> None:
    @worchflow.flow("sleeper")
    def sleeper(event: Event[Any], step: Step) -> str:
        with pytest.raises(ValueError):
            sleep(step)
        return "refused"

    handle = sleeper.send()

    deliver(celery_app)

    assert handle.result(1) == "refused"


def test_an_async_flow_sleeps_alike(worchflow: Worchflow, celery_app: Celery) -> None:
    @worchflow.flow("async")
    async def flow(event: Event[Any], step: AsyncStep) -> str:
        await step.sleep("blink", 0.01)
        await step.sleep_until("past", datetime(2020, 1, 1, tzinfo=UTC))
        return "rested"

    handle = flow.send()

    deliver(celery_app)

    assert handle.result(1) == "rested"


def test_an_eager_execution_does_not_sleep(worchflow: Worchflow, celery_app: Celery) -> None:
    @worchflow.flow("eager")
    def eager(event: Event[Any], step: Step) -> str:
        step.sleep("nap", timedelta(days=30))
        return "awake"

    result = eager.apply(args=(None,))

    assert result.get() == "awake"
