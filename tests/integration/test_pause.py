"""A paused execution stays where it is: nobody claims it, publishes it or forgets it."""

from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, bring_forward, deliver, dispatcher
from worchflow_celery import Event, ExecutionHandle, ExecutionStatus, Step, Worchflow, calling
from worchflow_celery.attempt import attempt
from worchflow_celery.clock import utcnow
from worchflow_celery.errors import (
    ExecutionNotFound,
    InvalidOption,
    InvalidTransition,
    Suspended,
)

QUEUED, RETRYING, WAITING = (
    ExecutionStatus.QUEUED,
    ExecutionStatus.RETRYING,
    ExecutionStatus.WAITING,
)


@pytest.fixture
def ran() -> list[int]:
    return []


@pytest.fixture
def flow(worchflow: Worchflow, ran: list[int]) -> Any:
    """Runs; or, as its data says, is to be retried first, or waits for a call."""

    @worchflow.flow("flow", retries=1, retry_delay=3600)
    def flow(event: Event[str | None], step: Step) -> str:
        ran.append(event.attempt)
        if event.data == "retrying" and len(ran) == 1:
            raise ConnectionError
        if event.data == "waiting" and len(ran) == 1:
            raise Suspended(3600, ("call",))
        return "done"

    return flow


def resting(flow: Any, app: Celery, status: str) -> ExecutionHandle[Any]:
    """An execution of a status that no worker has."""
    handle: ExecutionHandle[Any] = flow.send(status)
    if status != QUEUED:
        deliver(app, most=1)
    assert handle.status == status
    return handle


@pytest.mark.parametrize("status", [QUEUED, RETRYING, WAITING])
def test_a_paused_execution_is_claimed_by_nobody_although_it_is_due(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, flow: Any, ran: list[int], status: str
) -> None:
    handle = resting(flow, celery_app, status)
    before = len(ran)

    paused = handle.pause()
    bring_forward(bench, handle.id)
    attempt(worchflow.runtime, flow.definition, handle.id)

    assert (paused.paused, paused.status) == (True, status)
    assert (handle.get().paused, handle.status) == (True, status)
    assert len(ran) == before


def test_celery_s_message_of_a_retry_finds_a_paused_execution_and_goes(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    attempts: list[int] = []

    @worchflow.flow("soon", retries=1, retry_delay=0.2)
    def soon(event: Event[Any]) -> str:
        attempts.append(event.attempt)
        if event.attempt == 1:
            raise ConnectionError
        return "done"

    handle = soon.send()
    deliver(celery_app, most=1)
    handle.pause()
    deliver(celery_app)
    before = list(attempts)
    handle.resume()
    deliver(celery_app)

    assert before == [1]
    assert handle.result(1) == "done"


@pytest.mark.parametrize("status", [QUEUED, RETRYING, WAITING])
def test_a_paused_execution_is_published_by_nobody(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, flow: Any, status: str
) -> None:
    handle = resting(flow, celery_app, status)
    with bench.broker() as broker:
        broker.delete(bench.prefix, f"{bench.prefix}.worchflow")

    handle.pause()
    bring_forward(bench, handle.id)
    dispatcher(worchflow).sweep()

    assert bench.messages() == 0


@pytest.mark.parametrize("status", [QUEUED, RETRYING, WAITING])
def test_a_resumed_execution_whose_time_has_come_is_published_at_once(
    bench: Bench, celery_app: Celery, flow: Any, status: str
) -> None:
    handle = resting(flow, celery_app, status)
    handle.pause()
    bring_forward(bench, handle.id)
    deliver(celery_app)

    resumed = handle.resume()
    deliver(celery_app)

    assert not resumed.paused
    assert handle.result(1) == "done"
    assert not handle.get().paused


def test_a_resumed_execution_whose_message_is_lost_is_found_by_the_dispatcher(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, flow: Any
) -> None:
    handle = resting(flow, celery_app, WAITING)
    handle.pause()
    handle.resume()
    with bench.broker() as broker:
        broker.delete(bench.prefix, f"{bench.prefix}.worchflow")

    bring_forward(bench, handle.id)
    dispatcher(worchflow).sweep()
    deliver(celery_app)

    assert handle.result(1) == "done"


@pytest.mark.parametrize("status", [RETRYING, WAITING])
def test_a_resumed_execution_still_waits_for_its_time(
    celery_app: Celery, flow: Any, status: str
) -> None:
    handle = resting(flow, celery_app, status)
    due = handle.get().due_at

    handle.pause()
    resumed = handle.resume()

    assert (resumed.status, resumed.due_at) == (status, due)


def test_a_delayed_start_is_kept_over_a_pause(flow: Any, celery_app: Celery) -> None:
    handle = flow.send(delay=3600)
    handle.pause()

    handle.resume()
    deliver(celery_app)

    due = handle.get().due_at
    assert handle.status == QUEUED
    assert due is not None and due - utcnow() > timedelta(minutes=50)


def test_a_call_that_comes_during_a_pause_is_kept(
    worchflow: Worchflow, celery_app: Celery, flow: Any, ran: list[int]
) -> None:
    handle = resting(flow, celery_app, WAITING)
    handle.pause()

    calling.call(worchflow.runtime, handle.id, "call")
    deliver(celery_app)
    before = list(ran)
    handle.resume()
    deliver(celery_app)

    assert before == [1]
    assert handle.result(1) == "done"


def test_pausing_and_resuming_twice_changes_nothing(flow: Any, celery_app: Celery) -> None:
    handle = flow.send()

    first, second = handle.pause(), handle.pause()
    third, fourth = handle.resume(), handle.resume()
    deliver(celery_app)

    assert first == second
    assert third == fourth
    assert handle.result(1) == "done"


def test_a_finished_execution_can_neither_be_paused_nor_resumed(
    worchflow: Worchflow, celery_app: Celery, flow: Any
) -> None:
    handle = flow.send()
    deliver(celery_app)

    with pytest.raises(InvalidTransition, match=f"{handle.id}.*completed"):
        worchflow.pause(handle.id)
    with pytest.raises(InvalidTransition, match=f"{handle.id}.*completed"):
        handle.resume()

    assert not handle.get().paused


@pytest.mark.parametrize("method", ["pause", "resume"])
def test_an_unknown_execution_is_said_to_be_unknown(worchflow: Worchflow, method: str) -> None:
    with pytest.raises(ExecutionNotFound, match="nobody"):
        getattr(worchflow, method)("nobody")
    with pytest.raises(InvalidOption, match="id is"):
        getattr(worchflow, method)({"$ne": 1})
