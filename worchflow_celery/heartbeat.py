"""What a worker tells of itself every few seconds, for `worchflow.workers()`."""

import os
import socket
from contextlib import suppress
from typing import Any

from celery.worker import state

from worchflow_celery.errors import StoreUnavailable
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.sweep import Scope
from worchflow_celery.version import VERSION

#: Flows and queues that one worker names.
_MOST_NAMES = 500


class Heartbeat:
    """The signs of life of one worker, from its main process."""

    def __init__(self, runtime: Runtime, worker: Any) -> None:
        self._runtime = runtime
        self._worker = worker
        self._name = str(getattr(worker, "hostname", None) or runtime.process.name)
        self._id = f"{self._name}:{os.getpid()}"

    def beat(self, scope: Scope) -> None:
        """Give a sign of life; raises ``StoreUnavailable``."""
        pool = type(getattr(self._worker, "pool", None)).__module__.rpartition(".")[2]
        facts = {
            "name": self._name,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "pool": pool,
            "concurrency": int(getattr(self._worker, "concurrency", None) or 1),
            "busy": len(state.active_requests),
            "queues": sorted(scope.queues)[:_MOST_NAMES],
            "flows": sorted(scope.flows)[:_MOST_NAMES],
            "version": VERSION,
            "code_version": self._runtime.settings.code_version,
        }
        self._runtime.store.workers.seen(self._id, facts)

    def stop(self) -> None:
        """Say that the worker begins to shut down; without MongoDB its silence says so."""
        with suppress(StoreUnavailable):
            self._runtime.store.workers.stops(self._id)
