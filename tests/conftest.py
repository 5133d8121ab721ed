"""Real servers for a session, and for each test an app of its own upon them."""

import uuid
from collections.abc import Iterator

import pytest
from celery import Celery, _state

from tests.support import Bench
from worchflow_celery import Worchflow, servers
from worchflow_celery.servers import Servers


@pytest.fixture(autouse=True)
def _tasks_of_one_test_only() -> Iterator[None]:
    """Celery registers a shared task in every app that is made later; not here."""
    before = set(_state._on_app_finalizers)
    yield
    _state._on_app_finalizers.intersection_update(before)


@pytest.fixture(scope="session")
def running_servers() -> Iterator[Servers]:
    with servers.start() as running:
        yield running


@pytest.fixture
def bench(running_servers: Servers) -> Iterator[Bench]:
    """Names and addresses that no other test uses; what a test made there is removed after it."""
    place = Bench(
        redis_url=running_servers.redis_url,
        database_url=running_servers.database_url,
        prefix=f"t{uuid.uuid4().hex[:10]}",
    )
    yield place
    place.clean()


@pytest.fixture
def celery_app(bench: Bench) -> Iterator[Celery]:
    app = bench.celery()
    yield app
    app.close()


@pytest.fixture
def worchflow(celery_app: Celery, bench: Bench) -> Iterator[Worchflow]:
    """A binding whose flows a test defines itself; nothing runs them but the test."""
    bound = bench.bind(celery_app)
    yield bound
    bound.close()
