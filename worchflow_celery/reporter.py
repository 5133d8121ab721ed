"""How far executions are: told by their steps at any rate, written once a second by a thread."""

import logging
import queue
import threading
import time
from contextlib import suppress

from worchflow_celery.errors import StoreUnavailable
from worchflow_celery.models import Progress
from worchflow_celery.store.records import Claim
from worchflow_celery.store.reports import Reports

logger = logging.getLogger(__name__)

#: Seconds between two writes.
_PAUSE = 1.0


class Reporter:
    """Writes the newest progress of each execution of a process, apart from what they do.

    Whoever reports waits for nothing: a report is noted, and the thread is told. The last one of
    an attempt is written with its end.
    """

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        #: The newest of each attempt that runs, by its token.
        self._newest: dict[str, tuple[Claim, Progress]] = {}
        self._told: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def note(self, claim: Claim, progress: Progress) -> None:
        """An execution has come so far."""
        self._newest[claim.token] = claim, progress
        self._told.put(claim.token)
        if self._thread is None:
            self._start()

    def newest(self, claim: Claim) -> Progress | None:
        """How far it has come, if it told."""
        newest = self._newest.get(claim.token)
        return newest[1] if newest else None

    def forget(self, claim: Claim) -> None:
        """The attempt has ended."""
        self._newest.pop(claim.token, None)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="worchflow-progress", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while True:
            tokens = {self._told.get()}
            with suppress(queue.Empty):
                while True:
                    tokens.add(self._told.get_nowait())
            newest = [self._newest.get(token) for token in tokens]
            try:
                self._reports.write([one for one in newest if one is not None])
            except StoreUnavailable:
                for token in tokens:  # when MongoDB is back
                    self._told.put(token)
            except Exception:  # this thread must survive whatever one write meets
                logger.exception("Progress is not written")
            time.sleep(_PAUSE)
