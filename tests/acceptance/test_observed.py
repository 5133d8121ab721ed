"""What one sees from outside of workers that work."""

import signal
from dataclasses import dataclass

import pytest

from tests.acceptance.stage import SetUp
from tests.support import eventually
from worchflow_celery.observed import Update, WorkerInfo
from worchflow_celery.version import VERSION


@dataclass(frozen=True)
class Seen:
    name: str
    pid: int
    #: While it held a step open.
    working: WorkerInfo
    #: When it had been told to end, and had ended.
    ended: WorkerInfo
    alive_at_the_end: list[WorkerInfo]
    updates: list[Update]


@pytest.fixture(scope="module", params=["prefork", "threads"])
def seen(set_up: SetUp, request: pytest.FixtureRequest) -> Seen:
    with set_up() as stage, stage.worchflow.watch() as watch:
        worker = stage.worker("w", "-P", request.param, "-c", "2").ready()
        handle = stage.send("steps", {"count": 2, "hold": 1})
        stage.wait_for("begin", handle.id, 1)
        working = eventually(
            lambda: next((one for one in stage.worchflow.workers() if one.busy), None), within=15
        )
        stage.open()
        stage.finished(handle)
        updates: list[Update] = []
        eventually(lambda: updates.extend(watch.poll()) or updates[-1].status == "completed")

        worker.signal(signal.SIGTERM)
        worker.process.wait(30)

        (ended,) = stage.worchflow.workers(gone=True)
        alive = stage.worchflow.workers()
        return Seen(f"w@{stage.bench.prefix}", worker.pid, working, ended, alive, updates)


def test_a_worker_tells_who_it_is_and_what_it_can_do(seen: Seen) -> None:
    worker = seen.working

    assert (worker.name, worker.pid, worker.concurrency) == (seen.name, seen.pid, 2)
    assert worker.pool in ("prefork", "thread")
    assert len(worker.queues) == 1
    assert {"steps", "quick"} <= set(worker.flows)
    assert worker.version == VERSION
    assert worker.started_at <= worker.seen_at


def test_a_worker_that_runs_something_is_busy(seen: Seen) -> None:
    assert (seen.working.busy, seen.working.alive) == (1, True)


def test_a_worker_that_has_shut_down_is_gone_and_remembered(seen: Seen) -> None:
    assert seen.alive_at_the_end == []
    assert (seen.ended.id, seen.ended.alive) == (seen.working.id, False)
    assert seen.ended.stopping_at is not None


def test_updates_come_from_the_process_that_runs_the_flow(seen: Seen) -> None:
    steps = [one for one in seen.updates if one.key is not None]

    assert [f"{one.event} {one.key}" for one in steps] == [
        "step_started step",
        "step_completed step",
        "step_started step#2",
        "step_completed step#2",
    ]
    assert {one.worker for one in steps} == {seen.name}
