"""A restarted execution is a new one, with the results of the steps before the one it starts at."""

from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, deliver, dispatcher
from worchflow_celery import Event, ExecutionHandle, ExecutionStatus, Step, Worchflow
from worchflow_celery.clock import utcnow
from worchflow_celery.errors import ExecutionNotFound, InvalidOption

COMPLETED, FAILED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED


@pytest.fixture
def ran() -> list[str]:
    return []


@pytest.fixture
def old(worchflow: Worchflow, celery_app: Celery, ran: list[str]) -> ExecutionHandle[Any]:
    """An execution that has completed: a step, a map, two steps of one name."""

    @worchflow.flow("flow", search=("customer",), priority=3)
    def flow(event: Event[dict[str, str]], step: Step) -> list[Any]:
        def note(word: str) -> str:
            ran.append(word)
            return word

        return [
            event.data,
            step.run("first", note, "first"),
            step.map("each", note, ["a", "b"], concurrency=1),
            step.run("last", note, "last"),
            step.run("last", note, "very last"),
        ]

    handle = flow.send({"customer": "c"})
    deliver(celery_app)
    return handle


ALL = ["first", "a", "b", "last", "very last"]


@pytest.mark.parametrize(
    ("from_step", "runs"),
    [
        (None, ALL),
        ("first", ALL),
        ("each[0]", ["a", "b", "last", "very last"]),
        ("each[1]", ["b", "last", "very last"]),
        ("last", ["last", "very last"]),
        ("last#2", ["very last"]),
    ],
)
def test_the_steps_before_are_taken_over_and_the_others_run(
    worchflow: Worchflow,
    celery_app: Celery,
    old: ExecutionHandle[Any],
    ran: list[str],
    from_step: str | None,
    runs: list[str],
) -> None:
    ran.clear()

    new = worchflow.restart(old.id, from_step)
    deliver(celery_app)

    assert new.result(1) == old.result(1)
    assert ran == runs
    assert [one.result for one in worchflow.steps(new.id)] == ALL


def test_the_new_one_tells_whence_it_comes_and_the_old_one_stays_as_it_is(
    worchflow: Worchflow, old: ExecutionHandle[Any]
) -> None:
    before, steps = old.get(), worchflow.steps(old.id)

    new = worchflow.restart(old.id, "last").get()

    assert (new.flow, new.data, new.status) == ("flow", before.data, ExecutionStatus.QUEUED)
    assert (new.trigger.kind, new.trigger.ref) == ("restart", old.id)
    assert new.id != old.id
    assert (old.get(), worchflow.steps(old.id)) == (before, steps)


def test_what_is_found_and_routed_by_is_taken_over_too(
    bench: Bench, worchflow: Worchflow, old: ExecutionHandle[Any]
) -> None:
    new = worchflow.restart(old.id)

    found = worchflow.find(search={"customer": "c"})
    document = bench.collection("executions").find_one({"_id": new.id}) or {}
    assert [one.id for one in found] == [new.id, old.id]
    assert (document["queue"], document["priority"]) == (bench.prefix, 3)


def test_a_restarted_execution_can_be_restarted(
    worchflow: Worchflow, celery_app: Celery, old: ExecutionHandle[Any], ran: list[str]
) -> None:
    first = worchflow.restart(old.id, "last")
    deliver(celery_app)
    ran.clear()

    second = worchflow.restart(first.id, "last#2")
    deliver(celery_app)

    assert second.result(1) == old.result(1)
    assert ran == ["very last"]


