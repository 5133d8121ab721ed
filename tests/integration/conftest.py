"""Flows, schedules and schedulers of a test's own app."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from pymongo import monitoring

from tests.integration.commands import Commands
from tests.integration.limited import Held
from tests.integration.schedules import Clockwork
from tests.support import Bench, deliver
from worchflow_celery import Execution, Scheduler, Worchflow


@pytest.fixture(scope="session")
def listener() -> Commands:
    """Known to all clients from now on: pymongo has no way to leave it out again."""
    commands = Commands()
    monitoring.register(commands)
    return commands


@pytest.fixture
def run(worchflow: Worchflow, celery_app: Celery) -> Callable[..., Execution]:
    """Define a flow, send it, run its attempts until none is left; return its execution."""

    def run(handler: Callable[..., Any], **options: Any) -> Execution:
        handle = worchflow.flow("flow", retry_delay=0, **options)(handler).send()
        deliver(celery_app)
        return handle.get()

    return run


@pytest.fixture
def clockwork(bench: Bench, worchflow: Worchflow) -> Clockwork:
    return Clockwork(bench, worchflow)


@pytest.fixture
def alone(bench: Bench, celery_app: Celery) -> Iterator[Worchflow]:
    """The binding of an app whose schedulers need no election."""
    bound = bench.bind(celery_app, leader_election=False)
    yield bound
    bound.close()


@pytest.fixture
def scheduler(celery_app: Celery) -> Iterator[Callable[..., Scheduler]]:
    """Makes schedulers of the app with a beat schedule; they are closed after the test."""
    made: list[Scheduler] = []

    def make(**entries: dict[str, Any]) -> Scheduler:
        celery_app.conf.beat_schedule = entries
        made.append(Scheduler(celery_app))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def one_at_a_time(worchflow: Worchflow, celery_app: Celery) -> Held:
    return Held(worchflow, celery_app, concurrency=1)


@pytest.fixture
def one_per_customer(worchflow: Worchflow, celery_app: Celery) -> Held:
    return Held(worchflow, celery_app, concurrency=1, concurrency_key=lambda data: data.split()[0])
