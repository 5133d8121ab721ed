"""How long finished executions are kept, and how they are removed."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, deliver, dispatcher
from worchflow_celery import Event, ExecutionStatus, Step, Worchflow
from worchflow_celery.errors import ExecutionNotFound, InvalidTransition

RETENTION = 3600.0


@pytest.fixture
def worchflow(bench: Bench, celery_app: Celery) -> Iterator[Worchflow]:
    bound = bench.bind(celery_app, retention=RETENTION)

    @bound.flow("act")
    def act(event: Event[str], step: Step) -> str:
        step.run("step", lambda: 1)
        step.run("step", lambda: 2)
        if event.data == "fail" and bound.get(event.id).trigger.kind != "retry":
            raise ValueError
        return "done"

    @bound.flow("retried", retries=1, retry_delay=3600)
    def retried(event: Event[Any]) -> None:
        raise ConnectionError

    yield bound
    bound.close()


def finish(worchflow: Worchflow, celery_app: Celery, data: str = "") -> str:
    id = worchflow.send("act", data).id
    deliver(celery_app)
    return id


def age(bench: Bench, execution_id: str, seconds: float) -> None:
    """Let an execution have ended so long ago."""
    executions = bench.collection("executions")
    found = executions.find_one({"_id": execution_id})
    assert found is not None
    older = {"expires_at": found["expires_at"] - timedelta(seconds=seconds)}
    executions.update_one({"_id": execution_id}, {"$set": older})


def stored(bench: Bench, execution_id: str) -> tuple[int, int]:
    """How many executions and steps are there of an id."""
    steps = {"_id": {"$regex": f"^{execution_id} "}}
    return (
        bench.collection("executions").count_documents({"_id": execution_id}),
        bench.collection("steps").count_documents(steps),
    )


@pytest.mark.parametrize("data", ["", "fail"])
def test_a_finished_execution_and_its_steps_are_removed_after_their_retention(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, data: str
) -> None:
    id = finish(worchflow, celery_app, data)
    before = stored(bench, id)
    age(bench, id, RETENTION + 1)

    dispatcher(worchflow).sweep()

    assert (before, stored(bench, id)) == ((1, 2), (0, 0))
    with pytest.raises(ExecutionNotFound):
        worchflow.get(id)


def test_a_cancelled_execution_is_removed_too(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    id = worchflow.flows["act"].apply_async(("",), expires=0).id
    deliver(celery_app)
    assert worchflow.get(id).status == ExecutionStatus.CANCELLED
    age(bench, id, RETENTION + 1)

    dispatcher(worchflow).sweep()

    assert stored(bench, id) == (0, 0)


def test_within_its_retention_an_execution_is_kept(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    id, other = (finish(worchflow, celery_app) for _ in range(2))
    age(bench, id, RETENTION - 10)
    age(bench, other, RETENTION + 1)

    dispatcher(worchflow).sweep()

    assert (stored(bench, id), stored(bench, other)) == ((1, 2), (0, 0))


def test_the_steps_of_a_namesake_are_kept(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    ids = ["order", "order-1", "order/1", "order.1"]
    for id in ids:
        worchflow.send("act", "", id=id)
    deliver(celery_app)
    age(bench, "order", RETENTION + 1)

    dispatcher(worchflow).sweep()

    assert [stored(bench, id)[0] for id in ids] == [0, 1, 1, 1]
    assert bench.collection("steps").count_documents({}) == 6


@pytest.mark.parametrize("send", [{"flow": "act", "delay": 3600}, {"flow": "retried"}])
def test_an_unfinished_execution_never_expires(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, send: dict[str, Any]
) -> None:
    id = worchflow.send(data="", **send).id
    deliver(celery_app)

    document = bench.collection("executions").find_one({"_id": id})

    assert document is not None and "expires_at" not in document


def test_a_manual_retry_within_the_retention_takes_the_end_back(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    id = finish(worchflow, celery_app, "fail")
    age(bench, id, RETENTION + 1)

    worchflow.retry(id)
    dispatcher(worchflow).sweep()
    kept = stored(bench, id)
    deliver(celery_app)

    assert kept == (1, 2)
    assert worchflow.handle(id).result(1) == "done"


def test_after_a_retry_the_retention_begins_anew(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    id = finish(worchflow, celery_app, "fail")
    worchflow.retry(id)
    deliver(celery_app)

    document = bench.collection("executions").find_one({"_id": id})

    assert document is not None
    ends = document["finished_at"] + timedelta(seconds=RETENTION)
    assert document["expires_at"] == ends


def test_what_is_being_removed_can_not_be_retried(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    id = finish(worchflow, celery_app, "fail")
    mark = {"$set": {"purging": True}}
    bench.collection("executions").update_one({"_id": id}, mark)

    with pytest.raises(InvalidTransition):
        worchflow.retry(id)


def test_a_removal_that_was_interrupted_is_completed_by_the_next(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    id = finish(worchflow, celery_app)
    age(bench, id, RETENTION + 1)
    bench.collection("executions").update_one({"_id": id}, {"$set": {"purging": True}})
    bench.collection("steps").delete_one({"_id": f"{id} step"})

    dispatcher(worchflow).sweep()

    assert stored(bench, id) == (0, 0)


def test_without_a_retention_everything_is_kept(bench: Bench, celery_app: Celery) -> None:
    worchflow = bench.bind(celery_app)
    worchflow.flow("act")(lambda event: "done")
    id = finish(worchflow, celery_app)

    document = bench.collection("executions").find_one({"_id": id})

    assert document is not None and "expires_at" not in document
    worchflow.close()


def test_an_id_is_free_again_after_its_removal(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    worchflow.send("act", "first", id="order-1")
    deliver(celery_app)
    age(bench, "order-1", RETENTION + 1)
    dispatcher(worchflow).sweep()

    handle = worchflow.send("act", "second", id="order-1")
    deliver(celery_app)

    assert (handle.get().data, handle.result(1)) == ("second", "done")
