"""Scenarios: a module's fixture plays one, once, and each test states one fact of it."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.acceptance.console import Console, console
from tests.acceptance.stage import SetUp, Stage, staged
from tests.acceptance.world import SEED, World, world_of
from tests.support import Bench
from worchflow_celery.servers import Servers


@pytest.fixture(scope="session")
def set_up(running_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> SetUp:
    """A stage on the servers that all tests share, or on those whose URLs it is given."""
    redis_url, database_url = running_servers.redis_url, running_servers.database_url

    @contextmanager
    def on_stage(**given: str) -> Iterator[Stage]:
        urls = {"redis_url": redis_url, "database_url": database_url}
        urls |= {name: given.pop(name) for name in urls if name in given}
        bench = Bench(**urls, prefix=f"t{uuid.uuid4().hex[:10]}")
        try:
            with staged(bench, tmp_path_factory.mktemp("stage"), **given) as stage:
                yield stage
        finally:
            if bench.database_url == database_url:
                replace(bench, redis_url=redis_url).clean()

    return on_stage


@pytest.fixture(scope="module")
def desk(running_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console on a place of its own, for all tests of a module."""
    urls = running_servers.redis_url, running_servers.database_url
    bench = Bench(*urls, prefix=f"t{uuid.uuid4().hex[:10]}")
    with console(bench, tmp_path_factory.mktemp("console")) as made:
        yield made
    bench.clean()


@pytest.fixture(scope="session", params=[SEED], ids="seed-{}".format)
def world(set_up: SetUp, request: pytest.FixtureRequest) -> World:
    """What is left of many composed executions under kills; the seed is in the tests' names."""
    return world_of(set_up, request.param)
