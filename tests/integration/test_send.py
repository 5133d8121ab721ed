"""From a call to a stored execution and a message: data, times, queues, priorities."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from pydantic import BaseModel, ConfigDict, Field

from tests.support import Bench, deliver, take
from worchflow_celery import Event, ExecutionStatus, Step, Worchflow
from worchflow_celery.errors import InvalidEventData, PayloadTooLarge


class Payment(BaseModel):
    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    amount: int = Field(gt=0)
    customer_id: str = Field(alias="customerId")


@dataclass
class Parcel:
    weight: int


@pytest.fixture
def seen(worchflow: Worchflow) -> list[Event[Any]]:
    """The events that the flows `pay`, `ship` and `anything` were called with."""
    events: list[Event[Any]] = []

    @worchflow.flow("pay")
    def pay(event: Event[Payment]) -> int:
        events.append(event)
        return event.data.amount

    @worchflow.flow("ship")
    def ship(event: Event[Parcel]) -> None:
        events.append(event)

    @worchflow.flow("anything")
    def anything(event: Event[Any]) -> Any:
        events.append(event)
        return event.data

    return events


@pytest.fixture
def elsewhere(bench: Bench) -> Any:
    """Another project's binding: it knows no flow."""
    app = bench.celery()
    bound = bench.bind(app)
    yield bound
    bound.close()
    app.close()


PAYMENTS = [
    Payment(amount=5, customer_id="c1"),
    {"amount": 5, "customer_id": "c1"},
    {"amount": 5, "customerId": "c1"},
    {"amount": "5", "customerId": "c1"},
]


@pytest.mark.parametrize("data", PAYMENTS)
def test_data_reaches_the_handler_as_its_model(
    worchflow: Worchflow, celery_app: Celery, seen: list[Event[Any]], data: object
) -> None:
    handle = worchflow.flows["pay"].send(data)

    deliver(celery_app)

    assert seen[0].data == Payment(amount=5, customer_id="c1")
    assert handle.result(1) == 5


@pytest.mark.parametrize(
    ("flow", "data", "received"),
    [
        ("ship", Parcel(3), Parcel(3)),
        ("ship", {"weight": 3}, Parcel(3)),
        ("anything", None, None),
        ("anything", {"$status": [1, None, {"a.b": "$x"}]}, {"$status": [1, None, {"a.b": "$x"}]}),
        ("anything", 2**70, 2**70),
        ("anything", datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)),
    ],
)
def test_other_data_arrives_as_it_was_sent(
    worchflow: Worchflow,
    celery_app: Celery,
    seen: list[Event[Any]],
    flow: str,
    data: object,
    received: object,
) -> None:
    worchflow.flows[flow].send(data)

    deliver(celery_app)

    assert seen[0].data == received


def test_an_event_tells_what_was_sent_when(
    worchflow: Worchflow, celery_app: Celery, seen: list[Event[Any]]
) -> None:
    handle = worchflow.flows["anything"].send([1])

    deliver(celery_app)

    created = handle.get().created_at
    assert seen == [Event(handle.id, "anything", [1], created, 1)]


@pytest.mark.parametrize(
    "data", [{"amount": 0, "customerId": "c"}, {"amount": 1}, None, "text", [1]]
)
def test_invalid_data_is_refused_and_nothing_is_stored_or_sent(
    bench: Bench, worchflow: Worchflow, seen: list[Event[Any]], data: object
) -> None:
    with pytest.raises(InvalidEventData, match="pay"):
        worchflow.flows["pay"].send(data)
    with pytest.raises(ValueError, match="pay"):
        worchflow.send("pay", data)
    with pytest.raises(InvalidEventData, match="pay"):
        worchflow.flows["pay"].delay(data)

    assert worchflow.find() == []
    assert bench.messages() == 0


def test_data_that_is_too_large_is_refused_and_nothing_is_stored(
    bench: Bench, celery_app: Celery
) -> None:
    worchflow = bench.bind(celery_app, max_payload_bytes=2000)

    @worchflow.flow("anything")
    def anything(event: Event[Any]) -> None: ...

    with pytest.raises(PayloadTooLarge, match="2000"):
        anything.send("x" * 3000)

    assert worchflow.find() == []
    worchflow.close()


