"""Both servers at once, in one directory, with one end."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from worchflow_celery.servers.binaries import MONGOD, REDIS, VARIABLES, locate
from worchflow_celery.servers.launch import Launch
from worchflow_celery.servers.mongo_server import MongoServer
from worchflow_celery.servers.redis_server import RedisServer


class Servers:
    """A running Redis and a running MongoDB."""

    def __init__(
        self, redis: RedisServer, mongod: MongoServer, *, directory: Path, temporary: bool
    ) -> None:
        self.redis = redis
        self.mongod = mongod
        #: Where the data and the logs of what we started are.
        self.directory = directory
        self._temporary = temporary

    @property
    def redis_url(self) -> str:
        return self.redis.url

    @property
    def database_url(self) -> str:
        return self.mongod.url

    def start(self) -> None:
        """Start whatever of the two is not running."""
        self.redis.start()
        self.mongod.start()

    def stop(self) -> None:
        """End what we started, and remove the directory unless it was given to us."""
        try:
            self.mongod.stop()
        finally:
            self.redis.stop()
            if self._temporary:
                shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(
    directory: Path | None = None,
    *,
    redis_options: Sequence[str] = (),
    mongod_options: Sequence[str] = (),
) -> Servers:
    """Start both servers, except those that an environment variable names: these are used as is.

    A given directory is kept, and a later start in it finds its data again.
    """
    urls = {name: os.environ.get(variable, "") for name, variable in VARIABLES.items()}
    binaries = locate(name for name, url in urls.items() if not url)
    temporary = directory is None
    home = (directory or Path(tempfile.mkdtemp(prefix="worchflow-"))).absolute()

    def source(name: str, options: Sequence[str]) -> Launch | str:
        if name not in binaries:
            return urls[name]
        return Launch(binaries[name], home / name, options, temporary=temporary)

    redis, mongod = source(REDIS, redis_options), source(MONGOD, mongod_options)
    servers = Servers(RedisServer(redis), MongoServer(mongod), directory=home, temporary=temporary)
    try:
        servers.start()
    except BaseException:
        servers.stop()
        raise
    return servers
