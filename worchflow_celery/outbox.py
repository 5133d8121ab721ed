"""What is sent behind the back of whoever made it: a bounded buffer, emptied by one thread."""

import atexit
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from celery.signals import worker_process_shutdown

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Seconds for which items are collected before they are sent.
_COLLECT = 0.2
#: Seconds for which a receiver that failed is left alone.
_REST = 1.0
#: Items that are sent in one go.
_BATCH = 1000


class Outbox(Generic[T]):
    """Takes items in no time, and loses some rather than making anybody wait.

    ``send`` gets them in order, in a thread that begins with the first item, at most five times
    a second. What it raises out of ``again`` keeps a batch for the next try; any other error
    drops it. When ``capacity`` items wait, the oldest is dropped for each new one.

    An outbox belongs to the process that made it.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[list[T]], None],
        *,
        again: tuple[type[Exception], ...],
        capacity: int = 10_000,
    ) -> None:
        self._name = name
        self._send = send
        self._again = again
        self._capacity = capacity
        # Its `put` takes no lock: safe in a signal handler, too.
        self._items: SimpleQueue[T | None] = SimpleQueue()
        self._kept: list[T] = []
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._failing = False
        #: How many items were lost so far.
        self.dropped = 0

    def put(self, item: T) -> None:
        """Take an item; never fails, never waits."""
        if self._items.qsize() >= self._capacity:
            with suppress(Empty):
                self._items.get_nowait()
                self.dropped += 1
        self._items.put(item)
        if self._thread is None:
            self._start()

    def close(self, patience: float = 1.0) -> None:
        """Send what is there, unless the receiver has failed just now, and end the thread."""
        self._closed.set()
        thread = self._thread
        if thread is None or self._pid != os.getpid():
            return
        self._items.put(None)
        thread.join(patience)
        atexit.unregister(self.close)
        worker_process_shutdown.disconnect(self._process_ends)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._closed.is_set():
                return
            thread = threading.Thread(target=self._run, name=f"worchflow {self._name}", daemon=True)
            with suppress(RuntimeError):  # the interpreter ends: no thread starts any more
                thread.start()
                self._thread = thread
                atexit.register(self.close)
                # A pool process ends without what `atexit` knows.
                worker_process_shutdown.connect(self._process_ends)

    def _process_ends(self, **_: Any) -> None:
        self.close()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._kept += self._next()
            self._closed.wait(_COLLECT)
            self._drain()
            while self._kept and not self._empty() and not self._closed.wait(_REST):
                self._drain()
        self._drain()
        if not self._failing:
            self._empty()

    def _next(self) -> list[T]:
        item = self._items.get()
        return [] if item is None else [item]

    def _drain(self) -> None:
        with suppress(Empty):
            while True:
                item = self._items.get_nowait()
                if item is not None:
                    self._kept.append(item)
        excess = len(self._kept) - self._capacity
        if excess > 0:
            del self._kept[:excess]
            self.dropped += excess

    def _empty(self) -> bool:
        """Send what is kept; ``False``: the receiver is away."""
        while self._kept:
            batch = self._kept[:_BATCH]
            try:
                self._send(batch)
            except self._again as error:
                self._fails(error)
                return False
            except Exception as error:  # this thread must survive whatever one batch meets
                self.dropped += len(batch)
                self._fails(error)
            else:
                self._works()
            del self._kept[: len(batch)]
        return True

    def _fails(self, error: Exception) -> None:
        level = logging.DEBUG if self._failing else logging.WARNING
        self._failing = True
        logger.log(level, "The %s are not sent for now: %s", self._name, type(error).__name__)

    def _works(self) -> None:
        if self._failing:
            logger.warning("The %s are sent again; %d were dropped", self._name, self.dropped)
        self._failing = False
