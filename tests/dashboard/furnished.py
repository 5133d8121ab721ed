"""Dashboards in this process for a browser: one of an empty shop, one where everything happened."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from celery import Celery

from tests.dashboard.conftest import FAILING, PAYMENT, furnished
from tests.support import Bench, deliver, die, eventually
from worchflow_celery import Event, Step, Worchflow
from worchflow_celery.clock import utcnow
from worchflow_celery.dashboard.serving import server
from worchflow_celery.models import Window
from worchflow_celery.observed import WorkerInfo
from worchflow_celery.windows import line_of


@contextmanager
def bound(bench: Bench, **settings: Any) -> Iterator[tuple[Celery, Worchflow]]:
    """The shop with the flows that end, and one for each way of not ending."""
    app = bench.celery()
    worchflow = furnished(bench.bind(app, **settings))

    @worchflow.flow("again", retries=3, retry_delay=3600)
    def again(event: Event[Any], step: Step) -> None:
        step.log("asking", provider="acme")
        step.run("Ask", lambda: 1 / 0)

    @worchflow.flow("approve")
    def approve(event: Event[Any], step: Step) -> Any:
        step.progress(0.5, "half of it")
        return step.wait_for_signal("answer")

    @worchflow.flow("stuck")
    def stuck(event: Event[Any], step: Step) -> Any:
        step.run("Check", lambda: {"checked": True})
        return step.run("Wait", die)

    yield app, worchflow
    worchflow.close()
    app.close()


def fill(bench: Bench, app: Celery, worchflow: Worchflow) -> dict[str, str]:
    """Let everything happen that pages show: ids of executions by what became of them."""
    sent = {
        "completed": worchflow.send("pay", PAYMENT),
        "failed": worchflow.send("pay", FAILING),
        "retrying": worchflow.send("again", {"text": "<b>" + "long " * 300}),
        "waiting": worchflow.send("approve", {"order": 1}),
        "processing": worchflow.send("stuck"),
        "parent": worchflow.send("parent"),
    }
    deliver(app)
    sent["queued"] = worchflow.send("pay", PAYMENT, delay=3600)
    sent["cancelled"] = worchflow.send("pay", PAYMENT, delay=3600)
    sent["paused"] = worchflow.send("pay", PAYMENT, delay=3600)
    sent["cancelled"].cancel()
    worchflow.pause(sent["paused"].id)
    for action in ("cancel", "pause"):
        worchflow.audit.record(action, sent["cancelled"].id, who="ana")
    _figures(bench, worchflow)
    _windows(worchflow)
    _workers(worchflow)
    return {name: handle.id for name, handle in sent.items()}


def _figures(bench: Bench, worchflow: Worchflow) -> None:
    """Counted minutes, of executions that cannot be read."""
    ended = utcnow().replace(second=30, microsecond=0) - timedelta(minutes=20)
    begun = {"started_at": ended - timedelta(seconds=2), "created_at": ended - timedelta(seconds=3)}
    for status in ("completed", "failed"):
        found = {"flow": "pay", "status": status, "finished_at": ended, **begun}
        bench.collection("executions").insert_one({"_id": f"broken-{status}", **found})
    rollups = worchflow.runtime.store.rollups
    while rollups.advance():
        pass


def _windows(worchflow: Worchflow) -> None:
    now = utcnow().replace(microsecond=0)
    schedules = worchflow.runtime.store.schedules
    schedules.begin([line_of(worchflow.flows["nightly"].definition)])
    outcomes = ["fired", "missed-ran", "missed-skipped", "overlap-skipped"]
    windows = [
        Window(
            flow="nightly",
            scheduled_for=now - timedelta(days=number),
            fired_at=now,
            outcome=outcome,  # type: ignore[arg-type]
            execution_id=f"cron:nightly@{number}" if number < 2 else None,
            reason=None if number == 0 else "no leader fired it",
        )
        for number, outcome in enumerate(outcomes)
    ]
    schedules.decide(windows)


def _workers(worchflow: Worchflow) -> None:
    facts = dict.fromkeys(WorkerInfo.model_fields, None)
    facts |= {"host": "vm", "pid": 7, "pool": "prefork", "concurrency": 4, "busy": 1}
    facts |= {"queues": ["default"], "flows": ["pay", "plain"], "version": "0.1.0"}
    for name in ("id", "started_at", "seen_at", "stopping_at"):
        facts.pop(name, None)
    for number, version in enumerate(("3f2a91c", "3f2a91d", "3f2a91d")):
        named = {**facts, "name": f"celery@vm{number}", "code_version": version}
        worchflow.runtime.store.workers.seen(f"celery@vm{number}:7", named)
    worchflow.runtime.store.workers.stops("celery@vm2:7")


@contextmanager
def serving(app: Celery, **options: Any) -> Iterator[str]:
    """A dashboard in a thread: its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    served = server(app, "127.0.0.1", port, **options)
    thread = threading.Thread(target=served.run)
    thread.start()
    try:
        eventually(lambda: served.started, within=20, what="the dashboard")
        yield f"http://127.0.0.1:{port}"
    finally:
        served.should_exit = True
        thread.join(20)
