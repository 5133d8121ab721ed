"""Waits for signals: an execution that waits holds no worker, and is called back."""

from typing import Any

import pytest
from celery import Celery

from tests.support import deliver, dispatcher, eventually
from worchflow_celery import AsyncStep, Event, ExecutionStatus, Step, Worchflow
from worchflow_celery.errors import ExecutionFailed, ExecutionNotFound, InvalidTransition


@pytest.fixture
def approval(worchflow: Worchflow) -> Any:
    @worchflow.flow("approval")
    def approval(event: Event[Any], step: Step) -> Any:
        return step.wait_for_signal("approve")

    return approval


def test_a_signal_calls_the_execution_that_waits_for_it(
    worchflow: Worchflow, celery_app: Celery, approval: Any
) -> None:
    handle = approval.send()
    deliver(celery_app)
    assert handle.status == ExecutionStatus.WAITING

    handle.signal("approve", {"by": "anna"})
    deliver(celery_app)

    assert handle.result(1) == {"by": "anna"}


def test_a_signal_that_comes_early_is_kept(
    worchflow: Worchflow, celery_app: Celery, approval: Any
) -> None:
    handle = approval.send()

    worchflow.signal(handle.id, "approve", 5)
    deliver(celery_app)

    assert handle.result(1) == 5


def test_a_signal_that_comes_while_the_execution_parks_is_not_missed(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    looked: list[str] = []
    first = worchflow.runtime.store.signals.first

    def look(execution_id: str, *given: Any) -> Any:
        found = first(execution_id, *given)
        if not looked:  # it comes after the look, and before the execution is parked
            worchflow.signal(execution_id, "approve", "just in time")
        looked.append(execution_id)
        return found

    @worchflow.flow("late")
    def late(event: Event[Any], step: Step) -> Any:
        worchflow.runtime.store.signals.first = look  # type: ignore[method-assign]
        return step.wait_for_signal("approve")

    handle = late.send()
    deliver(celery_app)

    eventually(lambda: dispatcher(worchflow).sweep() and deliver(celery_app))

    assert handle.result(1) == "just in time"


def test_signals_are_taken_in_the_order_they_came_each_by_one_wait(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    @worchflow.flow("loop")
    def loop(event: Event[Any], step: Step) -> list[Any]:
        return [step.wait_for_signal("item") for _ in range(3)]

    handle = loop.send()
    handle.signal("item", "a")
    handle.signal("item", "b")
    deliver(celery_app)
    assert handle.status == ExecutionStatus.WAITING

    handle.signal("other", "x")
    handle.signal("item", "c")
    deliver(celery_app)

    assert handle.result(1) == ["a", "b", "c"]


def test_a_wait_that_is_not_answered_in_time_returns_none(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    @worchflow.flow("patient")
    def patient(event: Event[Any], step: Step) -> list[Any]:
        return [
            step.wait_for_signal("approve", timeout=0.3),
            step.wait_for_any("first", signals=["a", "b"], timeout=0.3),
        ]

    handle = patient.send()
    deliver(celery_app)

    eventually(
        lambda: dispatcher(worchflow).sweep() and deliver(celery_app) and handle.status.finished
    )

    assert handle.result(1) == [None, None]


def test_the_first_of_several_signals_is_told_by_name(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    @worchflow.flow("either")
    def either(event: Event[Any], step: Step) -> Any:
        answer = step.wait_for_any("answer", signals=["yes", "no"])
        step.sleep("nap", 2)
        return answer

    handle = either.send()
    deliver(celery_app)
    handle.signal("no", "too expensive")
    deliver(celery_app)

    eventually(lambda: dispatcher(worchflow).sweep() and deliver(celery_app))

    assert handle.result(1) == ("no", "too expensive")


def test_of_several_signals_that_came_early_the_earliest_is_taken(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    @worchflow.flow("either")
    def either(event: Event[Any], step: Step) -> list[Any]:
        return [step.wait_for_any("answer", signals=["yes", "no"]) for _ in range(3)]

    handle = either.send()
    for name, data in (("no", 1), ("yes", 2), ("no", 3)):
        handle.signal(name, data)

    deliver(celery_app)

    assert handle.result(1) == [("no", 1), ("yes", 2), ("no", 3)]


def test_a_payload_of_another_type_fails_the_wait_and_is_used_up(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    @worchflow.flow("typed")
    def typed(event: Event[Any], step: Step) -> int:
        number: int = step.wait_for_signal("number", type=int)
        return number

    handle = typed.send()
    handle.signal("number", "no number")
    handle.signal("number", 7)
    deliver(celery_app)
    with pytest.raises(ExecutionFailed, match=r"InvalidEventData.*'number'"):
        handle.result(1)

    handle.retry()
    deliver(celery_app)

    assert handle.result(1) == 7


def test_a_signal_to_nobody_is_refused(
    worchflow: Worchflow, celery_app: Celery, approval: Any
) -> None:
    handle = approval.send()
    handle.signal("approve")
    deliver(celery_app)

    with pytest.raises(ExecutionNotFound):
        worchflow.signal("unknown", "approve")
    with pytest.raises(InvalidTransition, match="completed"):
        handle.signal("approve")
    with pytest.raises(ValueError, match="signal name"):
        handle.signal("")
    with pytest.raises(ValueError, match="'approve'"):
        worchflow.signal(handle.id, "approve", lambda: None)


def test_an_async_flow_waits_alike(worchflow: Worchflow, celery_app: Celery) -> None:
    @worchflow.flow("async")
    async def flow(event: Event[Any], step: AsyncStep) -> Any:
        name, _ = await step.wait_for_any("either", signals=["a", "b"]) or ("", None)
        return name, await step.wait_for_signal("more", type=str)

    handle = flow.send()
    deliver(celery_app)
    handle.signal("b")
    deliver(celery_app)
    handle.signal("more", "text")

    deliver(celery_app)

    assert handle.result(1) == ("b", "text")


@pytest.mark.parametrize(
    "wait",
    [
        lambda step: step.wait_for_signal("approve", timeout=-1),
        lambda step: step.wait_for_signal(""),
        lambda step: step.wait_for_any("any", signals=[]),
        lambda step: step.wait_for_any("any", signals="approve"),
        lambda step: step.wait_for_any("any", signals=[5]),
        lambda step: step.wait_for_signal(5),
        lambda step: step.wait_for_signal("approve", timeout=float("inf")),
        lambda step: step.wait_for_signal("approve", type="no such type"),
        lambda step: step.wait_for_signal("approve", type=5),
    ],
)
def test_a_wait_that_cannot_be_is_a_value_error(
    worchflow: Worchflow, celery_app: Celery, wait: Any
) -> None:
    @worchflow.flow("patient")
    def patient(event: Event[Any], step: Step) -> str:
        with pytest.raises(ValueError):
            wait(step)
        return "refused"

    handle = patient.send()

    deliver(celery_app)

    assert handle.result(1) == "refused"


def test_an_eager_execution_waits_where_it_is(worchflow: Worchflow, celery_app: Celery) -> None:
    @worchflow.flow("eager")
    def eager(event: Event[Any], step: Step) -> Any:
        return step.wait_for_signal("never", timeout=0.2)

    result = eager.apply(args=(None,))

    assert result.get() is None
