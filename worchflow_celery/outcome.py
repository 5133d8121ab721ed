"""How an attempt ended, and what that makes of its execution. Pure: no I/O, no clock."""

import os
import random
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, ClassVar

from worchflow_celery.errors import (
    InvalidEventData,
    NonRetriableError,
    PayloadTooLarge,
    RetryAfter,
    UnserializableResult,
    WorchflowError,
    WorkerLost,
)
from worchflow_celery.options import TEN_YEARS, FlowOptions, StepOptions

#: Bytes that are kept of an error's message, and of its traceback.
TEXT_LIMIT = 8192

_HERE = os.path.dirname(__file__) + os.sep

#: Another attempt would meet the same end.
_FINAL = (InvalidEventData, NonRetriableError, PayloadTooLarge, UnserializableResult, WorkerLost)


#: Why an execution is cancelled that somebody cancelled.
CALLED_OFF = "somebody called cancel()"


@dataclass(frozen=True, slots=True)
class Completed:
    """The handler returned."""

    name: ClassVar = "completed"
    #: The encoded result.
    result: str


@dataclass(frozen=True, slots=True)
class Retried:
    """The handler raised, and another attempt follows."""

    name: ClassVar = "retrying"
    error: BaseException
    #: Seconds until then.
    delay: float

    @property
    def described(self) -> Mapping[str, str]:
        """The error as it is stored."""
        return describe(self.error)


@dataclass(frozen=True, slots=True)
class Unwound:
    """What an execution ends with whose steps were undone first."""

    error: Mapping[str, str]
    #: Whether all of it is undone; ``None``: there was nothing.
    compensated: bool | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler raised for the last time."""

    name: ClassVar = "failed"
    error: BaseException
    unwound: Unwound | None = None

    @property
    def described(self) -> Mapping[str, str]:
        """The error as it is stored."""
        return self.unwound.error if self.unwound else describe(self.error)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The execution left its worker, to come back after so many seconds, or when called."""

    name: ClassVar = "waiting"
    delay: float
    #: What calls it back: a signal, the end of a child, a slot that is free.
    awaits: tuple[str, ...] = ()
    #: Whether its handler was called.
    begun: bool = True


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The worker shuts down; another one goes on. ``cause`` is what was raised into the code."""

    name: ClassVar = "handed-over"
    cause: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Paused:
    """It was asked to stop here, until it is resumed."""

    name: ClassVar = "paused"


@dataclass(frozen=True, slots=True)
class Cancelled:
    """It was not to run any more."""

    name: ClassVar = "cancelled"
    reason: str
    unwound: Unwound | None = None

    @property
    def described(self) -> Mapping[str, str]:
        """The error as it is stored."""
        return {"type": "Cancelled", "message": self.reason}


@dataclass(frozen=True, slots=True)
class Lost:
    """The lease is over: whatever the handler did, it is not for us to record.

    ``cause`` is what was raised into the code because its process is ended by force.
    """

    name: ClassVar = "lost"
    cause: BaseException | None = None


#: The ``name`` of each is what is recorded of an attempt.
Outcome = Completed | Retried | Failed | Waiting | HandedOver | Paused | Cancelled | Lost


def judge(
    error: BaseException,
    *,
    attempt: int,
    options: FlowOptions,
    now: datetime,
    jitter: Callable[[], float] = random.random,
) -> Retried | Failed:
    """What an error in attempt number ``attempt`` makes of the execution."""
    if isinstance(error, _FINAL) or attempt > options.retries:
        return Failed(error)
    delay = retry_delay(options, attempt, jitter=jitter)
    if isinstance(error, RetryAfter):
        delay = max(delay, seconds_until(error.when, now))
    return Retried(error, delay)


def retry_delay(
    options: FlowOptions, retry: int, *, jitter: Callable[[], float] = random.random
) -> float:
    """Seconds before retry number ``retry`` (1, 2, …); ``jitter`` gives a number from 0 to 1."""
    if options.retry_backoff is False:
        return options.retry_delay
    base = options.retry_delay if options.retry_backoff is True else options.retry_backoff
    # The exponent is bounded: 2.0 ** 1024 would overflow, and the limit cuts long before.
    delay = min(base * 2.0 ** min(retry - 1, 64), options.retry_backoff_max)
    return delay * jitter() if options.retry_jitter else delay


def step_delay(options: StepOptions, error: Exception, now: datetime) -> float:
    """Seconds before a step runs again that has failed."""
    if not isinstance(error, RetryAfter):
        return options.retry_delay
    return max(options.retry_delay, seconds_until(error.when, now))


def seconds_until(when: float | timedelta | datetime, now: datetime) -> float:
    """Seconds from ``now`` until a moment, or a duration's own; from 0 to ten years."""
    try:
        if isinstance(when, datetime):
            when = when - now
        if isinstance(when, timedelta):
            when = when.total_seconds()
        return max(0.0, float(min(when, TEN_YEARS)))
    except TypeError:  # a subclass of the user's may make anything of it
        return 0.0


def over_crash_budget(crashed: tuple[int, ...], last_checkpoint: int, retries: int) -> bool:
    """Whether an execution killed too many workers since its last finished step.

    ``crashed`` holds the epochs that ended in a crash, ``last_checkpoint`` the epoch in which
    the newest checkpoint was written: what crashed in that epoch or later has crashed after it.
    """
    return sum(epoch >= last_checkpoint for epoch in crashed) > retries + 3


def describe(error: BaseException) -> dict[str, str]:
    """An error as it is stored: type, message, traceback, each cut to 8 kB."""
    frames = traceback.format_exception(type(error), error, _users_frames(error), limit=-20)
    return {
        "type": cut(type(error).__name__),
        "message": cut(message_of(error)),
        "traceback": cut("".join(frames), keep_end=True),
    }


def name_of(error: BaseException) -> str:
    """Where the class of an error is found again."""
    return f"{type(error).__module__}:{type(error).__qualname__}"


def revived(error: Mapping[str, str], name: str) -> Exception:
    """A recorded error as it was raised, by its class if that is loaded, with its text alone."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    message = error.get("message", "")
    if isinstance(found, type) and issubclass(found, Exception):
        # Not by the class itself, which may want arguments that nobody has any more.
        built_in: Any = next(kind for kind in found.__mro__ if kind.__module__ == "builtins")
        with suppress(TypeError):  # an exception group is nothing without its exceptions
            made: Exception = built_in.__new__(found, message)
            made.args = (message,)
            return made
    return WorchflowError(f"{error.get('type', 'an error')}: {message}")


def message_of(error: BaseException) -> str:
    """The whole text of an error."""
    try:
        return str(error)
    except Exception:  # a user's __str__ may do anything
        return "(its text could not be made)"


def _users_frames(error: BaseException) -> TracebackType | None:
    """Where the user's code begins: how it was called is our affair."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_HERE):
        frames = frames.tb_next
    return frames or error.__traceback__


def cut(text: str, *, keep_end: bool = False) -> str:
    """At most 8 kB of a text, and nothing that UTF-8 cannot carry."""
    data = text[:TEXT_LIMIT] if not keep_end else text[-TEXT_LIMIT:]
    raw = data.encode("utf-8", "backslashreplace")
    if len(raw) <= TEXT_LIMIT:
        return raw.decode()
    raw = raw[-TEXT_LIMIT:] if keep_end else raw[:TEXT_LIMIT]
    return raw.decode("utf-8", "ignore")
