"""A paused execution stays where it is: nobody claims it, publishes it or forgets it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, bring_forward, deliver, die, dispatcher, eventually, revive
from worchflow_celery import AsyncStep, Event, ExecutionHandle, ExecutionStatus, Step, Worchflow
from worchflow_celery import dispatch as dispatching
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

    dispatching.call(worchflow.runtime, handle.id, "call")
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


# -- while it runs -----------------------------------------------------------------------------


class Held:
    """A flow of two steps, the first of which is held open."""

    def __init__(self) -> None:
        self.inside, self.leave = threading.Event(), threading.Event()
        self.ran: list[str] = []

    def first(self) -> None:
        self.ran.append("first")
        self.inside.set()
        self.leave.wait(10)

    def sync_flow(self, event: Event[Any], step: Step) -> int:
        step.run("first", self.first)
        step.run("second", self.ran.append, "second")
        return event.attempt

    async def async_flow(self, event: Event[Any], step: AsyncStep) -> int:
        await step.run("first", lambda: asyncio.to_thread(self.first))
        await step.run("second", self.ran.append, "second")
        return event.attempt

    def flow_without_another_step(self, event: Event[Any], step: Step) -> int:
        self.first()
        return event.attempt


@contextmanager
def running(
    worchflow: Worchflow, app: Celery, held: Held, handler: Callable[..., Any]
) -> Iterator[ExecutionHandle[Any]]:
    """An execution inside of its first step; with the block, its worker's turn ends."""
    handle = worchflow.flow("held")(handler).send()
    worker = threading.Thread(target=deliver, args=(app,), kwargs={"most": 1})
    worker.start()
    assert held.inside.wait(10)
    try:
        yield handle
    finally:
        held.leave.set()
        worker.join(10)


def has_heard(worchflow: Worchflow) -> bool:
    leases = list(worchflow.runtime.process.keeper._leases.values())
    return bool(leases) and all(lease.asked for lease in leases)


@pytest.mark.parametrize("handler", [Held.sync_flow, Held.async_flow])
def test_a_running_execution_stops_at_its_next_step_boundary(
    worchflow: Worchflow, celery_app: Celery, handler: Any
) -> None:
    held = Held()
    with running(worchflow, celery_app, held, getattr(held, handler.__name__)) as handle:
        asked = handle.pause()
        eventually(lambda: has_heard(worchflow))
    stopped = handle.get()
    deliver(celery_app)
    before = list(held.ran)

    handle.resume()
    deliver(celery_app)

    assert (asked.status, asked.paused) == (ExecutionStatus.PROCESSING, True)
    assert (stopped.status, stopped.paused, stopped.attempt) == (QUEUED, True, 1)
    assert [one.outcome for one in stopped.attempts] == ["paused"]
    assert before == ["first"]
    assert handle.result(1) == 1
    assert held.ran == ["first", "second"]


def test_an_execution_without_another_step_ends_although_it_was_to_pause(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    held = Held()
    with running(worchflow, celery_app, held, held.flow_without_another_step) as handle:
        handle.pause()
        eventually(lambda: has_heard(worchflow))

    assert (handle.status, handle.get().paused) == (ExecutionStatus.COMPLETED, False)


def test_an_execution_that_is_resumed_before_it_stopped_goes_on_by_itself(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    held = Held()
    with running(worchflow, celery_app, held, held.sync_flow) as handle:
        handle.pause()
        eventually(lambda: has_heard(worchflow))
        handle.resume()

    eventually(lambda: dispatcher(worchflow).sweep() and deliver(celery_app))

    assert handle.result(1) == 1
    assert held.ran == ["first", "second"]


def test_a_paused_execution_whose_worker_dies_stays_paused(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    ran: list[str] = []

    @worchflow.flow("dies")
    def dies(event: Event[Any], step: Step) -> str:
        ran.append("x")
        if len(ran) == 1:
            worchflow.pause(event.id)
            die()
        return "done"

    handle = dies.send()
    deliver(celery_app)
    revive(worchflow, handle.id)
    deliver(celery_app)
    before, paused = len(ran), handle.get()
    handle.resume()
    deliver(celery_app)

    assert (before, paused.status, paused.paused) == (1, QUEUED, True)
    assert handle.result(1) == "done"


def test_a_paused_execution_that_is_due_is_out_of_the_dispatchers_sight(
    worchflow: Worchflow, celery_app: Celery, bench: Bench
) -> None:
    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> str:
        return "done"

    handle = flow.send()
    handle.pause()
    bring_forward(bench, handle.id)

    dispatcher(worchflow).sweep()

    due_at = handle.get().due_at
    assert due_at is not None
    assert due_at > handle.get().created_at + timedelta(hours=23)
    handle.resume()
    deliver(celery_app)
    assert handle.result(1) == "done"


def test_an_execution_that_is_being_undone_is_paused_between_two_compensations(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    undone: list[str] = []

    @worchflow.flow("saga")
    def saga(event: Event[Any], step: Step) -> None:
        def undo(name: str) -> None:
            undone.append(name)
            if name == "second":
                worchflow.pause(event.id)
                eventually(lambda: has_heard(worchflow))

        step.run("first", str, "first", compensate=undo)
        step.run("second", str, "second", compensate=undo)
        raise ConnectionError

    handle = saga.send()
    deliver(celery_app)
    paused, before = handle.get(), list(undone)
    handle.resume()
    deliver(celery_app)

    execution = handle.get()
    assert (paused.status, paused.paused, before) == (QUEUED, True, ["second"])
    assert (execution.status, execution.compensated) == (ExecutionStatus.FAILED, True)
    assert undone == ["second", "first"]
    assert execution.error is not None and execution.error.type == "ConnectionError"
