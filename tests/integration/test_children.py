"""Executions that start others: exactly once, and with what became of them."""

from typing import Any

import pytest
from celery import Celery
from pydantic import BaseModel

from tests.support import deliver
from worchflow_celery import AsyncStep, Event, Step, Worchflow
from worchflow_celery.errors import ExecutionFailed


class Square(BaseModel):
    of: int
    is_: int


@pytest.fixture
def square(worchflow: Worchflow) -> Any:
    @worchflow.flow("square")
    def square(event: Event[int], step: Step) -> Square:
        if event.data < 0:
            raise ArithmeticError(f"{event.data} is negative")
        return Square(of=event.data, is_=event.data**2)

    return square


def test_a_child_runs_and_its_result_has_its_type(
    worchflow: Worchflow, celery_app: Celery, square: Any
) -> None:
    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> Any:
        return step.invoke("child", square, 5), step.invoke("by-id", "square", 6)

    handle = parent.send()

    deliver(celery_app)

    assert handle.result(1) == (Square(of=5, is_=25), Square(of=6, is_=36))
    child = worchflow.find(flow="square")[0]
    assert child.parent_id == handle.id
    assert (child.trigger.kind, child.trigger.ref) == ("child", handle.id)


def test_a_parent_holds_no_worker_while_its_child_runs(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    seen: list[str] = []

    @worchflow.flow("child")
    def child(event: Event[Any], step: Step) -> None:
        seen.append(handle.status)

    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> None:
        step.invoke("child", child)

    handle = parent.send()

    deliver(celery_app)

    assert seen == ["waiting"]
    assert handle.get().attempt == 1


def test_many_children_run_once_each_and_come_back_in_order(
    worchflow: Worchflow, celery_app: Celery, square: Any
) -> None:
    claims: list[int] = []

    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> Any:
        claims.append(1)
        return step.invoke_all("squares", square, range(20))

    handle = parent.send()

    deliver(celery_app)

    assert [one.is_ for one in handle.result(1)] == [number**2 for number in range(20)]
    assert len(worchflow.find(flow="square")) == 20
    assert len(claims) == 2  # it was called once, for the last of them


def test_no_items_need_no_children(worchflow: Worchflow, celery_app: Celery, square: Any) -> None:
    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> Any:
        return step.invoke_all("squares", square, [])

    handle = parent.send()

    deliver(celery_app)

    assert handle.result(1) == []


def test_a_step_can_start_an_execution_and_go_on(
    worchflow: Worchflow, celery_app: Celery, square: Any
) -> None:
    @worchflow.flow("parent", retries=1, retry_delay=0)
    def parent(event: Event[Any], step: Step) -> str:
        child = step.send("child", square, 4)
        if event.attempt == 1:
            raise ConnectionError
        return child

    handle = parent.send()

    deliver(celery_app)

    child = worchflow.get(handle.result(1))
    assert child.result == Square(of=4, is_=16)
    assert child.parent_id == handle.id
    assert len(worchflow.find(flow="square")) == 1


def test_children_of_an_async_flow(worchflow: Worchflow, celery_app: Celery, square: Any) -> None:
    @worchflow.flow("parent")
    async def parent(event: Event[Any], step: AsyncStep) -> Any:
        one = await step.invoke("one", square, 1)
        many = await step.invoke_all("many", square, [2, 3])
        await step.send("sent", square, 4)
        return [one.is_, *[each.is_ for each in many]]

    handle = parent.send()

    deliver(celery_app)

    assert handle.result(1) == [1, 4, 9]


def test_an_eager_parent_has_eager_children(
    worchflow: Worchflow, celery_app: Celery, square: Any
) -> None:
    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> Any:
        return [one.is_ for one in step.invoke_all("squares", square, [1, 2])]

    result = parent.apply(args=(None,))

    assert result.get() == [1, 4]


@pytest.mark.parametrize("flow", [5, None, "no such flow!", object()])
def test_what_is_no_flow_cannot_be_invoked(
    worchflow: Worchflow, celery_app: Celery, flow: Any
) -> None:
    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> str:
        with pytest.raises(ValueError, match="'child'"):
            step.invoke("child", flow)
        return "refused"

    handle = parent.send()

    deliver(celery_app)

    assert handle.result(1) == "refused"


def test_data_that_does_not_fit_the_child_is_refused_where_it_is_sent(
    worchflow: Worchflow, celery_app: Celery, square: Any
) -> None:
    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> None:
        step.invoke("child", square, "five")

    handle = parent.send()

    deliver(celery_app)

    with pytest.raises(ExecutionFailed, match=r"InvalidEventData.*square"):
        handle.result(1)
    assert worchflow.find(flow="square") == []


@pytest.mark.parametrize("items", [5, None])
def test_what_cannot_be_iterated_is_no_children(
    worchflow: Worchflow, celery_app: Celery, square: Any, items: Any
) -> None:
    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> str:
        with pytest.raises(ValueError, match="it must be an iterable"):
            step.invoke_all("children", square, items)
        return "refused"

    handle = parent.send()

    deliver(celery_app)

    assert handle.result(1) == "refused"
