"""What a scheduler tells of itself every few seconds, for those who look."""

import os
import secrets
import socket

from worchflow_celery.clock import elapsed
from worchflow_celery.errors import StoreUnavailable
from worchflow_celery.runtime import Runtime

#: Seconds between two signs of life, and after one that did not reach MongoDB.
_EVERY, _REST = 5.0, 30.0


class Presence:
    """The signs of life of one scheduler."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._host = socket.gethostname()
        self._id = f"{self._host}:{os.getpid()}:{secrets.token_hex(4)}"
        #: The term that was told last, and when the next sign is due.
        self._told: str | None = ""
        self._due = 0.0

    def tell(self, token: str | None) -> None:
        """Say that this scheduler turns, and in which term it leads, if it does; never raises."""
        now = elapsed()
        if now < self._due and (token == self._told or self._told == ""):
            return
        try:
            self._runtime.store.schedulers.seen(self._id, self._host, os.getpid(), token)
        except StoreUnavailable:  # it says nothing about schedules: the pages show less for a while
            self._told, self._due = "", now + _REST
        else:
            self._told, self._due = token, now + _EVERY - 0.5
