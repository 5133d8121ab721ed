"""One watch of live updates for a process, fanned out to all who listen."""

import asyncio
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worchflow_celery.errors import WorchflowError

logger = logging.getLogger(__name__)

#: Browsers that may listen at once, and updates that wait for one that is slow.
_MOST_LISTENERS, _MOST_WAITING = 100, 500
_MOST_RUNNING = 10_000
#: Seconds after which a watch that failed is made again.
_AGAIN = 2.0
#: What is passed on of an update: no payload, no text of an error.
_PASSED = "event execution_id flow status attempt step key schedule at".split()

Listener = tuple[asyncio.AbstractEventLoop, "asyncio.Queue[str]"]


@dataclass(frozen=True, slots=True)
class Running:
    """The step that an execution is in."""

    key: str
    since: datetime


class TooMany(Exception):
    """More pages than may listen."""


class Hub:
    """Watches while somebody listens."""

    def __init__(self, watch: Callable[[], Iterator[Any]]) -> None:
        self._watch = watch
        self._lock = threading.Lock()
        self._listeners: set[Listener] = set()
        self._thread: threading.Thread | None = None
        self._running: OrderedDict[str, Running] = OrderedDict()

    def join(self) -> Listener:
        """Listen; raises ``TooMany``."""
        listener: Listener = asyncio.get_running_loop(), asyncio.Queue(_MOST_WAITING)
        with self._lock:
            if len(self._listeners) >= _MOST_LISTENERS:
                raise TooMany(f"{_MOST_LISTENERS} pages listen already")
            self._listeners.add(listener)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dashboard", daemon=True)
                self._thread.start()
        return listener

    def leave(self, listener: Listener) -> None:
        """Listen no more."""
        with self._lock:
            self._listeners.discard(listener)

    def running(self, execution_id: str) -> "Running | None":
        """The step that runs, if it began while somebody listened."""
        return self._running.get(execution_id)

    def _run(self) -> None:
        again = threading.Event()
        while self._is_needed():
            try:
                self._pass_on(self._watch())
            except WorchflowError as error:
                logger.info("No live updates for now: %s", error)
            again.wait(_AGAIN)

    def _pass_on(self, updates: Any) -> None:
        with updates:
            while self._is_needed():
                for update in updates.poll():
                    self._note(update)
                    self._tell(_message(update.model_dump(mode="json")))

    def _note(self, update: Any) -> None:
        """Keep in mind which step of an execution runs."""
        if update.event == "step_started":
            self._running[update.execution_id] = Running(update.key, update.at)
            while len(self._running) > _MOST_RUNNING:
                self._running.popitem(last=False)
        elif update.execution_id:
            self._running.pop(update.execution_id, None)

    def _is_needed(self) -> bool:
        """Whether somebody listens; else the thread is given up, and the next one makes another."""
        with self._lock:
            if not self._listeners:
                self._thread = None
            return bool(self._listeners)

    def _tell(self, message: str) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for loop, queue in listeners:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_put, queue, message)


def _put(queue: "asyncio.Queue[str]", message: str) -> None:
    if queue.full():  # a browser that does not keep up reads the page anew anyhow
        queue.get_nowait()
    queue.put_nowait(message)


def _message(update: Mapping[str, Any]) -> str:
    told = {name: update[name] for name in _PASSED if update.get(name) is not None}
    return f"event: update\ndata: {json.dumps(told)}\n\n"
