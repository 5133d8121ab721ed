"""Executions are cancelled: at once, or at their worker's next step boundary, and finally."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from time import sleep
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, bring_forward, deliver, die, revive, take
from worchflow_celery import Event, ExecutionStatus, Step, Worchflow, signals
from worchflow_celery.attempt import attempt
from worchflow_celery.errors import ExecutionFailed, ExecutionNotFound, InvalidTransition


@pytest.fixture(autouse=True)
def flows(worchflow: Worchflow) -> None:
    @worchflow.flow("quick")
    def quick(event: Event[Any]) -> str:
        return "done"

    @worchflow.flow("waits")
    def waits(event: Event[Any], step: Step) -> Any:
        step.run("before", lambda: None)
        return step.wait_for_signal("go")

    @worchflow.flow("fails", retries=1, retry_delay=3600)
    def fails(event: Event[Any]) -> None:
        raise ConnectionError("no")


def put(worchflow: Worchflow, app: Celery, status: str) -> str:
    """An execution of this status."""
    execution_id = {
        "queued": lambda: worchflow.send("quick"),
        "delayed": lambda: worchflow.send("quick", delay=3600),
        "waiting": lambda: worchflow.send("waits"),
        "retrying": lambda: worchflow.send("fails"),
    }[status]().id
    if status in ("waiting", "retrying"):
        deliver(app)
        assert worchflow.get(execution_id).status == status
    return execution_id


IDLE = ["queued", "delayed", "waiting", "retrying"]


@pytest.mark.parametrize("status", IDLE)
def test_an_execution_that_does_not_run_is_cancelled_at_once(
    worchflow: Worchflow, celery_app: Celery, status: str
) -> None:
    execution_id = put(worchflow, celery_app, status)

    execution = worchflow.cancel(execution_id)

    assert execution.status == ExecutionStatus.CANCELLED
    assert execution.error is not None
    assert (execution.error.type, execution.due_at) == ("Cancelled", None)
    assert execution.finished_at is not None
    assert execution.compensated is None


@pytest.mark.parametrize("status", IDLE)
def test_a_cancelled_execution_never_runs(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, status: str
) -> None:
    execution_id = put(worchflow, celery_app, status)
    worchflow.cancel(execution_id)

    deliver(celery_app)
    flow = worchflow.flows[worchflow.get(execution_id).flow]

    assert attempt(worchflow.runtime, flow.definition, execution_id, eager=True) is None
    assert worchflow.get(execution_id).status == "cancelled"


def test_a_handle_cancels_its_execution(worchflow: Worchflow) -> None:
    handle = worchflow.send("quick")

    assert handle.cancel().status == "cancelled"
    with pytest.raises(ExecutionFailed, match=r"cancelled: Cancelled: somebody called cancel"):
        handle.result(1)


def test_a_paused_execution_can_be_cancelled(bench: Bench, worchflow: Worchflow) -> None:
    handle = worchflow.send("quick")
    bench.collection("executions").update_one({"_id": handle.id}, {"$set": {"paused": True}})

    assert worchflow.cancel(handle.id).status == "cancelled"


def test_an_execution_that_is_unknown_cannot_be_cancelled(worchflow: Worchflow) -> None:
    with pytest.raises(ExecutionNotFound, match="nobody"):
        worchflow.cancel("nobody")


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_an_execution_that_has_ended_cannot_be_cancelled(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, end: str
) -> None:
    handle = worchflow.send("fails" if end == "failed" else "quick")
    if end == "cancelled":
        handle.cancel()
    deliver(celery_app)
    if end == "failed":
        bring_forward(bench, handle.id)
        definition = worchflow.flows["fails"].definition
        attempt(worchflow.runtime, definition, handle.id)

    with pytest.raises(InvalidTransition, match=f"is {end}"):
        worchflow.cancel(handle.id)

    assert handle.status == end


def test_a_cancelled_execution_is_retried_from_its_completed_steps(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    execution_id = put(worchflow, celery_app, "waiting")
    worchflow.cancel(execution_id)

    worchflow.retry(execution_id)
    deliver(celery_app)
    worchflow.signal(execution_id, "go", 7)
    deliver(celery_app)

    assert worchflow.handle(execution_id).result(1) == 7


def test_the_cancellation_of_a_running_execution_is_a_request(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    seen: list[str] = []

    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> None:
        seen.append(worchflow.cancel(event.id).status)
        seen.append(worchflow.cancel(event.id).status)

    handle = flow.send()
    deliver(celery_app)

    assert seen == ["processing", "processing"]
    assert handle.status == "cancelled"


def test_a_cancellation_between_two_workers_is_at_once(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> None:
        die()

    handle = flow.send()
    deliver(celery_app)
    revive(worchflow, handle.id)

    assert worchflow.cancel(handle.id).status == "cancelled"


def test_the_owner_of_before_cannot_end_what_was_cancelled(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    """A claim between the look and the write makes cancel look again."""
    endings = worchflow.runtime.store.endings
    handle = worchflow.send("quick")
    looked = endings.look(handle.id)
    assert looked is not None
    deliver(celery_app)

    assert not endings.cancel(looked, retention=None, follow_up=None)
    assert handle.result(1) == "done"


def test_what_is_done_between_the_look_and_the_end_is_undone(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    undone: list[str] = []

    @worchflow.flow("pays")
    def pays(event: Event[Any], step: Step) -> None:
        step.wait_for_signal("go")
        step.run("pay", lambda: "paid", compensate=undone.append)
        step.wait_for_signal("never")

    handle = pays.send()
    deliver(celery_app)
    steps = worchflow.runtime.store.steps
    look, looks = steps.read_undoing, []

    def late(execution_id: str) -> Any:
        found = look(execution_id)
        looks.append(found)
        if len(looks) == 1:
            handle.signal("go")
            deliver(celery_app)
        return found

    steps.read_undoing = late  # type: ignore[method-assign]
    handle.cancel()
    deliver(celery_app)

    assert handle.status == "cancelled"
    assert undone == ["paid"]


def test_whoever_listens_is_told_of_it_once(worchflow: Worchflow, celery_app: Celery) -> None:
    told: list[tuple[str, str, str]] = []

    def receive(execution_id: str, flow: str, status: str, **_: Any) -> None:
        told.append((execution_id, flow, status))

    handle = worchflow.send("quick")
    signals.execution_updated.connect(receive, sender=worchflow)

    handle.cancel()
    deliver(celery_app)

    assert told == [(handle.id, "quick", "cancelled")]


def test_celery_goes_on_after_it_as_after_a_failure(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    met: list[str] = []

    @celery_app.task(name="after", shared=False)
    def after(*given: Any) -> None:
        met.append("after")

    @celery_app.task(name="errback", shared=False)
    def errback(*given: Any) -> None:
        met.append("errback")

    result = worchflow.flows["quick"].apply_async((None,), link=after.s(), link_error=errback.si())
    worchflow.cancel(result.id)
    deliver(celery_app)
    deliver(celery_app)

    assert met == ["errback"]


def test_retention_begins_with_it(bench: Bench, celery_app: Celery) -> None:
    bound = bench.bind(celery_app, retention=60)

    @bound.flow("kept")
    def kept(event: Event[Any]) -> None: ...

    handle = kept.send()
    handle.cancel()
    bound.close()

    document = bench.collection("executions").find_one({"_id": handle.id})
    assert document is not None
    assert (document["expires_at"] - document["finished_at"]).total_seconds() == 60


def test_a_message_of_it_that_comes_late_is_dropped(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    handle = worchflow.send("quick")
    request = take(celery_app)
    assert request is not None
    handle.cancel()

    request.execute()

    assert handle.status == "cancelled"


@pytest.mark.parametrize("seed", range(8))
def test_a_cancellation_that_races_with_the_end_has_one_winner(
    worchflow: Worchflow, celery_app: Celery, seed: int
) -> None:
    both = Barrier(2)

    @worchflow.flow("racing")
    def racing(event: Event[Any]) -> str:
        both.wait(10)
        sleep(seed / 4000)
        return "done"

    handle = racing.send()
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(deliver, celery_app)
        both.wait(10)
        try:
            handle.cancel()
            accepted = True
        except InvalidTransition:
            accepted = False
        ended.result(10)

    execution = handle.get()
    assert execution.status == ("cancelled" if accepted else "completed")
    assert execution.result == (None if accepted else "done")
