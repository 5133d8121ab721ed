"""What a flow does about its failure: once, as a step, whatever has failed."""

from typing import Any

import pytest
from celery import Celery
from pydantic import BaseModel

from tests.support import Bench, bring_forward, deliver, die, dispatcher, eventually, revive
from worchflow_celery import AsyncStep, Event, Execution, Step, Worchflow
from worchflow_celery.attempt import attempt
from worchflow_celery.errors import LeaseLost
from worchflow_celery.models import ErrorInfo

Called = list[tuple[Any, str, str]]


@pytest.fixture
def called() -> Called:
    """The data of the event, the error's type and its text of each call."""
    return []


class Order(BaseModel):
    amount: int


@pytest.fixture(autouse=True)
def flows(worchflow: Worchflow, called: Called) -> None:
    def note(event: Event[Any], error: ErrorInfo, step: Step) -> None:
        called.append((event.data, error.type, error.message))

    @worchflow.flow("flow", on_failure=note)
    def flow(event: Event[Any], step: Step) -> Any:
        step.run("a", lambda: None, compensate=lambda _: called.append(("undone", "", "")))
        if event.data == "wait":
            step.wait_for_signal("go")
        if event.data == "fail":
            raise ConnectionError("broken")
        return event.data

    @worchflow.flow("retried", retries=1, retry_delay=3600, on_failure=note)
    def retried(event: Event[Any]) -> None:
        raise ConnectionError(f"attempt {event.attempt}")

    @worchflow.flow("deadly", on_failure=note)
    def deadly(event: Event[Any], step: Step) -> None:
        die()

    @worchflow.flow("typed", on_failure=note)
    def typed(event: Event[Order]) -> None: ...


def ran(worchflow: Worchflow, app: Celery, flow: str, data: Any = None) -> Execution:
    handle = worchflow.send(flow, data)
    deliver(app)
    return handle.get()


def test_it_is_called_after_the_compensations(
    worchflow: Worchflow, celery_app: Celery, called: Called
) -> None:
    execution = ran(worchflow, celery_app, "flow", "fail")

    assert called == [("undone", "", ""), ("fail", "ConnectionError", "broken")]
    assert (execution.status, execution.compensated) == ("failed", True)
    (step,) = [one for one in worchflow.steps(execution.id) if one.key == "on_failure"]
    assert (step.kind, step.status) == ("run", "completed")


def test_it_is_not_called_for_an_execution_that_completes(
    worchflow: Worchflow, celery_app: Celery, called: Called
) -> None:
    ran(worchflow, celery_app, "flow", "complete")

    assert called == []


def test_it_is_not_called_for_an_execution_that_is_cancelled(
    worchflow: Worchflow, celery_app: Celery, called: Called
) -> None:
    execution = ran(worchflow, celery_app, "flow", "wait")
    worchflow.cancel(execution.id)
    deliver(celery_app)

    assert called == [("undone", "", "")]
    assert worchflow.get(execution.id).status == "cancelled"


def test_it_is_called_when_the_retries_are_spent(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, called: Called
) -> None:
    execution = ran(worchflow, celery_app, "retried")
    before = list(called)
    bring_forward(bench, execution.id)
    attempt(worchflow.runtime, worchflow.flows["retried"].definition, execution.id)

    assert before == []
    assert called == [(None, "ConnectionError", "attempt 2")]
    assert worchflow.get(execution.id).compensated is None


def test_it_is_called_for_an_execution_that_killed_its_workers(
    worchflow: Worchflow, celery_app: Celery, called: Called
) -> None:
    handle = worchflow.send("deadly", 1)
    for _ in range(4):
        deliver(celery_app)
        revive(worchflow, handle.id)
    deliver(celery_app)

    assert handle.status == "failed"
    assert [(data, kind) for data, kind, _ in called] == [(1, "WorkerLost")]


def test_data_that_does_not_fit_the_event_is_given_as_it_is(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, called: Called
) -> None:
    handle = worchflow.send("typed", {"amount": 1})
    change = {"$set": {"data": '{"amount":"much"}'}}
    bench.collection("executions").update_one({"_id": handle.id}, change)
    deliver(celery_app)

    assert [(data, kind) for data, kind, _ in called] == [({"amount": "much"}, "InvalidEventData")]
    assert handle.status == "failed"


def test_it_is_called_for_a_message_whose_data_cannot_be_stored(
    worchflow: Worchflow, celery_app: Celery, called: Called
) -> None:
    celery_app.send_task("flow", args=(1, 2), task_id="two-arguments")
    deliver(celery_app)

    assert [(data, kind) for data, kind, _ in called] == [(None, "InvalidEventData")]
    assert worchflow.get("two-arguments").status == "failed"


