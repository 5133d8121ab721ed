"""What a process tells its own code: exact arguments, after the store has said yes."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, bring_forward, deliver, die, dispatcher
from worchflow_celery import Event, ExecutionStatus, Step, Worchflow, signals
from worchflow_celery.clock import EPOCH
from worchflow_celery.models import ErrorInfo

NAMES = [
    "execution_started",
    "execution_completed",
    "execution_failed",
    "execution_updated",
    "step_completed",
    "step_failed",
]
Told = tuple[str, dict[str, Any]]


@pytest.fixture
def listen(worchflow: Worchflow) -> Iterator[Callable[[str, Callable[..., None]], None]]:
    """Connect a receiver to a signal of this binding; disconnected after the test."""
    connected: list[tuple[Any, Callable[..., None]]] = []

    def listen(name: str, receiver: Callable[..., None]) -> None:
        signal = getattr(signals, name)
        signal.connect(receiver, sender=worchflow, weak=False)
        connected.append((signal, receiver))

    yield listen
    for signal, receiver in connected:
        signal.disconnect(receiver, sender=worchflow)


@pytest.fixture
def told(listen: Callable[..., None]) -> list[Told]:
    """All signals in their order, each with all that it was sent with."""
    heard: list[Told] = []
    for name in NAMES:
        listen(name, lambda name=name, **kwargs: heard.append((name, kwargs)))
    return heard


def of(told: list[Told], name: str) -> list[dict[str, Any]]:
    return [kwargs for heard, kwargs in told if heard == name]


@pytest.fixture(autouse=True)
def flows(worchflow: Worchflow) -> None:
    @worchflow.flow("pay", retries=1, retry_delay=0)
    def pay(event: Event[Any], step: Step) -> dict[str, int]:
        step.run("check", lambda: 1)
        if event.attempt == 1:
            step.run("charge", lambda: 1 / 0)
        step.run("charge", lambda: 2)
        step.run("charge", lambda: 3)
        return {"paid": 3}

    @worchflow.flow("dies")
    def dies(event: Event[Any]) -> None:
        die()

    @worchflow.flow("waits")
    def waits(event: Event[Any], step: Step) -> None:
        step.run("away", lambda: 1 / 0, retries=1, retry_delay=3600)


def test_signals_come_in_the_order_of_what_happens(
    worchflow: Worchflow, celery_app: Celery, told: list[Told]
) -> None:
    worchflow.send("pay")
    deliver(celery_app)

    happened = [f"{name} {kwargs.get('status', kwargs.get('key', ''))}" for name, kwargs in told]
    assert [one.strip() for one in happened] == [
        "execution_updated queued",
        "execution_started",
        "execution_updated processing",
        "step_completed check",
        "step_failed charge",
        "execution_failed",
        "execution_updated retrying",
        "execution_started",
        "execution_updated processing",
        "step_completed charge",
        "step_completed charge#2",
        "execution_completed",
        "execution_updated completed",
    ]


def test_each_signal_has_exactly_its_arguments(
    worchflow: Worchflow, celery_app: Celery, told: list[Told]
) -> None:
    id = worchflow.send("pay").id
    deliver(celery_app)

    common = {"signal", "sender", "execution_id", "flow"}
    own = {
        "execution_started": {"attempt"},
        "execution_completed": {"result"},
        "execution_failed": {"error", "attempt", "will_retry"},
        "execution_updated": {"status"},
        "step_completed": {"step", "key"},
        "step_failed": {"step", "key", "error"},
    }
    for name, kwargs in told:
        assert set(kwargs) == common | own[name]
        assert (kwargs["sender"], kwargs["execution_id"], kwargs["flow"]) == (worchflow, id, "pay")


def test_the_arguments_say_what_happened(
    worchflow: Worchflow, celery_app: Celery, told: list[Told]
) -> None:
    worchflow.send("pay")
    deliver(celery_app)

    assert [one["attempt"] for one in of(told, "execution_started")] == [1, 2]
    assert [one["result"] for one in of(told, "execution_completed")] == [{"paid": 3}]
    (failed,) = of(told, "execution_failed")
    assert isinstance(failed["error"], ErrorInfo)
    assert (failed["error"].type, failed["attempt"], failed["will_retry"]) == (
        *("ZeroDivisionError", 1, True),
    )
    (step,) = of(told, "step_failed")
    assert (step["step"], step["key"], type(step["error"])) == (
        *("charge", "charge", ZeroDivisionError),
    )
    steps = [(one["step"], one["key"]) for one in of(told, "step_completed")]
    assert steps == [("check", "check"), ("charge", "charge"), ("charge", "charge#2")]


def test_a_final_failure_says_that_no_retry_follows(
    worchflow: Worchflow, celery_app: Celery, told: list[Told]
) -> None:
    @worchflow.flow("fails")
    def fails(event: Event[Any]) -> None:
        raise ValueError("no")

    fails.send()
    deliver(celery_app)

    (failed,) = of(told, "execution_failed")
    assert (failed["will_retry"], failed["error"].message) == (False, "no")
    assert of(told, "execution_updated")[-1]["status"] is ExecutionStatus.FAILED


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("execution_started", ExecutionStatus.PROCESSING),
        ("execution_failed", ExecutionStatus.RETRYING),
        ("execution_completed", ExecutionStatus.COMPLETED),
    ],
)
def test_a_signal_comes_after_the_store_has_it(
    worchflow: Worchflow,
    celery_app: Celery,
    listen: Callable[..., None],
    name: str,
    status: ExecutionStatus,
) -> None:
    stored: list[ExecutionStatus] = []
    listen(name, lambda execution_id, **_: stored.append(worchflow.get(execution_id).status))

    worchflow.send("pay")
    deliver(celery_app)

    assert set(stored) == {status}


def test_every_stored_change_of_status_is_told(
    worchflow: Worchflow, celery_app: Celery, listen: Callable[..., None]
) -> None:
    told: list[tuple[str, str]] = []
    listen(
        "execution_updated",
        lambda execution_id, status, **_: told.append((status, worchflow.get(execution_id).status)),
    )

    worchflow.send("pay")
    worchflow.send("waits")
    deliver(celery_app)

    assert len(told) == 5 + 3
    assert all(status == stored for status, stored in told)


def test_a_completed_step_is_told_after_its_checkpoint(
    worchflow: Worchflow, celery_app: Celery, listen: Callable[..., None]
) -> None:
    stored: list[bool] = []

    def receive(execution_id: str, key: str, **_: Any) -> None:
        stored.append(key in [record.key for record in worchflow.steps(execution_id)])

    listen("step_completed", receive)
    listen("step_failed", receive)

    worchflow.send("pay")
    deliver(celery_app)

    assert stored == [True] * 4


@pytest.mark.parametrize("name", NAMES)
def test_a_receiver_that_raises_is_logged_and_changes_nothing(
    worchflow: Worchflow,
    celery_app: Celery,
    listen: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    def receive(**_: Any) -> None:
        raise RuntimeError("receiver broke")

    listen(name, receive)

    handle = worchflow.send("pay")
    deliver(celery_app)

    assert handle.result(1) == {"paid": 3}
    assert "receiver broke" in caplog.text


def test_a_manual_retry_is_told(worchflow: Worchflow, celery_app: Celery, told: list[Told]) -> None:
    result = worchflow.flows["pay"].apply_async((1,), expires=0)
    deliver(celery_app)
    assert worchflow.get(result.id).status == ExecutionStatus.CANCELLED

    worchflow.retry(result.id)

    statuses = [one["status"].value for one in of(told, "execution_updated")]
    assert statuses == ["queued", "processing", "cancelled", "queued"]


def test_an_execution_that_is_taken_back_is_told(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, told: list[Told]
) -> None:
    handle = worchflow.send("dies")
    deliver(celery_app)
    silent = {"due_at": EPOCH, "suspect": {"beat": 0, "at": EPOCH}}
    bench.collection("executions").update_one({"_id": handle.id}, {"$set": silent})

    dispatcher(worchflow).sweep()

    statuses = [one["status"].value for one in of(told, "execution_updated")]
    assert statuses == ["queued", "processing", "queued"]


def test_a_second_send_of_an_id_tells_nothing(worchflow: Worchflow, told: list[Told]) -> None:
    worchflow.send("pay", id="p-1")
    worchflow.send("pay", id="p-1")

    assert len(told) == 1


def test_a_dispatcher_s_publish_is_no_change_of_status(
    bench: Bench, worchflow: Worchflow, told: list[Told]
) -> None:
    handle = worchflow.send("pay", delay=3600)
    bring_forward(bench, handle.id)

    dispatcher(worchflow).sweep()

    assert [one["status"].value for one in of(told, "execution_updated")] == ["queued"]
