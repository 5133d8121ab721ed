"""Scenarios: a module's fixture plays one, once, and each test states one fact of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.acceptance.stage import SetUp, Stage, staged
from worchflow_celery.servers import Servers


@pytest.fixture(scope="module")
def set_up(running_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> SetUp:
    """A stage on the servers that all tests share, or on those whose URLs it is given."""
    shared = {
        "redis_url": running_servers.redis_url,
        "database_url": running_servers.database_url,
    }

    @contextmanager
    def on_stage(**given: str) -> Iterator[Stage]:
        with staged(tmp_path_factory.mktemp("stage"), **{**shared, **given}) as stage:
            yield stage

    return on_stage