def test_a_failed_execution_is_restarted_before_the_step_that_failed(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    ran: list[str] = []

    @worchflow.flow("fails")
    def fails(event: Event[Any], step: Step) -> str:
        step.run("charge", ran.append, "charge")
        return step.run("ship", lambda: "shipped" if len(ran) > 1 else 1 / 0)

    old = fails.send()
    deliver(celery_app)
    ran.append("mended")
    new = worchflow.restart(old.id, "ship")
    deliver(celery_app)

    assert (old.status, new.result(1)) == (FAILED, "shipped")
    assert ran == ["charge", "mended"]


def test_a_result_that_could_not_be_stored_is_taken_over_as_that(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    ran: list[str] = []

    @worchflow.flow("odd")
    def odd(event: Event[Any], step: Step) -> str:
        try:
            step.run("odd", lambda: ran.append("odd") or object())
        except ValueError:
            return step.run("other", lambda: "other")
        raise AssertionError

    old = odd.send()
    deliver(celery_app)
    new = worchflow.restart(old.id, "other")
    deliver(celery_app)

    assert new.result(1) == "other"
    assert ran == ["odd"]


@pytest.mark.parametrize("key", ["nothing", "each", "las", "last#3", "", 5, {"$ne": 1}, "a\tb"])
def test_a_step_that_the_execution_does_not_have_is_refused(
    worchflow: Worchflow, old: ExecutionHandle[Any], key: Any
) -> None:
    with pytest.raises(InvalidOption, match="from_step is") as caught:
        worchflow.restart(old.id, key)

    assert repr(key).replace("\\", "")[:8] in str(caught.value).replace("\\", "")
    assert len(worchflow.find()) == 1


def test_an_execution_that_does_not_exist_is_refused(worchflow: Worchflow) -> None:
    with pytest.raises(ExecutionNotFound, match="nobody"):
        worchflow.restart("nobody")
    with pytest.raises(InvalidOption, match="id is"):
        worchflow.restart({"$ne": 1})


def test_one_that_is_being_removed_is_refused(
    bench: Bench, worchflow: Worchflow, old: ExecutionHandle[Any]
) -> None:
    bench.collection("executions").update_one({"_id": old.id}, {"$set": {"purging": True}})

    with pytest.raises(ExecutionNotFound, match="being removed"):
        worchflow.restart(old.id)


# -- what dies in between ----------------------------------------------------------------------


def lose_copies(bench: Bench, id: str) -> None:
    """As if the process that restarted it had died before it copied."""
    bench.collection("steps").delete_many({"_id": {"$regex": f"^{id} "}})


def test_a_copy_that_was_not_made_is_made_by_the_worker_before_anything_runs(
    bench: Bench,
    worchflow: Worchflow,
    celery_app: Celery,
    old: ExecutionHandle[Any],
    ran: list[str],
) -> None:
    new = worchflow.restart(old.id, "last#2")
    lose_copies(bench, new.id)
    ran.clear()

    deliver(celery_app)

    assert new.result(1) == old.result(1)
    assert ran == ["very last"]


def test_a_copy_of_which_a_part_was_made_is_completed_by_the_worker(
    bench: Bench,
    worchflow: Worchflow,
    celery_app: Celery,
    old: ExecutionHandle[Any],
    ran: list[str],
) -> None:
    new = worchflow.restart(old.id, "last#2")
    bench.collection("steps").delete_one({"_id": f"{new.id} each[1]"})
    ran.clear()

    deliver(celery_app)

    assert new.result(1) == old.result(1)
    assert ran == ["very last"]


def test_what_can_be_copied_no_more_fails_and_runs_nothing(
    bench: Bench,
    worchflow: Worchflow,
    celery_app: Celery,
    old: ExecutionHandle[Any],
    ran: list[str],
) -> None:
    new = worchflow.restart(old.id, "last#2")
    lose_copies(bench, new.id)
    lose_copies(bench, old.id)
    ran.clear()

    deliver(celery_app)

    execution = new.get()
    assert execution.status == FAILED and execution.error is not None
    assert f"restarted from {old.id!r}" in execution.error.message
    assert ran == []


def test_a_restart_whose_message_was_lost_is_found_by_the_dispatcher(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, old: ExecutionHandle[Any]
) -> None:
    new = worchflow.restart(old.id, "last")
    with bench.broker() as broker:
        broker.delete(bench.prefix)

    past = {"$set": {"due_at": utcnow() - timedelta(seconds=1)}}
    bench.collection("executions").update_one({"_id": new.id}, past)
    dispatcher(worchflow).sweep()
    deliver(celery_app)

    assert new.result(1) == old.result(1)


def test_later_attempts_of_a_restarted_execution_keep_what_it_took_over(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    ran: list[str] = []

    @worchflow.flow("again", retries=2, retry_delay=0)
    def again(event: Event[Any], step: Step) -> int:
        step.run("first", ran.append, "first")
        step.run("second", ran.append, "second")
        if event.attempt < 3:
            raise ConnectionError
        return event.attempt

    old = again.send()
    deliver(celery_app)
    new = worchflow.restart(old.id, "second")
    deliver(celery_app)

    assert new.result(1) == 3
    assert ran == ["first", "second", "second"]
