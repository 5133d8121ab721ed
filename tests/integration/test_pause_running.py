"""An execution is paused while a worker runs it: it stops at its next step boundary."""

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

QUEUED, RETRYING, WAITING = (
    ExecutionStatus.QUEUED,
    ExecutionStatus.RETRYING,
    ExecutionStatus.WAITING,
)


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
