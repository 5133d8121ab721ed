"""What is undone when an execution fails or is cancelled: newest first, each as a step."""

from typing import Any

import pytest
from celery import Celery

from tests.integration.sagas import FORWARD, UNDONE, Bank, define_saga, fail, kinds, ran
from tests.support import Bench, bring_forward, deliver, die, revive
from worchflow_celery import AsyncStep, Event, Step, Worchflow, signals
from worchflow_celery.errors import InvalidTransition


@pytest.fixture(autouse=True)
def bank(worchflow: Worchflow) -> Bank:
    bank = Bank()
    define_saga(worchflow, bank)
    return bank


def test_a_failed_execution_is_undone_newest_first(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    execution = ran(worchflow, celery_app)

    assert bank.log == [*FORWARD, *UNDONE]
    assert (execution.status, execution.compensated) == ("failed", True)
    assert execution.error is not None
    assert (execution.error.type, execution.error.message) == ("ConnectionError", "broken")


def test_an_execution_that_completes_is_not_undone(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    execution = ran(worchflow, celery_app, "complete")

    assert bank.log == FORWARD
    assert (execution.status, execution.compensated) == ("completed", None)


def test_a_cancelled_execution_is_undone_by_a_worker(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    waiting = ran(worchflow, celery_app, "wait")

    asked = worchflow.cancel(waiting.id)
    deliver(celery_app)

    execution = worchflow.get(waiting.id)
    assert asked.status == "queued"
    assert bank.log == [*FORWARD[:-1], *UNDONE]
    assert (execution.status, execution.compensated) == ("cancelled", True)
    assert execution.error is not None
    assert execution.error.type == "Cancelled"


def test_a_running_execution_that_is_cancelled_is_undone_where_it_runs(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    ids: list[str] = []
    bank.broken["c"] = lambda: worchflow.runtime.store.endings.ask(ids[0], "cancel")
    ids.append(worchflow.send("saga", "complete").id)
    deliver(celery_app)

    assert bank.log == [*FORWARD, *UNDONE]
    assert worchflow.get(ids[0]).status == "cancelled"


def test_each_compensation_is_a_step_of_its_own(worchflow: Worchflow, celery_app: Celery) -> None:
    execution = ran(worchflow, celery_app)

    assert kinds(worchflow, execution.id) == {
        **dict.fromkeys(["a", "plain", "b", "c"], ("run", "completed")),
        "last": ("run", "failed"),
        **dict.fromkeys([f"compensate:{key}" for key in "cba"], ("compensate", "completed")),
    }


def test_a_compensation_that_fails_is_recorded_and_the_others_still_run(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    bank.broken["undo b"] = lambda: {}["nothing"]

    execution = ran(worchflow, celery_app)

    assert bank.log == [*FORWARD, "handler", "undo c", "undo a"]
    assert (execution.status, execution.compensated) == ("failed", False)
    assert execution.error is not None
    assert execution.error.type == "ConnectionError"
    assert kinds(worchflow, execution.id)["compensate:b"] == ("compensate", "failed")


def test_the_handler_is_left_where_all_that_is_to_be_undone_was_met(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    passed: list[str] = []

    @worchflow.flow("short")
    def short(event: Event[Any], step: Step) -> None:
        step.run("a", lambda: None, compensate=lambda _: None)
        passed.append("beyond")
        raise ConnectionError

    execution = ran(worchflow, celery_app, flow="short")

    assert passed == ["beyond"]
    assert execution.compensated is True


def test_what_the_handler_swallows_undoes_all_the_same(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    @worchflow.flow("stubborn")
    def stubborn(event: Event[Any], step: Step) -> None:
        for name in "ab":
            try:
                step.run(name, bank.do, name, compensate=bank.undo)
            except BaseException as error:
                bank.log.append(type(error).__name__)
        raise ConnectionError

    execution = ran(worchflow, celery_app, flow="stubborn")

    assert bank.log == ["a", "b", "Unwinding", "undo b", "undo a"]
    assert execution.compensated is True


def test_a_step_whose_failure_was_caught_leads_the_same_way_when_it_is_undone(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    @worchflow.flow("detour")
    def detour(event: Event[Any], step: Step) -> None:
        try:
            step.run("first choice", fail)
        except ConnectionError:
            step.run("a", bank.do, "a", compensate=bank.undo)
        step.run("last", fail)

    execution = ran(worchflow, celery_app, flow="detour")

    assert bank.log == ["a", "undo a"]
    assert execution.compensated is True


def test_what_is_not_met_again_is_recorded_as_not_undone(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    @worchflow.flow("fickle")
    def fickle(event: Event[Any], step: Step) -> None:
        bank.log.append("handler")
        if bank.log.count("handler") == 1:
            step.run("a", bank.do, "a", compensate=bank.undo)
        raise ConnectionError

    execution = ran(worchflow, celery_app, flow="fickle")

    assert execution.compensated is False
    (failed,) = [one for one in worchflow.steps(execution.id) if one.kind == "compensate"]
    assert failed.error is not None
    assert "not met again" in failed.error.message


def test_an_attempt_that_is_retried_undoes_nothing(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    @worchflow.flow("again", retries=1, retry_delay=3600)
    def again(event: Event[Any], step: Step) -> None:
        step.run("a", bank.do, "a", compensate=bank.undo)
        raise ConnectionError

    execution = ran(worchflow, celery_app, flow="again")
    first = list(bank.log)
    bring_forward(bench, execution.id)
    worchflow.cancel(execution.id)
    deliver(celery_app)

    assert first == ["a"]
    assert bank.log == ["a", "undo a"]
    assert worchflow.get(execution.id).status == "cancelled"


def test_an_async_flow_awaits_its_compensations(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    @worchflow.flow("async")
    async def flow(event: Event[Any], step: AsyncStep) -> None:
        await step.run("a", bank.do, "a", compensate=bank.undo_later)
        await step.run("b", bank.do, "b", compensate=bank.undo)
        await step.run("last", fail)

    execution = ran(worchflow, celery_app, flow="async")

    assert bank.log == ["a", "b", "undo b", "undo a"]
    assert (execution.status, execution.compensated) == ("failed", True)


def test_an_execution_that_fails_cannot_be_cancelled_while_it_is_undone(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    bank.broken["undo b"] = die
    execution = ran(worchflow, celery_app)
    revive(worchflow, execution.id)

    with pytest.raises(InvalidTransition, match="has failed"):
        worchflow.cancel(execution.id)


def test_a_second_cancellation_changes_nothing(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    waiting = ran(worchflow, celery_app, "wait")

    worchflow.cancel(waiting.id)
    worchflow.cancel(waiting.id)
    deliver(celery_app)

    assert bank.log == [*FORWARD[:-1], *UNDONE]


def test_each_change_of_its_status_is_told_and_each_compensation(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    statuses: list[str] = []
    steps: list[str] = []

    def receive_status(status: str, **_: Any) -> None:
        statuses.append(status)

    def receive_step(key: str, **_: Any) -> None:
        steps.append(key)

    signals.execution_updated.connect(receive_status, sender=worchflow)
    signals.step_completed.connect(receive_step, sender=worchflow)
    execution = ran(worchflow, celery_app, "wait")
    worchflow.cancel(execution.id)
    deliver(celery_app)

    assert statuses == ["queued", "processing", "waiting", "queued", "processing", "cancelled"]
    assert steps[-3:] == ["compensate:c", "compensate:b", "compensate:a"]


def test_what_compensate_cannot_be_is_refused_before_the_step_runs(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    @worchflow.flow("refused")
    def refused(event: Event[Any], step: Step) -> None:
        step.run("a", bank.do, "a", compensate=bank.undo_later)

    execution = ran(worchflow, celery_app, flow="refused")

    assert bank.log == []
    assert execution.error is not None
    assert execution.error.type == "StepMisuse"
    assert "compensate=" in execution.error.message


def test_a_step_cannot_begin_in_a_compensation(worchflow: Worchflow, celery_app: Celery) -> None:
    @worchflow.flow("nested")
    def nested(event: Event[Any], step: Step) -> None:
        step.run("a", lambda: None, compensate=lambda _: step.run("b", lambda: None))
        raise ConnectionError

    execution = ran(worchflow, celery_app, flow="nested")

    (failed,) = [one for one in worchflow.steps(execution.id) if one.kind == "compensate"]
    assert failed.error is not None
    assert failed.error.type == "StepMisuse"
