"""Where the demo takes place: servers, and upon them names that nobody else uses."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymongo
import redis
from celery import Celery

from examples.demo import stopping
from worchflow_celery import servers
from worchflow_celery.servers import Servers

#: How workers learn with what the names of all that the demo stores begin.
PREFIX = "DEMO_PREFIX"

#: Celery would prefer these brokers to the configured one.
ELSEWHERE = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL")


@dataclass(frozen=True, slots=True)
class Place:
    """Running servers, and a directory that goes with them."""

    redis: str
    mongodb: str
    directory: Path


@contextmanager
def settled() -> Iterator[Place]:
    """Servers to be used by this process and its workers; nothing of it is left afterwards."""
    with servers.start() as running:
        os.environ[PREFIX] = name = f"demo-{secrets.token_hex(4)}"
        for variable in ELSEWHERE:
            os.environ.pop(variable, None)
        os.environ["WORCHFLOW_REDIS_URL"] = running.redis_url
        os.environ["WORCHFLOW_DATABASE_URL"] = running.database_url
        try:
            yield Place(running.redis.version, running.mongod.version, running.directory)
        finally:
            stopping.finish()
            _sweep_up(running, name)


def move_in(app: Celery) -> None:
    """Give the app names of its own in MongoDB and Redis, which others may use as well."""
    name = os.environ[PREFIX]
    app.conf.worchflow_prefix = name
    options = app.conf.broker_transport_options
    app.conf.broker_transport_options = {**options, "global_keyprefix": f"{name}."}


def _sweep_up(running: Servers, name: str) -> None:
    """Servers of ours take everything with them; somebody else's are left as they were."""
    if not running.mongod.owned:
        with pymongo.MongoClient[dict[str, object]](running.database_url) as mongo:
            database = mongo.get_default_database("worchflow")
            for collection in database.list_collection_names():
                if collection.startswith(f"{name}_"):
                    database.drop_collection(collection)
    if not running.redis.owned:
        with redis.Redis.from_url(running.redis_url) as broker:
            broker.delete(*broker.scan_iter(f"{name}.*"))
