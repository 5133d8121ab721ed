"""A worker at work: it keeps its lease, and stops when it has lost it."""

import os
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, deliver, die, eventually, revive
from worchflow_celery import AsyncStep, Event, ExecutionStatus, Step, Worchflow
from worchflow_celery.clock import utcnow
from worchflow_celery.runtime import host
from worchflow_celery.store.records import Checkpoint, Owner


@pytest.fixture
def worchflow(bench: Bench, celery_app: Celery) -> Any:
    """With the shortest lease there is: renewed every quarter of a second."""
    bound = bench.bind(celery_app, lease_ttl=1)
    yield bound
    bound.close()


def steal(worchflow: Worchflow, execution_id: str) -> None:
    """Another worker takes the execution, as if this one had been dead to the world."""
    store = worchflow.runtime.store
    assert store.sweep.release_orphan(execution_id, host(), os.getppid(), living=[])
    thief = Owner("thief@test", "elsewhere", 1, 1)
    assert store.attempts.claim(execution_id, "flow", "token of the thief", thief)


def test_a_lease_is_renewed_while_a_step_runs(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    def beats() -> int:
        found = bench.collection("executions").find_one()
        return int(found["beat"]) if found else 0

    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> str:
        step.run("long", lambda: eventually(lambda: beats() > 4) and None)
        return "done"

    handle = flow.send()
    deliver(celery_app)

    assert handle.result(1) == "done"
    assert handle.get().crashes == 0


def test_a_worker_that_lost_its_lease_begins_no_step_and_records_nothing(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> str:
        step.run("first", ran.append, "first")
        steal(worchflow, event.id)
        eventually(lambda: "was taken over" in caplog.text)
        ran.append("taken over")
        try:
            step.run("second", ran.append, "second")
        except Exception:
            ran.append("swallowed")
        return "done"

    handle = flow.send()
    deliver(celery_app)

    execution = handle.get()
    assert ran == ["first", "taken over"]
    assert (execution.status, execution.worker) == (ExecutionStatus.PROCESSING, "thief@test")
    assert [one.key for one in worchflow.steps(handle.id)] == ["first"]


def test_a_handler_that_swallows_everything_meets_its_loss_again(
    worchflow: Worchflow, celery_app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> str:
        steal(worchflow, event.id)
        eventually(lambda: "was taken over" in caplog.text)
        for name in ("first", "second"):
            try:
                step.run(name, ran.append, name)
            except BaseException as error:
                ran.append(type(error).__name__)
        return "done"

    handle = flow.send()
    deliver(celery_app)

    assert ran == ["LeaseLost", "LeaseLost"]
    assert handle.status == ExecutionStatus.PROCESSING


def test_a_result_of_a_step_is_not_recorded_after_the_lease_is_lost(
    worchflow: Worchflow, celery_app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> str:
        def lose() -> str:
            steal(worchflow, event.id)
            eventually(lambda: "was taken over" in caplog.text)
            ran.append("taken over")
            return "too late"

        return step.run("step", lose)

    handle = flow.send()
    deliver(celery_app)

    assert ran == ["taken over"]
    assert worchflow.steps(handle.id) == []


def test_an_async_flow_that_lost_its_lease_stops_too(
    worchflow: Worchflow, celery_app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    @worchflow.flow("flow")
    async def flow(event: Event[Any], step: AsyncStep) -> str:
        steal(worchflow, event.id)
        eventually(lambda: "was taken over" in caplog.text)
        ran.append("taken over")
        await step.run("step", ran.append, "step")
        return "done"

    handle = flow.send()
    deliver(celery_app)

    assert ran == ["taken over"]
    assert handle.status == ExecutionStatus.PROCESSING


def test_a_checkpoint_that_an_earlier_owner_wrote_late_is_adopted(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    def late(execution_id: str) -> None:
        now = utcnow()
        theirs = Checkpoint(
            key="step",
            name="step",
            seq=1,
            status="completed",
            result='"theirs"',
            attempt=1,
            epoch=1,
            started_at=now,
            finished_at=now,
        )
        worchflow.runtime.store.steps.insert(execution_id, theirs)

    ran: list[int] = []

    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> str:
        def mine() -> str:
            ran.append(1)
            if len(ran) == 1:
                die()
            late(event.id)
            return "mine"

        return step.run("step", mine)

    handle = flow.send()
    deliver(celery_app)
    revive(worchflow, handle.id)
    deliver(celery_app)

    assert handle.result(1) == "theirs"
    assert worchflow.steps(handle.id)[0].result == "theirs"


def crash(
    worchflow: Worchflow, celery_app: Celery, handler: Callable[..., Any], **options: Any
) -> tuple[str, int]:
    """Let an execution crash until it is given up or comes through; its id and the crashes."""
    handle = worchflow.flow("flow", **options)(handler).send()
    deliver(celery_app)
    crashes = 0
    while handle.status == ExecutionStatus.PROCESSING:
        crashes += 1
        revive(worchflow, handle.id)
        deliver(celery_app)
    return handle.id, crashes


@pytest.mark.parametrize("retries", [0, 2])
def test_an_execution_that_keeps_killing_its_worker_fails_and_names_the_step(
    worchflow: Worchflow, celery_app: Celery, retries: int
) -> None:
    def flow(event: Event[Any], step: Step) -> None:
        step.run("harmless", int)
        step.run("deadly", die)

    id, crashes = crash(worchflow, celery_app, flow, retries=retries)

    execution = worchflow.get(id)
    assert crashes == execution.crashes == retries + 4
    assert (execution.status, execution.attempt) == (ExecutionStatus.FAILED, 1)
    assert execution.error is not None and execution.error.type == "WorkerLost"
    assert "'deadly'" in execution.error.message


def test_each_finished_step_renews_the_crash_budget(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    runs: dict[int, int] = {}

    def flow(event: Event[Any], step: Step) -> str:
        def survive_the_third_time(number: int) -> None:
            runs[number] = runs.get(number, 0) + 1
            if runs[number] < 3:
                die()

        for number in range(4):
            step.run("step", survive_the_third_time, number)
        return "done"

    id, crashes = crash(worchflow, celery_app, flow)

    assert worchflow.get(id).result == "done"
    assert crashes == 8


def test_a_manual_retry_renews_the_crash_budget(worchflow: Worchflow, celery_app: Celery) -> None:
    died: list[int] = []

    def flow(event: Event[Any]) -> str:
        died.append(1)
        return "done" if len(died) > 5 else die()

    id, _ = crash(worchflow, celery_app, flow)
    assert worchflow.get(id).status == ExecutionStatus.FAILED
    worchflow.retry(id)
    deliver(celery_app)
    revive(worchflow, id)
    deliver(celery_app)

    assert worchflow.get(id).result == "done"
