"""What all parts of one app share in one process: its settings and its doors."""

import logging
import os
import socket
import threading
from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any
from weakref import WeakSet

from celery import Celery
from celery.backends.base import DisabledBackend
from celery.exceptions import ImproperlyConfigured

from worchflow_celery import settings as configuration
from worchflow_celery import signals, tracing
from worchflow_celery.deadlines import Watch
from worchflow_celery.definition import Definition
from worchflow_celery.errors import StoreUnavailable
from worchflow_celery.leases import Keeper
from worchflow_celery.live import Live
from worchflow_celery.outbox import Outbox
from worchflow_celery.publisher import Publisher
from worchflow_celery.reporter import Reporter
from worchflow_celery.settings import Settings
from worchflow_celery.shutdown import Shutdown
from worchflow_celery.store import Store
from worchflow_celery.store.database import Database, check_url
from worchflow_celery.store.logs import NewLine
from worchflow_celery.store.records import Owner
from worchflow_celery.tracing import Spans

logger = logging.getLogger(__name__)

_ATTRIBUTE = "worchflow"
#: Log lines that wait in a process while MongoDB is away.
_LINES = 2000
_RUNTIMES: "WeakSet[Runtime]" = WeakSet()


class Process:
    """The doors of one process. A fork makes its own: no client crosses it."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self.pid = os.getpid()
        #: What it is called in events: its worker's name, once it has one.
        self.name = f"{self.pid}@{socket.gethostname()}"
        self.store = Store(Database(settings))
        self.keeper = Keeper(self.store.attempts, settings.lease_ttl)
        self.reporter = Reporter(self.store.reports)
        self.publisher = Publisher(app, settings.store_timeout)
        self.watch = Watch()
        self.live = _live(app, settings)
        self.logs: Outbox[NewLine] = Outbox(
            "log lines", self.store.logs.insert, again=(StoreUnavailable,), capacity=_LINES
        )

    def close(self) -> None:
        """Close what is open."""
        if self.live is not None:
            self.live.close()
        self.logs.close()
        self.publisher.close()
        self.store.database.close()


class Runtime:
    """An app's settings, read on first use, and the doors of whatever process asks."""

    def __init__(self, app: Celery, given: Mapping[str, Any], sender: object) -> None:
        configuration.check_names(given)
        self.app = app
        #: The sender of signals.
        self.sender = sender
        #: The flows of the app by id.
        self.definitions: dict[str, Definition] = {}
        self.shutdown = Shutdown()
        self._given = dict(given)
        self._lock = threading.Lock()
        self._process: Process | None = None
        #: Kept, not closed: a client that crossed a fork must not be touched.
        self._inherited: list[Process] = []
        _RUNTIMES.add(self)

    @cached_property
    def settings(self) -> Settings:
        """Raises ``ImproperlyConfigured`` naming what is wrong."""
        settings = configuration.load(self.app, self._given)
        check_url(settings.database_url)
        return settings

    @cached_property
    def keeps_results(self) -> bool:
        """Whether the app has a result backend."""
        return not isinstance(self.app.backend, DisabledBackend)

    @property
    def spans(self) -> Spans | None:
        """What begins spans for OpenTelemetry; ``None``: nobody traces."""
        return tracing.spans() if self.settings.tracing else None

    @property
    def process(self) -> Process:
        """The doors of this process."""
        process = self._process
        if process is not None and process.pid == os.getpid():
            return process
        with self._lock:
            if self._process is None:
                self._process = Process(self.app, self.settings)
            return self._process

    @property
    def store(self) -> Store:
        """This process's store."""
        return self.process.store

    def owner(self, worker: str | None) -> Owner:
        """This process as the owner of an attempt."""
        process = self.process
        if worker:
            process.name = worker
        return Owner(worker or process.name, host(), process.pid, os.getppid())

    def close(self) -> None:
        """Close this process's connections; the next use opens new ones."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.close()

    def hear(self, signal: Any, told: Mapping[str, Any]) -> None:
        """Pass a signal on to those who watch from other processes."""
        process = self.process
        # A completed execution is told with its status: this signal is sent only where somebody
        # listens to it, for its result has to be decoded.
        if process.live is not None and signal is not signals.execution_completed:
            process.live.tell(signal.name, process.name, told)

    def forked(self) -> None:
        """Leave behind what the parent process opened."""
        self._lock = threading.Lock()
        if self._process is not None:
            self._inherited.append(self._process)
            self._process = None


def runtime_of(app: Celery) -> Runtime:
    """The runtime of an app; raises ``ImproperlyConfigured`` with the line to write."""
    bound = getattr(app, _ATTRIBUTE, None)
    if bound is None:
        raise ImproperlyConfigured(
            f"the Celery app {app.main!r} is not bound to Worchflow: write "
            "`worchflow = Worchflow(app)` where the app is made"
        )
    runtime: Runtime = bound.runtime
    return runtime


def redis_url(runtime: Runtime) -> str:
    """The Redis of leader and live events; raises ``ImproperlyConfigured`` if there is none."""
    url = _redis_url(runtime.app, runtime.settings)
    if url is None:
        raise ImproperlyConfigured(
            "worchflow_redis_backend: the broker is not Redis, so the leader's lock and live "
            "events need a redis:// URL; a single beat needs none with "
            "worchflow_leader_election=False"
        )
    return url


def leader_key(settings: Settings) -> str:
    """The lock of the leading scheduler."""
    return f"{settings.prefix}:leader"


def live_key(settings: Settings) -> str:
    """The stream of live events."""
    return f"{settings.prefix}:live"


def _redis_url(app: Celery, settings: Settings) -> str | None:
    url = settings.redis_backend or str(app.conf.broker_url or "")
    return url if url.startswith(("redis://", "rediss://", "unix://")) else None


def _live(app: Celery, settings: Settings) -> Live | None:
    url = _redis_url(app, settings)
    if url is None or not settings.live_events:
        return None
    try:
        return Live(url, live_key(settings))
    except ImproperlyConfigured as error:  # the broker's URL has what only Celery understands
        logger.warning("There are no live events: %s", error)
        return None


@cache
def host() -> str:
    """Names the place in which a pid names one process at a time.

    The host's name alone does not: it survives a reboot, and containers may share it.
    """
    return "/".join([socket.gethostname(), _boot(), _namespace()])


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "-"


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return "-"


def _forked() -> None:
    for runtime in list(_RUNTIMES):
        runtime.forked()


os.register_at_fork(after_in_child=_forked)
