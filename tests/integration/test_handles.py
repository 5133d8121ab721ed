"""What the holder of an id can ask and do: status, result, manual retry."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from pydantic import BaseModel

from tests.support import Bench, bring_forward, deliver, die
from worchflow_celery import Event, ExecutionHandle, ExecutionStatus, Step, Worchflow
from worchflow_celery.attempt import attempt
from worchflow_celery.errors import ExecutionFailed, ExecutionNotFound, InvalidTransition


class Receipt(BaseModel):
    number: int


@pytest.fixture
def ran() -> list[str]:
    """What the steps of the flow `act` did."""
    return []


@pytest.fixture(autouse=True)
def flows(worchflow: Worchflow, ran: list[str]) -> None:
    @worchflow.flow("receipt")
    def receipt(event: Event[int]) -> Receipt:
        return Receipt(number=event.data)

    @worchflow.flow("act", retries=1, retry_delay=30)
    def act(event: Event[str], step: Step) -> str:
        step.run("first", ran.append, f"first {event.attempt}")
        if event.data == "die":
            die()
        step.run("second", attempted, event.data, ran, retries=1, retry_delay=30)
        return "done"


def attempted(what: str, ran: list[str]) -> None:
    ran.append("second")
    if what == "fail" and ran.count("second") <= 4:
        raise ConnectionError("away")


@pytest.fixture
def failed(worchflow: Worchflow, bench: Bench) -> ExecutionHandle[Any]:
    """An execution that failed for good, in its second step."""
    handle = worchflow.send("act", "fail")
    while handle.status != ExecutionStatus.FAILED:
        bring_forward(bench, handle.id)
        attempt(worchflow.runtime, worchflow.flows["act"].definition, handle.id)
    return handle


def test_a_handle_names_its_execution(worchflow: Worchflow) -> None:
    handle = worchflow.send("receipt", 1, id="r-1")

    assert (handle.id, str(handle)) == ("r-1", "r-1")
    assert handle == worchflow.handle("r-1")
    assert handle.get() == worchflow.get("r-1")


def test_a_result_comes_back_as_what_the_flow_returned(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    handle = worchflow.send("receipt", 4, id="r-1")
    deliver(celery_app)

    assert handle.result(1) == Receipt(number=4)
    assert worchflow.handle("r-1").result() == Receipt(number=4)
    assert worchflow.get("r-1").result == Receipt(number=4)


@pytest.mark.parametrize("timeout", [0, 0.05, timedelta(milliseconds=50)])
def test_a_result_that_does_not_come_in_time_is_a_timeout(
    worchflow: Worchflow, timeout: Any
) -> None:
    handle = worchflow.send("receipt", 1)

    with pytest.raises(TimeoutError, match="queued"):
        handle.result(timeout=timeout)


def test_a_failed_execution_s_result_raises_the_stored_error(
    failed: ExecutionHandle[Any],
) -> None:
    with pytest.raises(ExecutionFailed, match="ConnectionError: away") as raised:
        failed.result(1)

    assert raised.value.execution_id == failed.id
    assert raised.value.error == failed.get().error


def test_a_cancelled_execution_s_result_raises(worchflow: Worchflow, celery_app: Celery) -> None:
    result = worchflow.flows["receipt"].apply_async((1,), expires=0)
    deliver(celery_app)

    with pytest.raises(ExecutionFailed, match="cancelled"):
        worchflow.handle(result.id).result(1)


@pytest.mark.parametrize(
    "ask",
    [
        lambda worchflow: worchflow.get("nobody"),
        lambda worchflow: worchflow.handle("nobody"),
        lambda worchflow: worchflow.steps("nobody"),
        lambda worchflow: worchflow.retry("nobody"),
        lambda worchflow: ExecutionHandle(worchflow.runtime, "nobody").status,
        lambda worchflow: ExecutionHandle(worchflow.runtime, "nobody").result(1),
        lambda worchflow: ExecutionHandle(worchflow.runtime, "nobody").retry(),
    ],
)
def test_an_id_that_nobody_has_is_not_found(
    worchflow: Worchflow, ask: Callable[[Worchflow], object]
) -> None:
    with pytest.raises(ExecutionNotFound, match="nobody"):
        ask(worchflow)


def test_an_execution_without_steps_has_none(worchflow: Worchflow) -> None:
    assert worchflow.steps(worchflow.send("receipt", 1).id) == []


def test_a_manual_retry_starts_at_attempt_one_and_keeps_completed_steps(
    failed: ExecutionHandle[Any], worchflow: Worchflow, celery_app: Celery, ran: list[str]
) -> None:
    handle = worchflow.retry(failed.id)
    deliver(celery_app)

    assert handle == failed
    assert handle.result(1) == "done"
    assert handle.get().attempt == 1
    assert ran == ["first 1"] + ["second"] * 5


def test_a_manual_retry_clears_the_error_and_the_end(failed: ExecutionHandle[Any]) -> None:
    assert failed.retry() is failed

    execution = failed.get()
    assert (execution.status, execution.attempt) == (ExecutionStatus.QUEUED, 0)
    assert (execution.error, execution.finished_at) == (None, None)
    assert execution.due_at is not None
    assert execution.trigger.kind == "retry"


def test_a_manual_retry_publishes_one_message(
    failed: ExecutionHandle[Any], bench: Bench, celery_app: Celery
) -> None:
    deliver(celery_app)

    failed.retry()

    assert bench.messages() == 1


def test_a_cancelled_execution_can_be_retried(worchflow: Worchflow, celery_app: Celery) -> None:
    result = worchflow.flows["receipt"].apply_async((1,), expires=0)
    deliver(celery_app)

    handle = worchflow.retry(result.id)
    deliver(celery_app)

    assert handle.result(1) == Receipt(number=1)


BEFORE: list[tuple[ExecutionStatus, Callable[[Worchflow], Any]]] = [
    (ExecutionStatus.QUEUED, lambda worchflow: worchflow.send("receipt", 1)),
    (ExecutionStatus.COMPLETED, lambda worchflow: worchflow.send("receipt", 1)),
    (ExecutionStatus.PROCESSING, lambda worchflow: worchflow.send("act", "die")),
    (ExecutionStatus.WAITING, lambda worchflow: worchflow.send("act", "fail")),
]


@pytest.mark.parametrize(("status", "send"), BEFORE)
def test_only_failed_and_cancelled_executions_can_be_retried(
    worchflow: Worchflow,
    celery_app: Celery,
    status: ExecutionStatus,
    send: Callable[[Worchflow], ExecutionHandle[Any]],
) -> None:
    handle = send(worchflow)
    if status is not ExecutionStatus.QUEUED:
        deliver(celery_app)
    before = handle.get()

    with pytest.raises(InvalidTransition, match=status.value):
        handle.retry()

    assert before.status == status
    assert handle.get() == before


def test_a_retrying_execution_can_not_be_retried_by_hand(
    worchflow: Worchflow, bench: Bench
) -> None:
    handle = worchflow.send("act", "fail")
    for _ in range(2):
        attempt(worchflow.runtime, worchflow.flows["act"].definition, handle.id)
        bring_forward(bench, handle.id)

    assert handle.status == ExecutionStatus.RETRYING
    with pytest.raises(InvalidTransition, match="retrying"):
        worchflow.retry(handle.id)
