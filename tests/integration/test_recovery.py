"""Executions whose worker, pool process, broker or code is gone, and what becomes of them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from celery import signals as celery_signals
from celery.contrib.testing.worker import start_worker

from tests.support import Bench, bring_forward, deliver, die, dispatcher, eventually
from worchflow_celery import Event, ExecutionStatus, Worchflow
from worchflow_celery.clock import utcnow
from worchflow_celery.publisher import express_queue
from worchflow_celery.runtime import host
from worchflow_celery.store.records import Owner


@pytest.fixture(autouse=True)
def flows(worchflow: Worchflow) -> None:
    @worchflow.flow("quick")
    def quick(event: Event[Any]) -> str:
        return "done"

    @worchflow.flow("dies")
    def dies(event: Event[Any]) -> None:
        die()


@contextmanager
def worker(app: Celery, pool: str) -> Iterator[None]:
    """A real worker in a thread of this process, which leaves its logging as it is."""

    def leave_it(**_: object) -> None: ...

    celery_signals.setup_logging.connect(leave_it)
    try:
        with start_worker(app, pool=pool, perform_ping_check=False):
            yield
    finally:
        celery_signals.setup_logging.disconnect(leave_it)


def express(bench: Bench) -> int:
    return int(bench.broker().llen(express_queue(bench.prefix)))


@pytest.fixture
def cut_off(bench: Bench, worchflow: Worchflow) -> Iterator[Worchflow]:
    """A worker whose broker does not answer."""
    app = bench.celery()
    app.conf.broker_url = "redis://127.0.0.1:1/0"
    bound = bench.bind(app)
    bound.flow("quick")(lambda event: None)
    yield bound
    bound.close()
    app.close()


def test_while_the_broker_is_away_nothing_is_counted_as_published(
    bench: Bench, worchflow: Worchflow, cut_off: Worchflow
) -> None:
    handle = worchflow.send("quick", delay=3600)
    bring_forward(bench, handle.id)

    dispatcher(cut_off).sweep()

    found = bench.collection("executions").find_one({"_id": handle.id})
    assert found is not None and found["publishes"] == 0
    assert found["due_at"] <= utcnow()
    dispatcher(worchflow).sweep()
    assert bench.messages() == 1


def test_a_silent_execution_is_suspected_and_then_taken_over(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    handle = worchflow.send("dies")
    deliver(celery_app)
    executions = bench.collection("executions")
    sweeper = dispatcher(worchflow)
    bring_forward(bench, handle.id)

    sweeper.sweep()
    suspected, status = executions.find_one({"_id": handle.id}), handle.status
    long_ago = utcnow() - timedelta(seconds=60)
    executions.update_one({"_id": handle.id}, {"$set": {"suspect.at": long_ago}})
    sweeper.sweep()

    assert suspected is not None and suspected["suspect"]["beat"] == suspected["beat"]
    assert status == ExecutionStatus.PROCESSING
    assert handle.get().crashes == 1
    assert express(bench) == 1


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that waits to be killed, as a pool process may be."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with process:
        yield process
        process.kill()


def test_executions_of_a_dead_pool_process_are_released_at_once(
    bench: Bench, worchflow: Worchflow, child: "subprocess.Popen[bytes]"
) -> None:
    handle = worchflow.send("quick")
    bench.broker().delete(bench.prefix)
    owner = Owner("w1@test", host(), child.pid, os.getpid())
    assert worchflow.runtime.store.attempts.claim(handle.id, "quick", "token", owner)
    sweeper = dispatcher(worchflow, child.pid)
    sweeper.sweep()
    before = handle.status

    child.kill()
    eventually(lambda: sweeper.sweep() and handle.status != before)

    assert before == ExecutionStatus.PROCESSING
    assert (handle.status, handle.get().crashes) == (ExecutionStatus.QUEUED, 1)
    assert express(bench) == 1


@pytest.fixture
def stranger(bench: Bench) -> Iterator[Celery]:
    """The app of a worker that has not been deployed yet: it knows none of the flows."""
    app = bench.celery()
    bound = bench.bind(app)
    yield app
    bound.close()
    app.close()


def test_a_worker_that_does_not_know_the_flow_leaves_it_to_one_that_does(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, stranger: Celery
) -> None:
    handle = worchflow.send("quick")

    with worker(stranger, "solo"):
        eventually(lambda: bench.messages() == 0)
    status = handle.status
    bring_forward(bench, handle.id)
    dispatcher(worchflow).sweep()
    deliver(celery_app)

    assert status == ExecutionStatus.QUEUED
    assert handle.result(1) == "done"


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_worker_sweeps_beside_its_tasks(
    worchflow: Worchflow, celery_app: Celery, pool: str
) -> None:
    with worker(celery_app, pool):
        handle = worchflow.send("quick", delay=0.2)

        assert handle.result(timeout=10) == "done"
