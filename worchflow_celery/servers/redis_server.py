"""The Redis server: nothing on disk unless its options ask for it."""

from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worchflow_celery.servers.binaries import REDIS
from worchflow_celery.servers.child import Child
from worchflow_celery.servers.launch import HOST, Identity, Launch
from worchflow_celery.servers.server import Server

DEFAULT_PORT = 6379


class RedisServer(Server):
    """A broker that forgets everything when it stops, as a broker is allowed to."""

    name = REDIS
    errors = (redis.RedisError, ValueError)

    def _url_at(self, port: int) -> str:
        return f"redis://{HOST}:{port}/0"

    def _command(self, launch: Launch, port: int) -> list[str]:
        fixed = ["--bind", HOST, "--port", str(port), "--dir", str(launch.directory)]
        return launch.command(fixed, {"--save": "", "--appendonly": "no"})

    def _identify(self, port: int) -> Identity | None:
        try:
            return _identity(self._url_at(port), timeout=1)
        except self.errors:
            return None

    def _make_writable(self, child: Child, port: int) -> None:
        """Do nothing: Redis takes writes from its first answer on."""

    def _look(self, url: str) -> tuple[int, str]:
        return urlsplit(url).port or DEFAULT_PORT, _identity(url, timeout=5).version


def _identity(url: str, *, timeout: float) -> Identity:
    client = redis.Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),  # who asks has a loop of its own
    )
    with client:
        client.ping()  # unlike INFO, this is refused while a file is still being loaded
        info = client.info("server")
        return Identity(pid=int(info["process_id"]), version=str(info["redis_version"]))
