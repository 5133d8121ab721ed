"""What was undone counts as undone: after a crash in the middle, and when it is retried."""

from typing import Any

import pytest
from celery import Celery

from tests.integration.sagas import FORWARD, UNDONE, Bank, define_saga, fail, kinds, ran
from tests.support import deliver, die, revive
from worchflow_celery import Event, Step, Worchflow


@pytest.fixture(autouse=True)
def bank(worchflow: Worchflow) -> Bank:
    bank = Bank()
    define_saga(worchflow, bank)
    return bank


@pytest.mark.parametrize(
    ("at", "again"),
    [
        ("undo c", ["handler", "undo c", "undo b", "undo a"]),
        ("undo b", ["undo c", "handler", "undo b", "undo a"]),
        ("undo a", ["undo c", "undo b", "handler", "undo a"]),
    ],
)
def test_a_crash_while_it_is_undone_goes_on_where_it_was(
    worchflow: Worchflow, celery_app: Celery, bank: Bank, at: str, again: list[str]
) -> None:
    bank.broken[at] = die
    execution = ran(worchflow, celery_app)
    assert execution.status == "processing"

    revive(worchflow, execution.id)
    deliver(celery_app)

    assert bank.log == [*FORWARD, "handler", *again]
    after = worchflow.get(execution.id)
    assert (after.status, after.compensated, after.crashes) == ("failed", True, 1)
    assert after.error is not None
    assert after.error.message == "broken"


def test_a_compensation_that_has_failed_is_not_tried_again_after_a_crash(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    bank.broken |= {"undo c": fail, "undo b": die}
    execution = ran(worchflow, celery_app)

    revive(worchflow, execution.id)
    deliver(celery_app)

    assert bank.log == [*FORWARD, "handler", "handler", "undo b", "undo a"]
    assert worchflow.get(execution.id).compensated is False


def test_an_execution_that_kills_whoever_undoes_it_is_given_up(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    @worchflow.flow("deadly")
    def deadly(event: Event[Any], step: Step) -> None:
        step.run("a", bank.do, "a", compensate=lambda _: die())
        raise ConnectionError("first")

    handle = worchflow.send("deadly")
    for _ in range(4):
        deliver(celery_app)
        revive(worchflow, handle.id)
    deliver(celery_app)

    execution = handle.get()
    assert (execution.status, execution.compensated, execution.crashes) == ("failed", False, 4)
    assert execution.error is not None
    assert execution.error.message == "first"


def test_a_retry_runs_again_what_was_undone_and_nothing_else(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    execution = ran(worchflow, celery_app)
    bank.log.clear()

    worchflow.retry(execution.id)
    before = worchflow.get(execution.id).compensated
    deliver(celery_app)

    assert before is None
    assert bank.log == ["handler", "a", "b", "c", "last", *UNDONE]


def test_a_retry_keeps_what_could_not_be_undone(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    bank.broken["undo b"] = fail
    execution = ran(worchflow, celery_app)
    bank.log.clear()

    worchflow.retry(execution.id)
    deliver(celery_app)

    assert bank.log == ["handler", "a", "c", "last", *UNDONE]
    assert worchflow.get(execution.id).compensated is True


def test_what_runs_again_after_a_retry_is_resumed_like_any_step(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    execution = ran(worchflow, celery_app)
    worchflow.retry(execution.id)
    bank.log.clear()
    bank.broken["b"] = die
    deliver(celery_app)

    revive(worchflow, execution.id)
    deliver(celery_app)

    assert bank.log == ["handler", "a", "handler", "b", "c", "last", *UNDONE]
    assert kinds(worchflow, execution.id)["a"] == ("run", "completed")


def test_a_step_that_was_undone_has_another_idempotency_key(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    keys: list[str] = []

    @worchflow.flow("keys")
    def flow(event: Event[Any], step: Step) -> None:
        def note(*_: Any) -> None:
            keys.append(step.idempotency_key.removeprefix(event.id))

        step.run("a", note, compensate=note)
        step.run("b", note)
        raise ConnectionError

    execution = ran(worchflow, celery_app, flow="keys")
    worchflow.retry(execution.id)
    deliver(celery_app)

    assert keys == [":a", ":b", ":compensate:a", ":a:again1", ":compensate:a:again1"]


def test_a_restart_takes_over_what_was_not_undone(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    execution = ran(worchflow, celery_app)
    bank.log.clear()

    worchflow.restart(execution.id, from_step="b")
    deliver(celery_app)

    assert bank.log == ["handler", "a", "b", "c", "last", *UNDONE]


def test_what_is_cancelled_where_its_steps_were_not_looked_at_is_undone(
    worchflow: Worchflow, celery_app: Celery, bank: Bank
) -> None:
    """It comes back from a sleep, finds no slot, and was asked to stop meanwhile."""

    def key_of(data: str) -> str:
        if data in ids:
            worchflow.runtime.store.endings.ask(ids[data], "cancel")
            raise ValueError("no key")
        return "key"

    ids: dict[str, str] = {}

    @worchflow.flow("limited", concurrency=1, concurrency_key=key_of)
    def limited(event: Event[str], step: Step) -> None:
        step.run("a", bank.do, "a", compensate=bank.undo)
        step.wait_for_signal("go")

    handle = limited.send("data")
    deliver(celery_app)
    ids["data"] = handle.id
    handle.signal("go")
    deliver(celery_app)

    assert bank.log == ["a", "undo a"]
    assert (handle.status, handle.get().compensated) == ("cancelled", True)