def test_it_is_called_once_over_crashes(worchflow: Worchflow, celery_app: Celery) -> None:
    calls: list[str] = []

    def note(event: Event[Any], error: ErrorInfo, step: Step) -> None:
        step.run("first", calls.append, "first")
        if calls.count("died") == 0:
            calls.append("died")
            die()
        step.run("second", calls.append, "second")

    @worchflow.flow("crashing", on_failure=note)
    def crashing(event: Event[Any], step: Step) -> None:
        calls.append("handler")
        step.run("first", lambda: None)
        raise ConnectionError

    execution = ran(worchflow, celery_app, "crashing")
    revive(worchflow, execution.id)
    deliver(celery_app)

    assert calls == ["handler", "first", "died", "second"]
    assert worchflow.get(execution.id).status == "failed"
    keys = {one.key for one in worchflow.steps(execution.id)}
    assert keys == {"first", "on_failure", "on_failure/first", "on_failure/second"}


def test_it_is_not_called_again_by_a_crash_after_its_end(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    calls: list[str] = []

    @worchflow.flow("crashing", on_failure=lambda event, error, step: calls.append("told"))
    def crashing(event: Event[Any]) -> None:
        raise ConnectionError

    attempts = worchflow.runtime.store.attempts
    settle = attempts.settle
    attempts.settle = lambda *_, **__: die()  # type: ignore[method-assign]
    handle = crashing.send()
    with pytest.raises(LeaseLost):
        deliver(celery_app)

    attempts.settle = settle  # type: ignore[method-assign]
    revive(worchflow, handle.id)
    deliver(celery_app)

    assert handle.status == "failed"
    assert calls == ["told"]


def test_it_may_sleep_without_a_worker(worchflow: Worchflow, celery_app: Celery) -> None:
    calls: list[str] = []

    def note(event: Event[Any], error: ErrorInfo, step: Step) -> None:
        step.sleep("a while", 1.2)
        calls.append(error.message)

    @worchflow.flow("sleepy", on_failure=note)
    def sleepy(event: Event[Any]) -> None:
        raise ConnectionError("broken")

    execution = ran(worchflow, celery_app, "sleepy")
    eventually(lambda: dispatcher(worchflow).sweep() and deliver(celery_app))

    assert execution.status == "waiting"
    assert calls == ["broken"]
    assert worchflow.get(execution.id).status == "failed"


def test_its_own_failure_is_recorded_and_changes_nothing(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    def broken(event: Event[Any], error: ErrorInfo, step: Step) -> None:
        raise KeyError("mine")

    @worchflow.flow("broken", on_failure=broken)
    def flow(event: Event[Any]) -> None:
        raise ConnectionError("broken")

    execution = ran(worchflow, celery_app, "broken")

    assert execution.error is not None
    assert (execution.status, execution.error.type) == ("failed", "ConnectionError")
    (step,) = worchflow.steps(execution.id)
    assert step.error is not None
    assert (step.key, step.status, step.error.type) == ("on_failure", "failed", "KeyError")


def test_it_is_called_again_when_a_retry_fails(
    worchflow: Worchflow, celery_app: Celery, called: Called
) -> None:
    execution = ran(worchflow, celery_app, "flow", "fail")
    worchflow.retry(execution.id)
    deliver(celery_app)

    assert called == [("undone", "", ""), ("fail", "ConnectionError", "broken")] * 2


def test_it_is_awaited_where_the_flow_is_async(worchflow: Worchflow, celery_app: Celery) -> None:
    calls: list[str] = []

    async def note(event: Event[Any], error: ErrorInfo, step: AsyncStep) -> None:
        calls.append(await step.run("tell", lambda: error.message))

    @worchflow.flow("async", on_failure=note)
    async def flow(event: Event[Any]) -> None:
        raise ConnectionError("broken")

    execution = ran(worchflow, celery_app, "async")

    assert calls == ["broken"]
    assert execution.status == "failed"


def test_celery_is_told_the_error_of_the_flow(
    worchflow: Worchflow, celery_app: Celery, called: Called
) -> None:
    told: list[str] = []

    @celery_app.task(name="errback", shared=False)
    def errback(request: Any, error: Exception, traceback: Any) -> None:
        told.append(repr(error))

    worchflow.flows["flow"].apply_async(("fail",), link_error=errback.s())
    deliver(celery_app)
    deliver(celery_app)

    assert told == ["ConnectionError('broken')"]


async def a_coroutine_function(event: Any, error: Any, step: Any) -> None: ...


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("later", "is not a function"),
        (a_coroutine_function, "needs an `async def` flow"),
        (lambda event: None, r"must take \(event, error, step\)"),
        (lambda: (yield), "must not be a generator"),
    ],
)
def test_what_it_cannot_be_is_refused_at_decoration(
    worchflow: Worchflow, given: Any, said: str
) -> None:
    with pytest.raises(TypeError, match=said):

        @worchflow.flow("refused", on_failure=given)
        def refused(event: Event[Any]) -> None: ...
