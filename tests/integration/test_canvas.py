"""Flows in Celery's canvas: chains, groups, chords and links go on after them, whatever happens."""

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, chain, chord, group

from tests.support import Bench, deliver, die, dispatcher, forget_results, revive, take
from worchflow_celery import Event, ExecutionStatus, Step, Worchflow
from worchflow_celery.attempt import attempt
from worchflow_celery.clock import EPOCH
from worchflow_celery.publisher import express_queue

# Celery's own result backend calls Redis in a way that redis-py deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated")


@pytest.fixture
def celery_app(bench: Bench) -> Iterator[Celery]:
    app = bench.celery()
    app.conf.update(result_backend=bench.redis_url, task_ignore_result=False)
    yield app
    forget_results(app)
    app.close()


@pytest.fixture
def notes() -> list[Any]:
    """What the ordinary tasks were called with, and by which task id."""
    return []


@pytest.fixture(autouse=True)
def tasks(celery_app: Celery, worchflow: Worchflow, notes: list[Any]) -> None:
    @celery_app.task(name="add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    @celery_app.task(name="total", shared=False)
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @celery_app.task(name="note", bind=True, shared=False)
    def note(self: Any, value: Any) -> Any:
        notes.append((self.request.id, value))
        return value

    @celery_app.task(name="note_error", shared=False)
    def note_error(request: Any, error: Exception, traceback: Any) -> None:
        notes.append((request.id, type(error).__name__, str(error)))

    @worchflow.flow("double")
    def double(event: Event[int]) -> int:
        return 2 * event.data

    @worchflow.flow("retried", retries=1, retry_delay=0)
    def retried(event: Event[int]) -> int:
        if event.attempt == 1:
            raise ConnectionError
        return 2 * event.data

    @worchflow.flow("crashes")
    def crashes(event: Event[int], step: Step) -> int:
        return step.run("once", die if not worchflow.get(event.id).crashes else lambda: 10)

    @worchflow.flow("fails")
    def fails(event: Event[int]) -> None:
        raise ValueError("no")


def test_a_flow_runs_between_two_tasks_of_a_chain(celery_app: Celery) -> None:
    tasks = celery_app.tasks
    result = chain(tasks["add"].s(2, 3), tasks["double"].s(), tasks["add"].s(1)).apply_async()

    deliver(celery_app)

    assert result.result == 11


def test_flows_run_in_a_group(celery_app: Celery, worchflow: Worchflow) -> None:
    result = group(celery_app.tasks["double"].s(n) for n in range(4)).apply_async()

    deliver(celery_app)

    assert [one.result for one in result] == [0, 2, 4, 6]
    assert {one.id for one in result.results} == {one.id for one in worchflow.find()}


def test_flows_run_in_a_chord_s_header_and_body(celery_app: Celery) -> None:
    tasks = celery_app.tasks
    header = [tasks["double"].s(1), tasks["add"].s(2, 3), tasks["retried"].s(4)]
    result = chord(header)(chain(tasks["total"].s(), tasks["double"].s()))

    deliver(celery_app)

    assert result.result == 2 * (2 + 5 + 8)


def test_a_failed_flow_fails_its_chord(celery_app: Celery) -> None:
    tasks = celery_app.tasks
    result = chord([tasks["double"].s(1), tasks["fails"].s(2)])(tasks["total"].s())

    deliver(celery_app)

    assert result.state == "FAILURE"


def test_links_are_called_with_the_result(celery_app: Celery, notes: list[Any]) -> None:
    tasks = celery_app.tasks
    links = [tasks["note"].s(), tasks["double"].s() | tasks["note"].s()]
    tasks["double"].apply_async((4,), link=links)

    deliver(celery_app)

    assert sorted(value for _, value in notes) == [8, 16]


def test_error_links_are_called_with_the_error(celery_app: Celery, notes: list[Any]) -> None:
    result = celery_app.tasks["fails"].apply_async(
        (4,), link_error=celery_app.tasks["note_error"].s()
    )

    deliver(celery_app)

    assert notes == [(result.id, "ValueError", "no")]


def test_an_error_link_of_the_old_kind_is_called_with_the_id(
    celery_app: Celery, notes: list[Any]
) -> None:
    result = celery_app.tasks["fails"].apply_async((4,), link_error=celery_app.tasks["note"].s())

    deliver(celery_app)

    assert [value for _, value in notes] == [result.id]


def go_on(celery_app: Celery, worchflow: Worchflow, id: str) -> None:
    """Run what comes, and bring the execution back when its attempt has died."""
    deliver(celery_app)
    if worchflow.get(id).status == ExecutionStatus.PROCESSING:
        revive(worchflow, id)
        deliver(celery_app)


@pytest.mark.parametrize("flow", ["double", "retried", "crashes"])
def test_what_follows_is_continued_after_a_retry_and_after_a_crash(
    celery_app: Celery, worchflow: Worchflow, notes: list[Any], flow: str
) -> None:
    tasks = celery_app.tasks
    chained = chain(tasks[flow].s(5), tasks["note"].s()).apply_async()
    go_on(celery_app, worchflow, chained.parent.id)
    linked = tasks[flow].apply_async((5,), link=tasks["note"].s())
    go_on(celery_app, worchflow, linked.id)
    joined = chord([tasks[flow].s(5), tasks["add"].s(2, 3)])(tasks["total"].s())
    go_on(celery_app, worchflow, joined.parent.results[0].id)

    assert chained.result == 10
    assert [value for _, value in notes] == [10, 10]
    assert joined.result == 15


class Interrupted:
    """A flow that has settled when its worker dies: Celery has not gone on after it."""

    def __init__(self, bench: Bench, worchflow: Worchflow) -> None:
        self.bench, self.worchflow = bench, worchflow
        self.executions = bench.collection("executions")

    def settle(self, execution_id: str) -> None:
        flow = self.worchflow.flows[self.worchflow.get(execution_id).flow]
        assert attempt(self.worchflow.runtime, flow.definition, execution_id) is not None

    def lose_messages_and_look_later(self) -> None:
        self.bench.broker().delete(self.bench.prefix, express_queue(self.bench.prefix))
        late = {"follow_up_at": {"$exists": True}}
        self.executions.update_many(late, {"$set": {"follow_up_at": EPOCH}})
        dispatcher(self.worchflow).sweep()

    def left(self) -> int:
        """How many executions Celery has yet to go on after."""
        return self.executions.count_documents({"follow_up_at": {"$exists": True}})


@pytest.fixture
def interrupted(bench: Bench, worchflow: Worchflow) -> Interrupted:
    return Interrupted(bench, worchflow)


@pytest.mark.parametrize("lost", [False, True])
def test_a_chain_goes_on_after_a_crash_between_the_end_and_its_dispatch(
    celery_app: Celery, interrupted: Interrupted, lost: bool
) -> None:
    tasks = celery_app.tasks
    result = chain(tasks["double"].s(5), tasks["add"].s(1)).apply_async()
    interrupted.settle(result.parent.id)
    left = interrupted.left()

    if lost:
        interrupted.lose_messages_and_look_later()
    deliver(celery_app)

    assert result.result == 11
    assert (left, interrupted.left()) == (1, 0)


def test_a_chord_goes_on_after_a_crash_between_the_end_and_its_dispatch(
    celery_app: Celery, interrupted: Interrupted
) -> None:
    tasks = celery_app.tasks
    result = chord([tasks["double"].s(5), tasks["double"].s(6)])(tasks["total"].s())
    for member in result.parent.results:
        interrupted.settle(member.id)

    interrupted.lose_messages_and_look_later()
    deliver(celery_app)

    assert result.result == 22


def test_error_links_go_on_after_a_crash_between_the_end_and_their_dispatch(
    celery_app: Celery, interrupted: Interrupted, notes: list[Any]
) -> None:
    tasks = celery_app.tasks
    result = tasks["fails"].apply_async((5,), link_error=tasks["note_error"].s())
    interrupted.settle(result.id)

    deliver(celery_app)

    assert notes == [(result.id, "ExecutionFailed", notes[0][2])]
    assert "ValueError: no" in notes[0][2]


def test_a_callback_that_is_sent_twice_has_one_id(
    celery_app: Celery, worchflow: Worchflow, interrupted: Interrupted, notes: list[Any]
) -> None:
    tasks = celery_app.tasks
    result = tasks["double"].apply_async((5,), link=[tasks["note"].s(), tasks["double"].s()])
    copy = take(celery_app)
    interrupted.settle(result.id)
    original = interrupted.executions.find_one({"_id": result.id})
    assert copy is not None and original is not None

    for _ in range(2):  # the worker dies again before it can say that it has gone on
        interrupted.executions.replace_one({"_id": result.id}, original)
        copy.execute()
    deliver(celery_app)

    assert len(notes) == 2 and len({id for id, _ in notes}) == 1
    assert len(worchflow.find(flow="double")) == 2


def test_after_celery_has_gone_on_a_late_message_repeats_nothing(
    celery_app: Celery, notes: list[Any]
) -> None:
    tasks = celery_app.tasks
    tasks["double"].apply_async((5,), link=tasks["note"].s())
    copy = take(celery_app)
    assert copy is not None
    copy.execute()
    deliver(celery_app)

    copy.execute()
    deliver(celery_app)

    assert len(notes) == 1


def test_a_chain_s_flow_that_is_sent_twice_with_two_results_counts_the_first(
    celery_app: Celery, worchflow: Worchflow
) -> None:
    answers = iter([1, 2])

    @celery_app.task(name="unsteady", shared=False)
    def unsteady() -> int:
        return next(answers)

    tasks = celery_app.tasks
    result = chain(tasks["unsteady"].s(), tasks["double"].s()).apply_async()
    copy = take(celery_app)
    assert copy is not None

    copy.execute()
    copy.execute()
    deliver(celery_app)

    assert result.result == 2
    assert len(worchflow.find()) == 1
