"""An id of one's own choice makes a send idempotent."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from celery import Celery
from pydantic import BaseModel, ConfigDict, Field

from tests.support import Bench, deliver
from worchflow_celery import Event, ExecutionStatus, Worchflow
from worchflow_celery.errors import ExecutionConflict, InvalidOption, WorchflowError


class Payment(BaseModel):
    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    amount: int
    customer_id: str = Field(alias="customerId")


@pytest.fixture(autouse=True)
def flows(worchflow: Worchflow) -> None:
    @worchflow.flow("pay")
    def pay(event: Event[Payment]) -> int:
        return event.data.amount

    @worchflow.flow("anything")
    def anything(event: Event[Any]) -> Any:
        return event.data


@pytest.mark.parametrize(
    "data",
    [
        Payment(amount=5, customer_id="c1"),
        {"amount": 5, "customer_id": "c1"},
        {"amount": "5", "customerId": "c1"},
    ],
)
def test_models_and_dicts_that_mean_the_same_are_equal_data(
    worchflow: Worchflow, data: object
) -> None:
    first = worchflow.flows["pay"].send(Payment(amount=5, customer_id="c1"), id="order-1")

    assert worchflow.flows["pay"].send(data, id="order-1") == first


def test_a_second_send_of_an_id_starts_nothing(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    first = worchflow.flows["anything"].send({"a": 1, "b": 2}, id="order-1")
    deliver(celery_app)

    second = worchflow.flows["anything"].send({"b": 2, "a": 1}, id="order-1")

    assert str(second) == str(first) == "order-1"
    assert second.status == ExecutionStatus.COMPLETED
    assert bench.messages() == 0
    assert len(worchflow.find()) == 1


@pytest.mark.parametrize(("flow", "data"), [("anything", 2), ("anything", "1"), ("other", 1)])
def test_an_id_stands_for_one_flow_and_one_input(
    worchflow: Worchflow, flow: str, data: object
) -> None:
    worchflow.send("anything", 1, id="order-1")

    with pytest.raises(ExecutionConflict, match="order-1"):
        worchflow.send(flow, data, id="order-1")

    assert worchflow.get("order-1").data == 1


@pytest.mark.parametrize("id", ["", "with space", "a" * 201, "cron:pay@2030", "ü", 5])
def test_ids_that_cannot_be_are_refused(worchflow: Worchflow, id: Any) -> None:
    with pytest.raises(InvalidOption, match="id is"):
        worchflow.flows["anything"].send(1, id=id)

    assert worchflow.find() == []


def test_of_eight_senders_of_one_id_one_starts_it(bench: Bench, worchflow: Worchflow) -> None:
    together = Barrier(8)

    def send(_: int) -> str:
        together.wait()
        return str(worchflow.flows["anything"].send({"a": 1}, id="order-1"))

    with ThreadPoolExecutor(8) as threads:
        ids = set(threads.map(send, range(8)))

    assert ids == {"order-1"}
    assert bench.messages() == 1


def test_of_eight_senders_of_one_id_with_different_data_one_succeeds(
    bench: Bench, worchflow: Worchflow
) -> None:
    together = Barrier(8)

    def send(number: int) -> type[Exception] | int:
        together.wait()
        try:
            worchflow.flows["anything"].send(number, id="order-1")
        except WorchflowError as error:
            return type(error)
        return number

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(send, range(8)))

    assert answers.count(ExecutionConflict) == 7
    assert worchflow.get("order-1").data in answers
    assert bench.messages() == 1