def test_the_message_carries_the_id_and_never_the_data(
    bench: Bench, worchflow: Worchflow, seen: list[Event[Any]]
) -> None:
    handle = worchflow.flows["anything"].send({"card": "4111-1111"})

    (message,) = bench.broker().lrange(bench.prefix, 0, -1)

    envelope = json.loads(message)
    assert envelope["headers"]["id"] == handle.id
    assert b"4111" not in message


def test_a_flow_sent_by_name_runs_like_one_sent_by_object(
    worchflow: Worchflow, celery_app: Celery, seen: list[Event[Any]]
) -> None:
    handle = worchflow.send("pay", {"amount": 7, "customerId": "c"})

    deliver(celery_app)

    assert handle.result(1) == 7


def test_a_project_without_the_flow_sends_it_by_name(
    worchflow: Worchflow, celery_app: Celery, seen: list[Event[Any]], elsewhere: Worchflow
) -> None:
    handle = elsewhere.send("pay", {"amount": 7, "customerId": "c"}, id="order-7")

    deliver(celery_app)

    assert seen[0].data == Payment(amount=7, customer_id="c")
    assert handle.result(1) == 7


def test_data_sent_by_name_is_validated_by_the_worker(
    worchflow: Worchflow, celery_app: Celery, seen: list[Event[Any]], elsewhere: Worchflow
) -> None:
    handle = elsewhere.send("pay", {"amount": -1, "customerId": "c"})

    deliver(celery_app)

    execution = handle.get()
    assert execution.status == ExecutionStatus.FAILED
    assert execution.error is not None
    assert execution.error.type == "InvalidEventData"
    assert seen == []


IN_A_MINUTE: list[dict[str, Any]] = [
    {"delay": 60},
    {"delay": timedelta(minutes=1)},
    {"eta": lambda: datetime.now(UTC) + timedelta(minutes=1)},
]


@pytest.mark.parametrize("when", IN_A_MINUTE)
def test_a_delayed_execution_waits_in_mongodb_without_a_message(
    bench: Bench, worchflow: Worchflow, seen: list[Event[Any]], when: dict[str, Any]
) -> None:
    given = {name: value() if callable(value) else value for name, value in when.items()}

    execution = worchflow.flows["anything"].send(1, **given).get()

    assert execution.status == ExecutionStatus.QUEUED
    assert execution.due_at is not None
    assert 58 < (execution.due_at - execution.created_at).total_seconds() < 62
    assert bench.messages() == 0


@pytest.mark.parametrize("when", [{"delay": 0}, {"eta": datetime(2020, 1, 1, tzinfo=UTC)}])
def test_a_time_that_has_come_means_at_once(
    worchflow: Worchflow, celery_app: Celery, seen: list[Event[Any]], when: dict[str, Any]
) -> None:
    handle = worchflow.flows["anything"].send(1, **when)

    deliver(celery_app)

    assert handle.result(1) == 1


def test_a_message_goes_to_the_queue_and_with_the_priority_that_were_asked_for(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, seen: list[Event[Any]]
) -> None:
    queue = f"{bench.prefix}.slow"

    handle = worchflow.flows["anything"].send(1, queue=queue, priority=9)

    assert bench.messages() == 0
    assert bench.broker().llen(f"{queue}\x06\x169") == 1
    assert deliver(celery_app, queue) == [handle.id]


def test_a_flow_s_own_queue_and_priority_hold_unless_others_are_given(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    queue = f"{bench.prefix}.own"

    @worchflow.flow("own", queue=queue, priority=6)
    def own(event: Event[Any], step: Step) -> None: ...

    own.send()
    own.send(priority=0)
    own.delay()

    assert bench.broker().llen(f"{queue}\x06\x166") == 2
    assert bench.broker().llen(queue) == 1


def test_celery_s_routes_choose_the_queue(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, seen: list[Event[Any]]
) -> None:
    celery_app.conf.task_routes = {"any*": {"queue": f"{bench.prefix}.routed"}}

    handle = worchflow.flows["anything"].send(1)

    request = take(celery_app, f"{bench.prefix}.routed")
    assert request is not None and request.id == handle.id
