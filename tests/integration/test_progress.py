"""`step.progress`: seen soon, cheap, and not lost at the end."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from celery import Celery
from pymongo import monitoring

from tests.support import Bench, deliver, die, eventually, revive
from worchflow_celery import AsyncStep, Event, Execution, ExecutionStatus, Step, Worchflow
from worchflow_celery.clock import elapsed


def told(execution: Execution) -> tuple[float, str | None] | None:
    progress = execution.progress
    return (progress.fraction, progress.message) if progress else None


def in_a_step(event: Event[Any], step: Step) -> None:
    step.run("work", lambda: step.progress(0.5, "half"))


def outside_of_steps(event: Event[Any], step: Step) -> None:
    step.progress(0.1)
    step.progress(0.5, "half")


def in_a_map(event: Event[Any], step: Step) -> None:
    step.map("work", lambda n: step.progress(0.5, "half"), range(3))


def in_a_thread(event: Event[Any], step: Step) -> None:
    thread = threading.Thread(target=step.progress, args=(0.5, "half"))
    thread.start()
    thread.join()


async def in_an_async_flow(event: Event[Any], step: AsyncStep) -> None:
    step.progress(0.1)
    await step.run("work", lambda: step.progress(0.5, "half"))


async def awaited(event: Event[Any], step: AsyncStep) -> None:
    await step.progress(0.5, "half")


def then_failed(event: Event[Any], step: Step) -> None:
    step.progress(0.5, "half")
    raise ValueError


@pytest.mark.parametrize("limit", [None, 30])
@pytest.mark.parametrize(
    "flow",
    [
        in_a_step,
        outside_of_steps,
        in_a_map,
        in_a_thread,
        in_an_async_flow,
        awaited,
        then_failed,
    ],
)
def test_what_was_told_last_is_there_when_the_execution_has_ended(
    run: Callable[..., Execution], flow: Callable[..., Any], limit: float | None
) -> None:
    execution = run(flow, timeout=limit)

    assert told(execution) == (0.5, "half")
    assert execution.progress is not None and execution.started_at and execution.finished_at
    about = timedelta(seconds=1)  # the process knows MongoDB's clock by one look at it
    assert execution.started_at - about < execution.progress.at < execution.finished_at + about


def test_an_execution_that_tells_nothing_has_none(run: Callable[..., Execution]) -> None:
    assert run(lambda event: 1).progress is None


@contextmanager
def held_open(worchflow: Worchflow, app: Celery, begun: Callable[[Step], object]) -> Iterator[Any]:
    """An execution that goes on for as long as the block."""
    leave = threading.Event()

    @worchflow.flow("held")
    def held(event: Event[Any], step: Step) -> None:
        begun(step)
        leave.wait(10)

    handle = held.send()
    worker = threading.Thread(target=deliver, args=(app,), kwargs={"most": 1})
    worker.start()
    try:
        yield handle
    finally:
        leave.set()
        worker.join(10)


def test_it_is_seen_within_two_seconds_while_the_execution_runs(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    def begun(step: Step) -> None:
        step.progress(0.25)
        step.progress(1, "nearly")

    with held_open(worchflow, celery_app, begun) as handle:
        eventually(lambda: told(handle.get()) == (1.0, "nearly"), within=2)
        running = handle.status

    assert running == ExecutionStatus.PROCESSING


class Writes(monitoring.CommandListener):
    """Counts the updates that hold a progress."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name == "update" and "'progress'" in str(event.command["updates"]):
            self.seen.append(event.command)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


def test_at_most_one_write_a_second_and_none_of_them_is_waited_for(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    writes = Writes()
    monitoring.register(writes)

    def begun(step: Step) -> None:
        ends = elapsed() + 0.5
        while elapsed() < ends:
            step.progress(0.5)
        step.progress(0.75)

    with held_open(worchflow, celery_app, begun) as handle:
        eventually(lambda: told(handle.get()) == (0.75, None), within=3)
    running = [one for one in writes.seen if "'completed'" not in str(one)]

    assert 1 <= len(running) <= 3
    assert {one["writeConcern"]["w"] for one in running} == {1}


def test_what_a_lost_attempt_tells_is_not_written(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    def begun(step: Step) -> None:
        change = {"$inc": {"epoch": 1}}
        bench.collection("executions").update_one({"_id": step.execution_id}, change)
        step.progress(0.5)

    with held_open(worchflow, celery_app, begun) as handle:
        reporter = worchflow.runtime.process.reporter
        eventually(reporter._told.empty)

    assert handle.get().progress is None


def test_progress_stays_over_a_crash_and_a_retry(
    run: Callable[..., Execution], worchflow: Worchflow, celery_app: Celery
) -> None:
    def flow(event: Event[Any], step: Step) -> None:
        if event.attempt == 1:
            step.progress(0.5)
            raise ConnectionError
        if not worchflow.get(event.id).crashes:
            die()

    execution = run(flow, retries=1)
    revive(worchflow, execution.id)
    deliver(celery_app)

    assert told(worchflow.get(execution.id)) == (0.5, None)


@pytest.mark.parametrize(("fraction", "kept"), [(0, 0.0), (1, 1.0), (0.0, 0.0), (1e-9, 1e-9)])
def test_a_fraction_is_a_number_from_0_to_1(
    run: Callable[..., Execution], fraction: float, kept: float
) -> None:
    execution = run(lambda event, step: step.progress(fraction))

    assert told(execution) == (kept, None)


@pytest.mark.parametrize("message", ["$status", "{'$set': 1}", "", "ü\x00\ud800", "x" * 20_000])
def test_a_message_is_any_text_and_cut_to_8_kb(run: Callable[..., Execution], message: str) -> None:
    execution = run(lambda event, step: step.progress(0.5, message))

    assert execution.status == ExecutionStatus.COMPLETED
    assert execution.progress is not None and execution.progress.message is not None
    assert len(execution.progress.message) <= 8192
    assert execution.progress.message[:2] == message[:2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        *[
            ((value,), "fraction is")
            for value in (
                *(-0.1, 1.1, 50, float("nan"), float("inf"), True, "0.5", None),
                *(Decimal("0.5"), 0.5j, [], 10**400),
            )
        ],
        ((0.5, 5), "message is 5"),
        ((0.5, b"half"), "message is"),
    ],
)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_cannot_be_is_refused(
    run: Callable[..., Execution], arguments: tuple[Any, ...], words: str, kind: str
) -> None:
    async def flow(event: Event[Any], step: AsyncStep) -> None:
        step.progress(*arguments)

    handler = flow if kind == "async" else lambda event, step: step.progress(*arguments)
    execution = run(handler)

    assert execution.error is not None and execution.error.type == "InvalidOption"
    assert words in execution.error.message


def test_what_is_told_after_the_flow_s_end_changes_nothing(
    run: Callable[..., Execution], worchflow: Worchflow
) -> None:
    kept: list[Step] = []

    def flow(event: Event[Any], step: Step) -> None:
        kept.append(step)
        step.progress(1)

    execution = run(flow)

    kept[0].progress(0.5)

    assert told(worchflow.get(execution.id)) == (1.0, None)
    assert worchflow.runtime.process.reporter._newest == {}
