"""The app that acceptance tests run in real beats; what these tell is written down."""

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import beat_init

from tests.acceptance.shop import Diary
from worchflow_celery import Event, Worchflow, signals

EVERY_SECOND = "* * * * * *"
TOLD = (
    "scheduler_ready",
    "scheduler_stopped",
    "scheduler_error",
    "leader_acquired",
    "leader_lost",
    "schedule_missed",
)


def build(environment: Mapping[str, str]) -> tuple[Celery, Worchflow, Diary]:
    """The app for a test's place; ``TEST_…`` variables say where and how."""
    prefix = environment["TEST_PREFIX"]
    app = Celery("timed", broker=environment["TEST_REDIS_URL"], set_as_current=False)
    app.conf.update(
        task_default_queue=prefix,
        broker_connection_retry_on_startup=True,
        worker_prefetch_multiplier=1,
        task_ignore_result=True,
    )
    worchflow = Worchflow(
        app,
        database_url=environment["TEST_DATABASE_URL"],
        prefix=prefix,
        leader_ttl=float(environment.get("TEST_TTL", "3")),
        leader_check_interval=float(environment.get("TEST_INTERVAL", "0.5")),
        leader_election=environment.get("TEST_ELECTION") != "no",
        store_timeout=1,
        **given(environment),
    )
    diary = Diary(Path(environment["TEST_DIRECTORY"]))
    for policy in environment.get("TEST_POLICIES", "all").split():
        define(worchflow, policy, diary)
    for flow, options in json.loads(environment.get("TEST_FLOWS", "{}")).items():
        worchflow.flow(flow, **options)(do_nothing)
    add_entries(app, environment.get("TEST_ENTRIES", "").split())
    return app, worchflow, diary


def given(environment: Mapping[str, str]) -> dict[str, Any]:
    """One setting more: ``name=value``, taken as text."""
    name, _, value = environment.get("TEST_SETTING", "").partition("=")
    return {name: value} if name else {}


def define(worchflow: Worchflow, policy: str, diary: Diary) -> None:
    """A flow that is due each second and named for its policy."""

    @worchflow.flow(policy, cron=EVERY_SECOND, missed=policy)
    def flow(event: Event[None]) -> None:
        diary.write("ran", event.id)


def do_nothing(event: Event[None]) -> None:
    """What flows do that are only counted."""


def add_entries(app: Celery, names: list[str]) -> None:
    """Ordinary entries, declared in all of Celery's ways; those of other names are rare."""
    app.conf.beat_schedule = {
        name: {"task": name, "schedule": 1.0 if name == "interval" else 3600.0}
        for name in names
        if name != "periodic"
    }

    def periodic(sender: Celery, **_: Any) -> None:
        sender.add_periodic_task(1.0, sender.signature("periodic"), name="periodic")

    if "periodic" in names:
        app.on_after_finalize.connect(periodic, weak=False)


def change_entries(app: Celery) -> None:
    """When its first window has come, beat's entries become others while it runs."""
    services: list[Any] = []

    def change(**_: Any) -> None:
        scheduler = services[0].scheduler
        scheduler.schedule.pop("removed", None)
        scheduler.update_from_dict(
            {name: {"task": name, "schedule": 1.0} for name in ("added", "changed")}
        )

    beat_init.connect(lambda sender, **_: services.append(sender), weak=False)
    signals.schedule_triggered.connect(change, weak=False)


def die_halfway(**_: Any) -> None:
    """Between the execution of a window, which is stored, and the cursor, which has not moved."""
    os.kill(os.getpid(), signal.SIGKILL)


def tell(diary: Diary, beat: str) -> None:
    """Write each signal down, with the name of the beat and the time."""
    for name in TOLD:

        def receive(name: str = name, **told: Any) -> None:
            detail = told.get("token") or told.get("flow") or type(told.get("error")).__name__
            diary.write(time.time(), beat, name, detail)

        getattr(signals, name).connect(receive, weak=False)


if "TEST_PREFIX" in os.environ:
    app, worchflow, diary = build(os.environ)
    if "TEST_BEAT" in os.environ:
        tell(diary, os.environ["TEST_BEAT"])
    if "TEST_CHANGES" in os.environ:
        change_entries(app)
    if "TEST_DIES" in os.environ:
        signals.execution_updated.connect(die_halfway)
