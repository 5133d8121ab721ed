"""A running execution is asked to stop: its worker learns of it and stops at the next boundary."""

from typing import Any

import pytest
from celery import Celery

from tests.support import deliver, die, eventually, revive
from worchflow_celery import AsyncStep, Event, Step, Worchflow
from worchflow_celery.clock import elapsed


def ask(worchflow: Worchflow, execution_id: str, what: str = "cancel") -> None:
    assert worchflow.runtime.store.endings.ask(execution_id, what)


def heard(worchflow: Worchflow, execution_id: str) -> bool:
    """Whether this process knows that the execution was asked to stop."""
    leases = worchflow.runtime.process.keeper._leases.values()
    return any(lease.claim.id == execution_id and lease.asked for lease in leases)


def ask_and_wait(worchflow: Worchflow, execution_id: str) -> None:
    ask(worchflow, execution_id)
    eventually(lambda: heard(worchflow, execution_id))


def test_the_worker_of_a_running_execution_hears_within_a_second(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    seconds: list[float] = []

    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> None:
        begun = elapsed()
        ask_and_wait(worchflow, event.id)
        seconds.append(elapsed() - begun)

    flow.send()
    deliver(celery_app)

    assert seconds[0] < 1.1


def test_a_flow_that_is_to_be_cancelled_begins_no_further_step(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    ran: list[str] = []

    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> None:
        step.run("first", ask_and_wait, worchflow, event.id)
        step.run("second", ran.append, "second")

    handle = flow.send()
    deliver(celery_app)

    assert ran == []
    assert handle.status == "cancelled"
    assert [one.key for one in worchflow.steps(handle.id)] == ["first"]


def test_an_async_flow_that_is_to_be_cancelled_begins_no_further_step(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    ran: list[str] = []

    @worchflow.flow("flow")
    async def flow(event: Event[Any], step: AsyncStep) -> None:
        await step.run("first", ask_and_wait, worchflow, event.id)
        await step.run("second", ran.append, "second")

    handle = flow.send()
    deliver(celery_app)

    assert ran == []
    assert handle.status == "cancelled"


def test_a_handler_that_swallows_everything_is_cancelled_all_the_same(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    met: list[str] = []

    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> str:
        ask_and_wait(worchflow, event.id)
        for name in ("first", "second"):
            try:
                step.run(name, met.append, name)
            except BaseException as error:
                met.append(type(error).__name__)
        return "done"

    handle = flow.send()
    deliver(celery_app)

    assert met == ["Stopped", "Stopped"]
    assert (handle.status, handle.get().result) == ("cancelled", None)


def test_a_step_that_waits_for_its_retry_stops(worchflow: Worchflow, celery_app: Celery) -> None:
    runs: list[int] = []

    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> None:
        def fail() -> None:
            runs.append(step.attempt)
            ask(worchflow, event.id)
            raise ConnectionError

        step.run("step", fail, retries=1, retry_delay=4)

    handle = flow.send()
    begun = elapsed()
    deliver(celery_app)

    assert handle.status == "cancelled"
    assert runs == [1]
    assert elapsed() - begun < 3


def returns() -> str:
    return "done"


def raises() -> str:
    raise ConnectionError


@pytest.mark.parametrize("ends", [returns, raises])
@pytest.mark.parametrize("retries", [0, 1])
def test_an_execution_that_was_asked_before_its_end_was_written_is_cancelled(
    worchflow: Worchflow, celery_app: Celery, ends: Any, retries: int
) -> None:
    @worchflow.flow("flow", retries=retries)
    def flow(event: Event[Any]) -> str:
        ask(worchflow, event.id)
        result: str = ends()
        return result

    handle = flow.send()
    deliver(celery_app)

    execution = handle.get()
    assert (execution.status, execution.attempt, execution.result) == ("cancelled", 1, None)
    assert execution.error is not None
    assert execution.error.type == "Cancelled"


def test_an_execution_that_was_asked_before_its_failure_was_written_is_undone_as_cancelled(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    told: list[str] = []

    @worchflow.flow("flow", on_failure=lambda event, error, step: told.append("failed"))
    def flow(event: Event[Any], step: Step) -> None:
        step.run("pay", lambda: "refunded", compensate=told.append)
        ask(worchflow, event.id)
        raise ConnectionError

    handle = flow.send()
    deliver(celery_app)

    assert handle.status == "cancelled"
    assert told == ["refunded"]


def test_an_execution_that_was_asked_before_its_worker_died_runs_no_more(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    ran: list[int] = []

    @worchflow.flow("flow")
    def flow(event: Event[Any]) -> None:
        ran.append(event.attempt)
        ask(worchflow, event.id)
        die()

    handle = flow.send()
    deliver(celery_app)
    revive(worchflow, handle.id)
    deliver(celery_app)

    assert ran == [1]
    assert handle.status == "cancelled"


def test_what_was_asked_is_forgotten_with_the_end(worchflow: Worchflow, celery_app: Celery) -> None:
    asked = [True, False]

    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> str:
        if asked.pop(0):
            ask_and_wait(worchflow, event.id)
        return step.run("step", lambda: "done")

    handle = flow.send()
    deliver(celery_app)
    handle.retry()
    deliver(celery_app)

    assert handle.result(1) == "done"
