"""Children that fail or take too long, and parents that die: each child is begun once."""

from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, deliver, die, dispatcher, eventually, revive
from worchflow_celery import Event, ExecutionStatus, Step, Worchflow, cancelling
from worchflow_celery.errors import ChildFailed, ExecutionFailed, LeaseLost, StepTimeout


@pytest.fixture
def square(worchflow: Worchflow) -> Any:
    @worchflow.flow("square")
    def square(event: Event[int]) -> int:
        if event.data < 0:
            raise ArithmeticError(f"{event.data} is negative")
        return event.data**2

    return square


def test_a_child_that_fails_raises_with_its_id_and_error(
    worchflow: Worchflow, celery_app: Celery, square: Any
) -> None:
    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> Any:
        try:
            step.invoke("child", square, -5)
        except ChildFailed as failure:
            step.sleep("nap", 2)
            return failure.execution_id, failure.error and failure.error.message

    handle = parent.send()
    deliver(celery_app)

    eventually(lambda: dispatcher(worchflow).sweep() and deliver(celery_app))

    child = worchflow.find(flow="square")[0]
    assert handle.result(1) == (child.id, "-5 is negative")


def test_the_first_of_many_children_that_fails_calls_the_parent(
    worchflow: Worchflow, celery_app: Celery, square: Any
) -> None:
    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> Any:
        step.invoke_all("squares", square, [1, -2, 3])

    handle = parent.send()

    deliver(celery_app)

    with pytest.raises(ExecutionFailed, match="-2 is negative"):
        handle.result(1)


def test_another_attempt_has_a_child_of_its_own(worchflow: Worchflow, celery_app: Celery) -> None:
    ran: list[str] = []

    @worchflow.flow("flaky")
    def flaky(event: Event[Any], step: Step) -> str:
        ran.append(event.id)
        if len(ran) == 1:
            raise ConnectionError
        return "done"

    @worchflow.flow("parent", retries=1, retry_delay=0)
    def parent(event: Event[Any], step: Step) -> Any:
        return step.invoke("child", flaky)

    handle = parent.send()

    deliver(celery_app)

    assert handle.result(1) == "done"
    assert len(set(ran)) == 2


def test_a_child_that_takes_too_long_is_a_step_timeout(
    worchflow: Worchflow, celery_app: Celery, bench: Bench
) -> None:
    @worchflow.flow("slow")
    def slow(event: Event[Any], step: Step) -> None:
        step.sleep("nap", 3600)

    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> str:
        with pytest.raises(StepTimeout, match=r"0\.2 s"):
            step.invoke("child", slow, timeout=0.2)
        return "given up"

    handle = parent.send()
    deliver(celery_app)

    eventually(lambda: dispatcher(worchflow).sweep() and deliver(celery_app))

    assert handle.result(1) == "given up"


@pytest.mark.parametrize("how", ["invoke", "invoke_all"])
def test_a_parent_that_dies_while_it_gives_a_child_up_has_a_step_timeout_all_the_same(
    worchflow: Worchflow, celery_app: Celery, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    lives: list[str] = []
    cancel_children = cancelling.cancel_children

    def dying(runtime: Any, execution_id: str, key: str | None = None, **more: Any) -> None:
        cancel_children(runtime, execution_id, key, **more)
        lives.append(execution_id)
        if len(lives) == 1:
            die()

    monkeypatch.setattr(cancelling, "cancel_children", dying)

    @worchflow.flow("slow")
    def slow(event: Event[Any], step: Step) -> None:
        step.sleep("nap", 3600)

    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> str:
        with pytest.raises(StepTimeout):
            getattr(step, how)("child", slow, [1, 2], timeout=0.2)
        return "given up"

    handle = parent.send()
    deliver(celery_app)
    eventually(lambda: [dispatcher(worchflow).sweep(), deliver(celery_app)] and lives)

    revive(worchflow, handle.id)
    deliver(celery_app)

    assert handle.result(1) == "given up"
    assert {one.status for one in worchflow.find(flow="slow")} == {ExecutionStatus.CANCELLED}


@pytest.mark.parametrize("how", ["invoke", "send"])
def test_a_parent_that_dies_before_it_notes_its_child_starts_none_twice(
    worchflow: Worchflow, celery_app: Celery, square: Any, how: str
) -> None:
    lives: list[int] = []
    insert_many = worchflow.runtime.store.executions.insert_many

    def dying(many: Any) -> Any:
        insert_many(many)
        lives.append(1)
        if len(lives) == 1:
            die()
        return set()

    worchflow.runtime.store.executions.insert_many = dying  # type: ignore[method-assign]

    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> Any:
        return getattr(step, how)("child", square, 3)

    handle = parent.send()
    deliver(celery_app)

    revive(worchflow, handle.id)
    eventually(
        lambda: [dispatcher(worchflow).sweep(), deliver(celery_app)] and handle.status.finished,
        within=15,
    )

    (child,) = worchflow.find(flow="square")
    assert handle.result(1) == (9 if how == "invoke" else child.id)


def test_a_child_that_ends_before_its_parent_has_parked_is_not_missed(
    worchflow: Worchflow, celery_app: Celery, square: Any
) -> None:
    attempts, parked = worchflow.runtime.store.attempts, []
    settle = attempts.settle

    def late(claim: Any, settlement: Any, **more: Any) -> bool:
        if settlement.status == "waiting" and not parked:
            parked.append(settlement.awaits)
            deliver(celery_app)  # the child comes to its end
        return settle(claim, settlement, **more)

    attempts.settle = late  # type: ignore[method-assign]

    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> Any:
        return step.invoke("child", square, 3)

    handle = parent.send()
    deliver(celery_app)

    eventually(lambda: dispatcher(worchflow).sweep() and deliver(celery_app))

    assert len(parked) == 1
    assert handle.result(1) == 9


def test_a_child_that_is_not_heard_of_calls_its_parent_all_the_same(
    worchflow: Worchflow, celery_app: Celery, bench: Bench, square: Any
) -> None:
    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> Any:
        return step.invoke("child", square, 3)

    call = worchflow.runtime.store.calls.call
    worchflow.runtime.store.calls.call = lambda *_: die()  # type: ignore[method-assign]
    handle = parent.send()
    with pytest.raises(LeaseLost):
        deliver(celery_app)
    assert handle.status == ExecutionStatus.WAITING

    worchflow.runtime.store.calls.call = call  # type: ignore[method-assign]
    change = {"$set": {"follow_up_at": handle.get().created_at}}
    bench.collection("executions").update_one({"flow": "square"}, change)
    dispatcher(worchflow).sweep()
    deliver(celery_app)

    assert handle.result(1) == 9
    assert bench.collection("executions").count_documents({"follow_up_at": {"$exists": True}}) == 0


def test_a_flow_that_invokes_itself_without_end_is_stopped(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    @worchflow.flow("endless")
    def endless(event: Event[Any], step: Step) -> Any:
        return step.invoke("again", "endless")

    handle = endless.send()

    deliver(celery_app, most=500)

    with pytest.raises(ExecutionFailed, match="the limit is 100"):
        handle.result(1)
    assert len(worchflow.find(flow="endless", limit=1000)) == 101
