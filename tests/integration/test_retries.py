"""An attempt that raises: whether another one follows, and when."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery import signals as celery_signals

from tests.support import Bench, bring_forward, deliver, die, revive, take
from worchflow_celery import Event, Execution, ExecutionStatus, Flow, Step, Worchflow
from worchflow_celery.attempt import attempt
from worchflow_celery.errors import NonRetriableError, RetryAfter, StepMisuse


class Declined(NonRetriableError):
    pass


def fail_always(event: Event[Any]) -> None:
    raise ConnectionError(f"attempt {event.attempt}")


def run(worchflow: Worchflow, flow: Flow[Any, Any]) -> Execution:
    """The first attempt of a new execution."""
    handle = flow.send()
    attempt(worchflow.runtime, flow.definition, handle.id)
    return handle.get()


def delay_of(execution: Execution) -> float:
    assert execution.due_at is not None
    return (execution.due_at - execution.updated_at).total_seconds()


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (2, 3)])
def test_retries_are_the_attempts_after_the_first(
    worchflow: Worchflow, celery_app: Celery, retries: int, attempts: int
) -> None:
    flow = worchflow.flow("flow", retries=retries, retry_delay=0)(fail_always)

    handle = flow.send()
    deliver(celery_app)

    execution = handle.get()
    assert execution.status == ExecutionStatus.FAILED
    assert execution.attempt == attempts
    assert execution.error is not None
    assert execution.error.message == f"attempt {attempts}"


def test_each_attempt_is_recorded_with_its_error(worchflow: Worchflow, celery_app: Celery) -> None:
    @worchflow.flow("flow", retries=1, retry_delay=0)
    def flow(event: Event[Any]) -> str:
        if event.attempt == 1:
            fail_always(event)
        return "done"

    handle = flow.send()
    deliver(celery_app)

    execution = handle.get()
    first, second = execution.attempts
    assert (first.number, first.outcome, second.number, second.outcome) == (
        *(1, "retrying"),
        *(2, "completed"),
    )
    assert first.error is not None and second.error is None
    assert first.error.type == "ConnectionError"
    assert "fail_always" in (first.error.traceback or "")
    assert "worchflow_celery" not in (first.error.traceback or "")
    assert first.started_at and first.ended_at and second.started_at
    assert execution.started_at == first.started_at <= first.ended_at <= second.started_at


def test_success_clears_the_error(worchflow: Worchflow, celery_app: Celery) -> None:
    errors: list[object] = []

    @worchflow.flow("flow", retries=1, retry_delay=0)
    def flow(event: Event[Any]) -> None:
        errors.append(worchflow.get(event.id).error)
        if event.attempt == 1:
            fail_always(event)

    handle = flow.send()
    deliver(celery_app)

    assert errors[0] is None and errors[1] is not None
    assert handle.get().error is None


DELAYS: list[tuple[dict[str, Any], list[float]]] = [
    ({}, [1, 1, 1]),
    ({"retry_delay": 20}, [20, 20, 20]),
    ({"retry_delay": timedelta(minutes=5)}, [300, 300, 300]),
    ({"retry_delay": 3, "retry_backoff": True, "retry_jitter": False}, [3, 6, 12]),
    ({"retry_delay": 3, "retry_backoff": 10, "retry_jitter": False}, [10, 20, 40]),
    (
        {"retry_backoff": 10, "retry_backoff_max": 15, "retry_jitter": False},
        [10, 15, 15],
    ),
]


@pytest.mark.parametrize(("options", "delays"), DELAYS)
def test_the_delay_before_each_retry_is_as_declared(
    bench: Bench, worchflow: Worchflow, options: dict[str, Any], delays: list[float]
) -> None:
    flow = worchflow.flow("flow", retries=3, **options)(fail_always)
    handle = flow.send()

    measured = []
    for _ in delays:
        attempt(worchflow.runtime, flow.definition, handle.id)
        measured.append(delay_of(handle.get()))
        bring_forward(bench, handle.id)

    assert measured == pytest.approx(delays, abs=0.01)


def test_jitter_spreads_retries_over_the_whole_delay(worchflow: Worchflow) -> None:
    flow = worchflow.flow("flow", retries=1, retry_backoff=50)(fail_always)

    delays = [delay_of(run(worchflow, flow)) for _ in range(12)]

    assert all(0 <= delay <= 50 for delay in delays)
    assert len(set(delays)) > 6


@pytest.mark.parametrize(("retries", "status"), [(0, "failed"), (1, "retrying")])
def test_a_retry_is_due_at_its_time_and_a_failed_execution_never(
    worchflow: Worchflow, retries: int, status: str
) -> None:
    flow = worchflow.flow("flow", retries=retries, retry_delay=30)(fail_always)

    execution = run(worchflow, flow)

    assert execution.status == status
    assert (execution.due_at is None) is (status == "failed")
    assert (execution.finished_at is None) is (status == "retrying")


def test_a_copy_of_the_message_does_not_bring_the_retry_forward(worchflow: Worchflow) -> None:
    flow = worchflow.flow("flow", retries=1, retry_delay=30)(fail_always)
    execution = run(worchflow, flow)

    assert attempt(worchflow.runtime, flow.definition, execution.id) is None
    assert worchflow.get(execution.id).attempt == 1


@pytest.mark.parametrize("error", [NonRetriableError("no"), Declined("no")])
def test_a_non_retriable_error_fails_at_once(worchflow: Worchflow, error: Exception) -> None:
    @worchflow.flow("flow", retries=5)
    def flow(event: Event[Any]) -> None:
        raise error

    execution = run(worchflow, flow)

    assert (execution.status, execution.attempt) == (ExecutionStatus.FAILED, 1)
    assert execution.error is not None and execution.error.type == type(error).__name__


@pytest.mark.parametrize(
    ("when", "delay"),
    [
        (lambda: 40, 40),
        (lambda: timedelta(seconds=40), 40),
        (lambda: datetime.now(UTC) + timedelta(seconds=40), 40),
        (lambda: datetime.now(UTC) - timedelta(seconds=40), 7),
        (lambda: 2, 7),
    ],
)
def test_retry_after_retries_no_sooner_than_it_says(
    worchflow: Worchflow, when: Any, delay: float
) -> None:
    @worchflow.flow("flow", retries=1, retry_delay=7)
    def flow(event: Event[Any]) -> None:
        raise RetryAfter(when(), "busy")

    execution = run(worchflow, flow)

    assert execution.status == ExecutionStatus.RETRYING
    assert delay_of(execution) == pytest.approx(delay, abs=1)
    assert execution.error is not None and execution.error.message == "busy"


def test_retry_after_is_no_retry_beyond_the_retries(worchflow: Worchflow) -> None:
    @worchflow.flow("flow")
    def flow(event: Event[Any]) -> None:
        raise RetryAfter(1)

    assert run(worchflow, flow).status == ExecutionStatus.FAILED


def test_what_a_handler_raises_never_ends_the_worker(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    @worchflow.flow("flow", retries=1, retry_delay=0)
    def flow(event: Event[Any]) -> None:
        raise SystemExit("no") if event.attempt == 1 else KeyboardInterrupt

    handle = flow.send()
    deliver(celery_app)

    errors = [one.error.type for one in handle.get().attempts if one.error]
    assert errors == ["SystemExit", "KeyboardInterrupt"]


def test_a_crash_is_no_retry(worchflow: Worchflow, celery_app: Celery) -> None:
    ran: list[int] = []

    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> int:
        ran.append(event.attempt)
        if len(ran) < 3:
            die()
        return event.attempt

    handle = flow.send()
    for _ in range(2):
        deliver(celery_app)
        revive(worchflow, handle.id)
    deliver(celery_app)

    assert ran == [1, 1, 1]
    assert (handle.result(1), handle.get().crashes) == (1, 2)
    assert [one.outcome for one in handle.get().attempts] == ["lost", "lost", "completed"]


def test_a_short_delay_is_a_celery_countdown(worchflow: Worchflow, celery_app: Celery) -> None:
    flow = worchflow.flow("flow", retries=1, retry_delay=30)(fail_always)
    handle = flow.send()

    deliver(celery_app, most=1)

    request = take(celery_app)
    assert request is not None and request.id == handle.id
    assert (request.eta - handle.get().updated_at).total_seconds() == pytest.approx(30, abs=2)


def test_a_long_delay_is_left_to_the_dispatcher(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    flow = worchflow.flow("flow", retries=1, retry_delay=3600)(fail_always)
    handle = flow.send()

    deliver(celery_app)

    assert handle.status == ExecutionStatus.RETRYING
    assert bench.messages() == 0


@pytest.fixture
def retries_seen() -> Iterator[list[str]]:
    """Reasons of Celery's `task_retry` signals."""
    seen: list[str] = []

    def receive(reason: object, **_: object) -> None:
        seen.append(f"{type(reason).__name__}: {reason}")

    celery_signals.task_retry.connect(receive)
    yield seen
    celery_signals.task_retry.disconnect(receive)


# Celery's own result backend calls Redis in a way that redis-py deprecates.
@pytest.mark.filterwarnings("ignore:Call to deprecated setex")
def test_celery_sees_each_retry(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, retries_seen: list[str]
) -> None:
    celery_app.conf.update(result_backend=bench.redis_url, task_ignore_result=False)

    @worchflow.flow("flow", retries=1, retry_delay=0)
    def flow(event: Event[Any]) -> str:
        if event.attempt == 1:
            raise StepMisuse("again")
        return "done"

    result = flow.delay()
    deliver(celery_app, most=1)
    state = result.state
    deliver(celery_app)

    assert state == "RETRY"
    assert retries_seen == ["Retry: Retry in 0.0s: StepMisuse('again')"]
    assert (result.state, result.result) == ("SUCCESS", "done")
