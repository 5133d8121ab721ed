"""What it costs that an execution can be undone, and what it costs to undo it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from celery import Celery

from tests.integration.commands import Commands
from tests.support import Bench, deliver
from worchflow_celery import Event, Step, Worchflow

Watching = Callable[[], Any]
CLAIM, CHECKPOINT, SETTLE = "findAndModify executions", "insert steps", "update executions"
READ = "find steps"


@pytest.fixture
def mongo(listener: Commands, bench: Bench, worchflow: Worchflow) -> Watching:
    """A block, and the commands that MongoDB got in it; all connections are open."""
    worchflow.ping()
    return partial(listener.watching, bench.prefix)


def test_a_step_that_can_be_undone_costs_what_any_step_costs(
    worchflow: Worchflow, celery_app: Celery, mongo: Watching
) -> None:
    @worchflow.flow("undoable", on_failure=lambda event, error, step: None)
    def undoable(event: Event[Any], step: Step) -> int:
        return step.run("step", abs, 1, compensate=print)

    undoable.send()

    with mongo() as stored:
        deliver(celery_app)

    assert stored == [CLAIM, CHECKPOINT, SETTLE]


@pytest.mark.parametrize("steps", [0, 3])
def test_a_failure_with_nothing_to_undo_costs_what_a_success_costs(
    worchflow: Worchflow, celery_app: Celery, mongo: Watching, steps: int
) -> None:
    @worchflow.flow("failing")
    def failing(event: Event[Any], step: Step) -> None:
        for number in range(steps):
            step.run("step", abs, number)
        raise ConnectionError

    failing.send()

    with mongo() as stored:
        deliver(celery_app)

    assert stored == [CLAIM, *[CHECKPOINT] * steps, SETTLE]


def test_to_undo_is_one_write_one_read_and_one_insert_per_compensation(
    worchflow: Worchflow, celery_app: Celery, mongo: Watching
) -> None:
    @worchflow.flow("undone")
    def undone(event: Event[Any], step: Step) -> None:
        for number in range(3):
            step.run("step", abs, number, compensate=lambda _: None)
        raise ConnectionError

    undone.send()

    with mongo() as stored:
        deliver(celery_app)

    decided = "update executions"
    assert stored == [CLAIM, *[CHECKPOINT] * 3, decided, READ, *[CHECKPOINT] * 3, SETTLE]
