"""The list of workers, from what their dispatchers write."""

from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, dispatcher
from worchflow_celery import Worchflow
from worchflow_celery.clock import utcnow
from worchflow_celery.recovery import Sweeper


@pytest.fixture
def sweeper(worchflow: Worchflow) -> Sweeper:
    """Of a worker that has swept once."""
    found = dispatcher(worchflow)
    found.sweep()
    return found


def document(bench: Bench) -> dict[str, Any]:
    found = bench.collection("workers").find_one()
    assert found is not None
    return found


def seen_before(bench: Bench, seconds: float) -> None:
    """Turn the clock for the one worker."""
    moment = utcnow() - timedelta(seconds=seconds)
    bench.collection("workers").update_one({}, {"$set": {"seen_at": moment}})


def test_a_worker_that_sweeps_is_listed(worchflow: Worchflow, sweeper: Sweeper) -> None:
    (worker,) = worchflow.workers()

    assert worker.alive
    assert worker.queues == [worchflow.app.main]


@pytest.mark.parametrize(("seconds", "alive"), [(12, True), (17, False)])
def test_a_worker_that_misses_three_heartbeats_is_gone(
    bench: Bench, worchflow: Worchflow, sweeper: Sweeper, seconds: float, alive: bool
) -> None:
    seen_before(bench, seconds)

    assert [one.alive for one in worchflow.workers(gone=True)] == [alive]
    assert len(worchflow.workers()) == alive


def test_a_worker_keeps_its_start_over_its_heartbeats(
    bench: Bench, worchflow: Worchflow, sweeper: Sweeper
) -> None:
    started = document(bench)["started_at"]

    dispatcher(worchflow).sweep()

    again = document(bench)
    assert again["started_at"] == started
    assert again["seen_at"] > started


def test_a_worker_is_forgotten_a_day_after_its_last_heartbeat(
    bench: Bench, sweeper: Sweeper
) -> None:
    found = document(bench)

    assert found["expires_at"] - found["seen_at"] == timedelta(days=1)
    index = bench.collection("workers").index_information()["expired"]
    assert index["expireAfterSeconds"] == 0


def test_the_version_of_the_users_code_is_told(bench: Bench, celery_app: Celery) -> None:
    worchflow = bench.bind(celery_app, code_version="a1b2c3")

    dispatcher(worchflow).sweep()

    assert [one.code_version for one in worchflow.workers()] == ["a1b2c3"]
    worchflow.close()


def test_what_is_none_of_ours_among_the_workers_is_passed_over(
    bench: Bench, worchflow: Worchflow, sweeper: Sweeper
) -> None:
    bench.collection("workers").insert_many([{"_id": "x"}, {"_id": "y", "seen_at": "now"}])

    assert len(worchflow.workers(gone=True)) == 1
