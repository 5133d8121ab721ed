"""What waiting costs, counted: commands, and the documents that MongoDB has to look at."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from tests.integration.commands import Commands
from tests.support import Bench, deliver, dispatcher
from worchflow_celery import Event, Step, Worchflow
from worchflow_celery.clock import utcnow


@dataclass
class Looked:
    """Documents and keys of indexes that MongoDB has looked at."""

    documents: int = 0
    keys: int = 0


@contextmanager
def looking(bench: Bench) -> Iterator[Looked]:
    """A block, and what MongoDB looked at in it."""

    def counts() -> Looked:
        told = bench.client.admin.command("serverStatus")["metrics"]["queryExecutor"]
        return Looked(int(told["scannedObjects"]), int(told["scanned"]))

    looked, before = Looked(), counts()
    yield looked
    after = counts()
    looked.documents = after.documents - before.documents
    looked.keys = after.keys - before.keys


@pytest.mark.parametrize("kind", [None, str])
def test_a_signal_is_one_read_one_insert_and_one_call(
    listener: Commands, bench: Bench, worchflow: Worchflow, celery_app: Celery, kind: Any
) -> None:
    @worchflow.flow("approval")
    def approval(event: Event[Any], step: Step) -> Any:
        return step.wait_for_signal("approve", type=kind)

    handle = approval.send()
    deliver(celery_app)

    with listener.watching(bench.prefix) as stored:
        handle.signal("approve", "yes")

    assert stored == ["find executions", "insert signals", "findAndModify executions"]


@pytest.mark.parametrize("count", [25, 100])
def test_each_of_many_children_costs_the_same(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, count: int
) -> None:
    @worchflow.flow("child")
    def child(event: Event[int]) -> int:
        return event.data

    @worchflow.flow("parent")
    def parent(event: Event[int], step: Step) -> list[int]:
        return step.invoke_all("children", child, range(event.data))

    handle = parent.send(count)
    with looking(bench) as looked:
        deliver(celery_app, most=2 * count)

    assert handle.result(1) == list(range(count))
    assert looked.documents <= 6 * count
    assert looked.keys <= 6 * count


def test_a_dispatcher_does_not_look_at_who_sleeps(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    @worchflow.flow("sleeper")
    def sleeper(event: Event[Any], step: Step) -> None:
        step.sleep("nap", timedelta(days=1))

    sleeper.send(id="first")
    deliver(celery_app)
    executions = bench.collection("executions")
    (first,) = executions.find()
    executions.insert_many(
        {**first, "_id": f"sleeper-{number}", "epoch": 1 + number % 5} for number in range(20_000)
    )
    sweeper = dispatcher(worchflow)
    sweeper.sweep()  # that looks at more, which it does rarely

    with looking(bench) as looked:
        sweeper.sweep()

    assert looked.documents < 50
    assert looked.keys < 200
    assert bench.messages() == 0


def test_what_is_due_is_found_among_those_who_sleep_by_an_index(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    @worchflow.flow("sleeper")
    def sleeper(event: Event[Any], step: Step) -> None:
        step.sleep("nap", timedelta(days=1))

    sleeper.send(id="first")
    deliver(celery_app)
    executions = bench.collection("executions")
    (first,) = executions.find()
    executions.insert_many({**first, "_id": f"sleeper-{number}"} for number in range(5_000))
    due = {"$set": {"due_at": utcnow() - timedelta(seconds=1)}, "$unset": {"not_before": ""}}
    executions.update_many({"_id": {"$in": ["sleeper-7", "sleeper-4000"]}}, due)

    with looking(bench) as looked:
        dispatcher(worchflow).sweep()

    assert looked.documents < 50
    assert bench.messages() == 2
