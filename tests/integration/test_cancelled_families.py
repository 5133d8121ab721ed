"""A cancellation goes down to the children that are waited for, and up to who waits."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, deliver, die, dispatcher, eventually
from worchflow_celery import Event, Step, Worchflow
from worchflow_celery.clock import EPOCH
from worchflow_celery.errors import LeaseLost


@pytest.fixture(autouse=True)
def waits(worchflow: Worchflow) -> None:
    @worchflow.flow("waits")
    def waits(event: Event[Any], step: Step) -> Any:
        return step.wait_for_signal("go")


@pytest.fixture
def family(worchflow: Worchflow) -> Any:
    """A grandparent that waits for a parent, which waits for two children."""

    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> Any:
        step.send("independent", "waits")
        return step.invoke_all("children", "waits", [1, 2])

    @worchflow.flow("grandparent")
    def grandparent(event: Event[Any], step: Step) -> Any:
        return step.invoke("parent", "parent")

    return grandparent


def test_the_children_that_it_waits_for_are_cancelled_too(
    worchflow: Worchflow, celery_app: Celery, family: Any
) -> None:
    handle = family.send()
    deliver(celery_app)

    handle.cancel()
    deliver(celery_app)

    of_flow = {
        flow: sorted(one.status for one in worchflow.find(flow=flow))
        for flow in ("grandparent", "parent", "waits")
    }
    assert of_flow == {
        "grandparent": ["cancelled"],
        "parent": ["cancelled"],
        "waits": ["cancelled", "cancelled", "waiting"],
    }


def test_the_parent_of_a_cancelled_child_hears_of_it(
    worchflow: Worchflow, celery_app: Celery, family: Any
) -> None:
    family.send()
    deliver(celery_app)
    (parent,) = worchflow.find(flow="parent")

    worchflow.cancel(parent.id)
    deliver(celery_app)

    (grandparent,) = worchflow.find(flow="grandparent")
    assert grandparent.error is not None
    assert (grandparent.status, grandparent.error.type) == ("failed", "ChildFailed")


def test_children_are_cancelled_that_a_running_execution_begins_meanwhile(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> Any:
        worchflow.cancel(event.id)
        return step.invoke("child", "waits")

    handle = parent.send()
    deliver(celery_app)

    assert handle.status == "cancelled"
    assert [one.status for one in worchflow.find(flow="waits")] == ["cancelled"]


def test_a_child_that_was_waited_for_too_long_is_cancelled(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> Any:
        return step.invoke("child", "waits", timeout=0.3)

    handle = parent.send()
    deliver(celery_app)
    eventually(lambda: dispatcher(worchflow).sweep() and deliver(celery_app))

    execution = handle.get()
    assert execution.error is not None
    assert execution.error.type == "StepTimeout"
    assert [one.status for one in worchflow.find(flow="waits")] == ["cancelled"]


def test_children_hear_of_it_although_whoever_cancelled_dies_before_it_came_to_them(
    worchflow: Worchflow, celery_app: Celery, bench: Bench, family: Any
) -> None:
    handle = family.send()
    deliver(celery_app)

    with dying_before_the_children(worchflow), pytest.raises(LeaseLost):
        handle.cancel()

    assert [one.status for one in worchflow.find(flow="parent")] == ["waiting"]
    follow_up(worchflow, celery_app, bench)
    assert [one.status for one in worchflow.find(flow="parent")] == ["cancelled"]
    assert len(worchflow.find(flow="waits", status="cancelled")) == 2


def test_children_hear_of_it_although_the_worker_dies_before_it_came_to_them(
    worchflow: Worchflow, celery_app: Celery, bench: Bench
) -> None:
    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> Any:
        worchflow.cancel(event.id)
        return step.invoke("child", "waits")

    handle = parent.send()
    with dying_before_the_children(worchflow, calls=2), pytest.raises(LeaseLost):
        deliver(celery_app)

    assert handle.status == "cancelled"
    follow_up(worchflow, celery_app, bench)
    assert [one.status for one in worchflow.find(flow="waits")] == ["cancelled"]


@contextmanager
def dying_before_the_children(worchflow: Worchflow, calls: int = 1) -> Iterator[None]:
    """The process ends when it asks so often which children there are."""
    children = worchflow.runtime.store.children
    asked: list[str] = []
    unfinished = children.unfinished

    def dying(parent_id: str, key: str | None = None) -> list[str]:
        asked.append(parent_id)
        if len(asked) == calls:
            die()
        return unfinished(parent_id, key)

    children.unfinished = dying  # type: ignore[method-assign]
    yield
    children.unfinished = unfinished  # type: ignore[method-assign]


def follow_up(worchflow: Worchflow, app: Celery, bench: Bench) -> None:
    """Let a dispatcher see to what a crash left, and run what waits."""
    late = {"follow_up_at": {"$exists": True}}
    past = {"$set": {"follow_up_at": EPOCH}}
    assert bench.collection("executions").update_many(late, past).modified_count == 1
    dispatcher(worchflow).sweep()
    deliver(app)
    assert bench.collection("executions").count_documents(late) == 0
