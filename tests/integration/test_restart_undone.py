"""An execution whose steps were undone is started again from one of its steps."""

import threading
from typing import Any

from celery import Celery

from tests.support import deliver
from worchflow_celery import Event, ExecutionStatus, Step, Worchflow

COMPLETED, FAILED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED


def test_a_step_that_was_undone_is_not_taken_over(worchflow: Worchflow, celery_app: Celery) -> None:
    effects: list[str] = []
    mended = threading.Event()

    @worchflow.flow("transfer")
    def transfer(event: Event[Any], step: Step) -> str:
        step.run("look", effects.append, "look")
        step.run("debit", effects.append, "debit", compensate=lambda _: effects.append("undo"))
        return step.run("credit", lambda: "credited" if mended.is_set() else 1 / 0)

    old = transfer.send()
    deliver(celery_app)
    mended.set()
    new = worchflow.restart(old.id, "credit")
    deliver(celery_app)

    assert new.result(1) == "credited"
    assert effects == ["look", "debit", "undo", "debit"]


def test_a_step_that_was_undone_and_ran_again_is_taken_over(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    effects: list[str] = []
    mended = threading.Event()

    @worchflow.flow("transfer")
    def transfer(event: Event[Any], step: Step) -> str:
        step.run("debit", effects.append, "debit", compensate=lambda _: effects.append("undo"))
        return step.run("credit", lambda: "credited" if mended.is_set() else 1 / 0)

    old = transfer.send()
    deliver(celery_app)
    mended.set()
    worchflow.retry(old.id)
    deliver(celery_app)
    new = worchflow.restart(old.id, "credit")
    deliver(celery_app)

    assert new.result(1) == "credited"
    assert effects == ["debit", "undo", "debit"]
    assert [one.key for one in worchflow.steps(new.id)] == ["debit", "credit"]
