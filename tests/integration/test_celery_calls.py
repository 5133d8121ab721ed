"""A flow is a Celery task: `delay`, `apply_async`, `send_task` and `AsyncResult` work on it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from pydantic import BaseModel

from tests.support import Bench, deliver, die, forget_results, revive, take
from worchflow_celery import Event, Execution, ExecutionStatus, Step, Worchflow
from worchflow_celery.attempt import attempt
from worchflow_celery.errors import ExecutionConflict

# Celery's own result backend calls Redis in a way that redis-py deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated")


class Order(BaseModel):
    amount: int


class Receipt(BaseModel):
    total: int
    at: datetime


MOMENT = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def celery_app(bench: Bench) -> Iterator[Celery]:
    app = bench.celery()
    app.conf.update(result_backend=bench.redis_url, task_ignore_result=False)
    yield app
    forget_results(app)
    app.close()


@pytest.fixture
def stranger(bench: Bench) -> Iterator[Celery]:
    """The app of a project that has nothing of the library."""
    app = bench.celery()
    app.conf.update(result_backend=bench.redis_url, task_ignore_result=False)
    yield app
    forget_results(app)
    app.close()


@pytest.fixture(autouse=True)
def flows(worchflow: Worchflow) -> None:
    @worchflow.flow("buy")
    def buy(event: Event[Order]) -> Receipt:
        return Receipt(total=2 * event.data.amount, at=MOMENT)

    @worchflow.flow("echo")
    def echo(event: Event[Any]) -> Any:
        return event.data

    @worchflow.flow("fails")
    def fails(event: Event[Any]) -> None:
        raise ValueError("no")

    @worchflow.flow("crashes")
    def crashes(event: Event[Any], step: Step) -> Any:
        return step.run("once", die if not worchflow.get(event.id).crashes else lambda: event.data)


def the_execution(worchflow: Worchflow) -> Execution:
    (execution,) = worchflow.find()
    return execution


def test_delay_returns_celery_s_result_of_the_execution(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    result = worchflow.flows["buy"].delay({"amount": 3})
    deliver(celery_app)

    assert result.id == the_execution(worchflow).id
    assert result.get(timeout=5) == {"total": 6, "at": "2030-01-02T03:04:05+00:00"}
    assert worchflow.get(result.id).result == Receipt(total=6, at=MOMENT)


def test_the_result_of_a_failed_flow_raises_its_error(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    result = worchflow.flows["fails"].delay()
    deliver(celery_app)

    with pytest.raises(ValueError, match="no"):
        result.get(timeout=5)


def test_a_result_arrives_after_a_crash_too(worchflow: Worchflow, celery_app: Celery) -> None:
    result = worchflow.flows["crashes"].delay(7)
    deliver(celery_app)

    revive(worchflow, result.id)
    deliver(celery_app)

    assert result.get(timeout=5) == 7


def test_a_result_arrives_after_a_crash_between_the_end_and_celery_s_storing_it(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    result = worchflow.flows["echo"].delay(7)
    attempt(worchflow.runtime, worchflow.flows["echo"].definition, result.id)

    deliver(celery_app)  # any late copy of the message; the dispatcher publishes one

    assert result.get(timeout=5) == 7
    assert not bench.collection("executions").count_documents({"follow_up_at": {"$exists": True}})


@pytest.mark.parametrize("ignore", [False, True])
def test_celery_s_setting_for_results_holds_from_the_first_call_on(
    bench: Bench, ignore: bool
) -> None:
    app = bench.celery()
    app.conf.update(result_backend=bench.redis_url, task_ignore_result=ignore)
    worchflow = bench.bind(app)
    flow = worchflow.flow("flow")(lambda event: "done")

    result = flow.delay()
    deliver(app)

    assert result.state == ("PENDING" if ignore else "SUCCESS")
    worchflow.close()
    app.close()


@pytest.mark.parametrize(
    ("options", "kind"),
    [({}, "delay"), ({"link": "echo"}, "canvas"), ({"link_error": "echo"}, "canvas")],
)
def test_the_trigger_tells_how_an_execution_was_started(
    worchflow: Worchflow, options: dict[str, str], kind: str
) -> None:
    links = {name: worchflow.flows[flow].s() for name, flow in options.items()}
    result = worchflow.flows["echo"].apply_async((1,), **links)

    assert worchflow.get(result.id).trigger.kind == kind
    assert worchflow.send("echo").get().trigger.kind == "send"


@pytest.mark.parametrize("option", ["countdown", "eta"])
def test_a_countdown_waits_in_mongodb(bench: Bench, worchflow: Worchflow, option: str) -> None:
    when = {"countdown": 60, "eta": datetime.now(UTC) + timedelta(minutes=1)}[option]

    worchflow.flows["echo"].apply_async((1,), **{option: when})

    execution = the_execution(worchflow)
    assert execution.due_at is not None and execution.due_at > datetime.now(UTC)
    assert bench.messages() == 0


def test_a_task_id_of_one_s_own_is_an_idempotency_key(bench: Bench, worchflow: Worchflow) -> None:
    echo = worchflow.flows["echo"]
    echo.apply_async((1,), task_id="order-1")

    assert echo.apply_async((1,), task_id="order-1").id == "order-1"
    with pytest.raises(ExecutionConflict):
        echo.apply_async((2,), task_id="order-1")
    assert bench.messages() == 1


def test_what_expired_before_its_start_is_cancelled(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    short = worchflow.flow("short", expires=0)(lambda event: "done")

    for_ever = short.apply_async(expires=60)
    late = short.delay()
    deliver(celery_app)

    assert worchflow.get(for_ever.id).status == ExecutionStatus.COMPLETED
    assert worchflow.get(late.id).status == ExecutionStatus.CANCELLED


@pytest.mark.parametrize(("args", "kwargs"), [((5,), {}), ((), {"data": 5}), ([5], None)])
def test_a_project_without_the_library_sends_by_name(
    worchflow: Worchflow, celery_app: Celery, stranger: Celery, args: Any, kwargs: Any
) -> None:
    result = stranger.send_task("echo", args=args, kwargs=kwargs)

    deliver(celery_app)

    assert result.get(timeout=5) == 5
    assert worchflow.get(result.id).status == ExecutionStatus.COMPLETED


def test_what_it_sent_is_durable_once_a_worker_has_it(
    worchflow: Worchflow, celery_app: Celery, stranger: Celery
) -> None:
    result = stranger.send_task("crashes", args=[7])
    deliver(celery_app)

    revive(worchflow, result.id)
    deliver(celery_app)

    assert result.get(timeout=5) == 7


def test_its_message_that_comes_twice_starts_one_execution(
    worchflow: Worchflow, celery_app: Celery, stranger: Celery
) -> None:
    stranger.send_task("echo", args=[7])
    copy = take(celery_app)
    assert copy is not None

    copy.execute()
    copy.execute()

    assert len(the_execution(worchflow).attempts) == 1


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ([{"amount": "many"}], {}),
        ([], {}),
        ([{"amount": 1}, {"amount": 2}], {}),
        ([], {"amount": 1}),
        (["x" * 5_000_000], {}),
    ],
)
def test_invalid_data_that_it_sent_ends_as_a_failed_execution(
    worchflow: Worchflow, celery_app: Celery, stranger: Celery, args: Any, kwargs: Any
) -> None:
    result = stranger.send_task("buy", args=args, kwargs=kwargs)

    deliver(celery_app)

    execution = worchflow.get(result.id)
    assert execution.status == ExecutionStatus.FAILED
    assert execution.error is not None and execution.error.type == "InvalidEventData"
    assert result.state == "FAILURE"


def test_what_it_wants_to_follow_is_continued(
    worchflow: Worchflow, celery_app: Celery, stranger: Celery
) -> None:
    follow = stranger.signature("buy")
    result = stranger.send_task("crashes", args=[{"amount": 4}], link=follow)
    deliver(celery_app)

    revive(worchflow, result.id)
    deliver(celery_app)

    assert [one.flow for one in worchflow.find()] == ["buy", "crashes"]
    assert worchflow.find(flow="buy")[0].result == Receipt(total=8, at=MOMENT)


def test_a_flow_called_directly_is_its_handler(worchflow: Worchflow) -> None:
    event = Event("id", "buy", Order(amount=2), MOMENT, 1)

    assert worchflow.flows["buy"](event) == Receipt(total=4, at=MOMENT)
    assert worchflow.find() == []
