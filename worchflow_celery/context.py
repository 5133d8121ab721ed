"""What a handler is handed: steps that run once."""

import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

from worchflow_celery import options
from worchflow_celery.callables import is_coroutine, is_generator
from worchflow_celery.clock import elapsed
from worchflow_celery.deadlines import Deadline, Watch
from worchflow_celery.errors import InvalidOption, StepMisuse, StepTimeout
from worchflow_celery.flowlog import FlowLogger
from worchflow_celery.journal import Journal
from worchflow_celery.outcome import cut
from worchflow_celery.replay import Known, Run

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds that a step's retry is waited for on the worker; longer ones leave it.
SHORT_WAIT = 5.0


@dataclass(frozen=True, slots=True)
class Running:
    """The step that is being run in this thread or asyncio task."""

    journal: Journal
    key: str
    attempt: int
    #: Tells what is the same each time this step runs.
    identity: Callable[[], str]


running_step: ContextVar[Running | None] = ContextVar("worchflow_step", default=None)


def logger_of(journal: Journal) -> FlowLogger:
    """The logger of an attempt: its lines tell in which step they were logged."""

    def keep(level: int, message: str, given: Mapping[str, Any]) -> None:
        running = running_step.get()
        step = running.key if running is not None and running.journal is journal else None
        fields = given.get("fields", given)
        fields = fields if isinstance(fields, Mapping) else given
        journal.logbook.write(logging.getLevelName(level), message, fields, step)

    claim = journal.claim
    ids = {"execution": claim.id, "flow": claim.flow, "attempt": claim.attempt}
    return FlowLogger(ids, keep)


class Context:
    """What steps have in common, in sync and in async flows."""

    _is_async = False

    def __init__(self, journal: Journal, watch: Watch) -> None:
        self._journal = journal
        self._watch = watch

    @property
    def execution_id(self) -> str:
        """The id of the execution."""
        return self._journal.execution_id

    @property
    def attempt(self) -> int:
        """Inside a step: which run of it this is, 1 + its recorded failures."""
        return self._inside("attempt").attempt

    @property
    def idempotency_key(self) -> str:
        """Inside a step: a key that is the same each time this step of this execution runs.

        Hand it to whatever must not happen twice; a step that is interrupted runs again. One
        that was undone has another key when it runs after a retry.
        """
        return self._inside("idempotency_key").identity()

    def _running(self, run: Run) -> Running:
        identity = partial(self._journal.identity, run.key)
        return Running(self._journal, run.key, run.attempt, identity)

    def log(self, message: str, /, **fields: Any) -> None:
        """Keep a line with the execution, and send it to the standard loggers.

        ``fields`` are kept beside the message: what ``step.run`` could return, up to 8 kB. The
        line is written by another thread, soon; nothing waits for it, and it may be lost with its
        process. A later attempt logs its lines anew.
        """
        logger_of(self._journal).info("%s", message, extra={"fields": fields} if fields else None)

    def _report(self, fraction: object, message: object) -> None:
        told = options.check_fraction(fraction)
        if not isinstance(message, str | None):
            raise InvalidOption(f"message is {options.shown(message)}: it must be a string or None")
        self._journal.report(told, None if message is None else cut(message))

    def _inside(self, what: str) -> Running:
        running = running_step.get()
        if running is None or running.journal is not self._journal:
            raise StepMisuse(f"step.{what} can only be read inside a function run by step.run")
        return running

    def _begin(self, name: str) -> str:
        """Check that a step can begin here; return its key."""
        self._check_place(name)
        return self._journal.begin(name)

    def _check_place(self, name: str) -> None:
        running = running_step.get()
        # Inside a step of another execution, this one runs eagerly: that is no misuse.
        if running is not None and running.journal is self._journal:
            raise StepMisuse(
                f"step {name!r} begins inside step {running.key!r}: "
                "a step is the unit that is repeated, it cannot hold another"
            )

    def _known(
        self, key: str, name: str, fn: Callable[..., Any], undo: Callable[..., Any] | None
    ) -> Known | None:
        """What the step has recorded; else both functions can be run."""
        known = self._journal.recall(key, fn)
        if known is None:
            self._check(name, fn)
            self._check_compensation(name, undo)
        elif undo is not None:
            self._journal.remember(key, name, undo, known.value)
        return known

    @staticmethod
    def _check(name: str, fn: object) -> None:
        """Refuse what cannot be run; what has run is replayed, whatever its function is now."""
        if not callable(fn):
            raise StepMisuse(f"step {name!r}: {fn!r:.80} is not a function; write `lambda: ...`")
        if is_generator(fn):
            raise StepMisuse(f"step {name!r}: a generator function has no result to be recorded")

    def _check_compensation(self, name: str, fn: object) -> None:
        """Refuse it before the step runs: afterwards there would be nothing to undo it with."""
        if fn is None:
            return
        if not callable(fn):
            raise StepMisuse(f"step {name!r}: compensate= is {fn!r:.80}, which is not a function")
        if is_generator(fn):
            raise StepMisuse(f"step {name!r}: compensate= must not be a generator function")
        if not self._is_async and is_coroutine(fn):
            raise StepMisuse(
                f"step {name!r}: compensate= is a coroutine function: it needs an `async def` flow"
            )

    @staticmethod
    def _received(answer: tuple[str, Any] | None) -> Any:
        return answer[1] if answer else None

    def _timed(self, fn: Callable[[], T], timeout: float | None, name: str) -> T:
        if timeout is None:
            return fn()
        message = f"step {name!r} ran longer than its timeout of {timeout:g} s"
        deadline = Deadline(elapsed() + timeout, StepTimeout, message)
        return self._watch.call(deadline, fn)
