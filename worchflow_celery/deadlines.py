"""Time limits inside running Python code, in any thread of any pool.

A limit raises an exception inside the thread through the interpreter's own facility
(``PyThreadState_SetAsyncExc``), which acts between two bytecodes: a call into C is interrupted
when it returns. Code of this library is never interrupted: it suspends the limit around itself.
"""

import ctypes
import heapq
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from worchflow_celery.clock import elapsed

T = TypeVar("T")


class Deadline:
    """One limit on the code of one thread."""

    def __init__(self, at: float, error: type[Exception], message: str) -> None:
        self.at = at
        self._error = error
        self._message = message
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._armed = False
        self.expired = False
        self.ended = False
        self._raised = False

    def arm(self) -> None:
        """User code begins: the limit may raise in it."""
        with self._lock:
            self._armed = not self.expired
        if self.expired:
            raise self.failure()

    def disarm(self) -> None:
        """User code has ended: from here on nothing is raised into the thread."""
        with self._lock:
            self._armed = False
            if self._raised:
                # Set, but perhaps not delivered yet: take it back, the caller raises instead.
                self._raised = False
                _set_async_exception(self._thread, None)

    def expire(self) -> None:
        """The time is over (called by the watching thread)."""
        with self._lock:
            self.expired = True
            if self._armed:
                self._raised = True
                _set_async_exception(self._thread, self._error)

    def failure(self) -> Exception:
        """The error with its text."""
        return self._error(self._message)

    def struck(self, error: BaseException) -> bool:
        """Whether an error is what this limit has raised: the bare class."""
        return type(error) is self._error and self.expired and not error.args

    def twin(self) -> "Deadline":
        """The same limit on the code of the present thread."""
        return Deadline(self.at, self._error, self._message)

    def within(self, function: Callable[[], T]) -> T:
        """Call a piece of user code out of a suspended section."""
        try:
            self.arm()
            return function()
        finally:
            self.disarm()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Run a piece of this library inside user code; in another thread it changes nothing."""
        if threading.get_ident() != self._thread:
            yield
            return
        self.disarm()
        try:
            yield
        finally:
            self.arm()


class Watch:
    """The thread that lets deadlines of a process expire; it starts with the first of them."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Deadline]] = []
        self._ended = 0
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def call(self, deadline: Deadline, function: Callable[[], T]) -> T:
        """Call a function under a deadline, in this thread; raise the deadline's error after it."""
        self._add(deadline)
        try:
            try:
                deadline.arm()
                value = function()
            finally:
                deadline.disarm()
        except BaseException as error:
            # Delivered inside the function, or between its end and the disarming.
            if deadline.struck(error):
                raise deadline.failure() from error
            raise
        finally:
            self._end(deadline)
        if deadline.expired:
            raise deadline.failure()
        return value

    def within(self, deadline: Deadline, function: Callable[[], T]) -> T:
        """Call a function under a deadline; what it has returned is kept, be it late."""
        self._add(deadline)
        try:
            return deadline.within(function)
        except BaseException as error:
            if deadline.struck(error):
                raise deadline.failure() from error
            raise
        finally:
            self._end(deadline)

    def _add(self, deadline: Deadline) -> None:
        with self._changed:
            heapq.heappush(self._heap, (deadline.at, next(self._numbers), deadline))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="worchflow-deadlines", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def _end(self, deadline: Deadline) -> None:
        """Forget a deadline; long ones must not pile up until their time comes."""
        with self._changed:
            deadline.ended = True
            self._ended += 1
            if self._ended > 64 and self._ended > len(self._heap) // 2:
                self._heap = [entry for entry in self._heap if not entry[2].ended]
                heapq.heapify(self._heap)
                self._ended = 0

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._heap or self._heap[0][0] > elapsed():
                    until = self._heap[0][0] - elapsed() if self._heap else None
                    self._changed.wait(until)
                _, _, deadline = heapq.heappop(self._heap)
            if not deadline.ended:
                deadline.expire()


def _set_async_exception(thread: int, error: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), None if error is None else ctypes.py_object(error)
    )
