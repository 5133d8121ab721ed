"""Tasks of steps that are lost, answered twice, or sent by a flow that died over it."""

import json
from typing import Any

import pytest
from celery import Celery

from tests.integration.applied import define_add, started
from tests.support import Bench, bring_forward, deliver, die, dispatcher, eventually, revive
from worchflow_celery import ExecutionStatus, Worchflow
from worchflow_celery.errors import ExecutionFailed, StepTimeout


@pytest.fixture
def add(celery_app: Celery) -> Any:
    return define_add(celery_app)


def test_a_task_that_celery_loses_is_a_step_timeout(
    worchflow: Worchflow, celery_app: Celery, bench: Bench, add: Any
) -> None:
    handle = started(worchflow, add.s(1, 1).set(queue=f"{celery_app.main}.lost"), timeout=0.2)
    deliver(celery_app)
    assert handle.status == ExecutionStatus.WAITING

    eventually(lambda: dispatcher(worchflow).sweep() and deliver(celery_app))

    with pytest.raises(ExecutionFailed, match=StepTimeout.__name__):
        handle.result(1)


def test_a_task_that_celery_loses_is_sent_again_by_the_retries_of_its_step(
    worchflow: Worchflow, celery_app: Celery, bench: Bench, add: Any
) -> None:
    lossy = f"{bench.prefix}.lossy"
    handle = started(worchflow, add.s(1, 1).set(queue=lossy), timeout=0.2, retries=1)
    deliver(celery_app)
    bench.broker().delete(lossy)

    eventually(lambda: dispatcher(worchflow).sweep() and deliver(celery_app))
    deliver(celery_app, lossy)
    deliver(celery_app)

    assert handle.result(1) == 2
    assert [one.attempt for one in worchflow.steps(handle.id)] == [2]


def test_of_an_answer_that_comes_again_and_again_the_first_counts(
    worchflow: Worchflow, celery_app: Celery, bench: Bench
) -> None:
    handle = started(worchflow, celery_app.signature("elsewhere", queue=f"{bench.prefix}.else"))
    deliver(celery_app)
    answer = {"execution_id": handle.id, "name": "\ttask:1:0"}

    for result in (4, 5, 6):
        celery_app.tasks["worchflow.answer"].apply((result,), answer)
    deliver(celery_app)

    assert handle.result(1) == 4
    assert len(worchflow.steps(handle.id)) == 1


def test_a_flow_that_dies_before_it_sends_its_task_sends_it_later(
    worchflow: Worchflow, celery_app: Celery, add: Any
) -> None:
    lives: list[int] = []
    record = worchflow.runtime.store.steps.insert

    def dying(execution_id: str, checkpoint: Any) -> Any:
        found = record(execution_id, checkpoint)
        if checkpoint.status == "waiting" and not lives:
            lives.append(1)
            die()
        return found

    worchflow.runtime.store.steps.insert = dying  # type: ignore[method-assign]
    handle = started(worchflow, add.s(3, 3))
    deliver(celery_app)

    revive(worchflow, handle.id)
    deliver(celery_app)

    assert handle.result(1) == 6


def test_an_execution_that_wakes_too_early_sends_no_second_task(
    worchflow: Worchflow, celery_app: Celery, bench: Bench
) -> None:
    handle = started(worchflow, celery_app.signature("elsewhere", queue=f"{bench.prefix}.else"))
    deliver(celery_app)
    bring_forward(bench, handle.id)

    dispatcher(worchflow).sweep()
    deliver(celery_app)

    assert bench.broker().llen(f"{bench.prefix}.else") == 1
    assert handle.status == ExecutionStatus.WAITING


def test_a_task_that_is_sent_again_after_a_crash_is_the_same_task(
    worchflow: Worchflow, celery_app: Celery, bench: Bench
) -> None:
    signals, lives = worchflow.runtime.store.signals, []
    look = signals.all

    def dying(*given: Any) -> Any:
        lives.append(1)
        return die() if len(lives) == 1 else look(*given)

    signals.all = dying  # type: ignore[method-assign]
    elsewhere = celery_app.signature("elsewhere", queue=f"{bench.prefix}.else")
    handle = started(worchflow, elsewhere)
    deliver(celery_app)

    revive(worchflow, handle.id)
    deliver(celery_app)

    messages = bench.broker().lrange(f"{bench.prefix}.else", 0, -1)
    ids = [json.loads(message)["headers"]["id"] for message in messages]
    assert len(ids) == 2
    assert len(set(ids)) == 1
