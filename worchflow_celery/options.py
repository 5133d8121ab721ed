"""The rules for what a user writes down: ids, names, durations, the options of a flow."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from worchflow_celery.clock import utcnow
from worchflow_celery.errors import InvalidOption

#: Seconds, or a timedelta.
Duration = float | timedelta

_ID = re.compile(r"[A-Za-z0-9._:@/-]{1,200}")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
#: The longest duration, in seconds.
TEN_YEARS = 10 * 366 * 86400.0
_RESERVED_PREFIX = "cron:"


@dataclass(frozen=True, slots=True)
class FlowOptions:
    """How a flow's attempts are made and repeated; durations in seconds."""

    retries: int = 0
    retry_delay: float = 1.0
    #: 0 for none, else the number that ``retry_delay`` is replaced with, or 1 for itself.
    retry_backoff: float | bool = False
    retry_backoff_max: float = 600.0
    retry_jitter: bool = True
    #: Of one attempt; ``None`` for no limit.
    timeout: float | None = None
    #: Fields of the data that ``find(search=...)`` can look for.
    search: tuple[str, ...] = ()
    cron: str | None = None
    timezone: str = "UTC"
    #: Which windows run that no leader fired: ``latest``, ``all`` or ``skip``.
    missed: str = "latest"
    #: Whether a window runs while the last one's execution has not ended: ``allow``, ``skip``.
    overlap: str = "allow"
    queue: str | None = None
    priority: int | None = None
    #: How many executions may run at once, with the same key.
    concurrency: int | None = None
    #: The key, of the data; ``None``: the flow has one for all.
    concurrency_key: Callable[[Any], str] | None = None
    #: How many may start in any window of so many seconds, with the same key.
    throttle: tuple[int, float] | None = None

    @property
    def limited(self) -> bool:
        """Whether its executions need a slot."""
        return self.concurrency is not None or self.throttle is not None


def shown(value: object, most: int = 80) -> str:
    """A value as an error message may show it: short, on one line, no control characters."""
    try:
        text = repr(value)
    except Exception:  # a user's __repr__ may do anything, and some integers are too long
        text = f"<{type(value).__name__} that cannot be printed>"
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[: most + 1])
    return text if len(text) <= most else text[:most] + "…"


def check_id(value: object, what: str) -> str:
    """Refuse whatever is not 1 to 200 of the letters that ids are made of."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InvalidOption(
            f"{what} is {shown(value)}: it must be a string of 1 to 200 characters out of "
            "A-Z a-z 0-9 . _ : @ / -"
        )
    return value


def check_execution_id(value: object) -> str:
    """An id that a user may choose for an execution."""
    execution_id = check_id(value, "id")
    if execution_id.startswith(_RESERVED_PREFIX):
        raise InvalidOption(
            f"id is {shown(execution_id)}: ids that begin with {_RESERVED_PREFIX!r} are reserved "
            "for scheduled executions; choose another one"
        )
    return execution_id


def check_step_name(name: object, what: str = "step") -> str:
    """The name of a step, or of something else: 1 to 200 printable characters."""
    if not isinstance(name, str) or not 1 <= len(name) <= 200 or not name.isprintable():
        raise InvalidOption(
            f"{what} name is {shown(name)}: it must be a string of 1 to 200 printable characters"
        )
    return name


def check_limit(limit: object) -> int:
    """How many of something one call may bring."""
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= 1000:
        raise InvalidOption(f"limit is {shown(limit)}: it must be a whole number from 1 to 1000")
    return limit


def check_retries(value: object, what: str = "retries") -> int:
    """A whole number from 0 to 1000."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1000:
        raise InvalidOption(f"{what} is {shown(value)}: it must be a whole number from 0 to 1000")
    return value


def check_fraction(value: object) -> float:
    """How much of something is done."""
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not 0 <= value <= 1:  # type: ignore[operator]
        raise InvalidOption(f"fraction is {shown(value)}: it must be a number from 0 to 1")
    return float(value)  # type: ignore[arg-type]


def seconds(value: object, what: str, *, least: float = 0.0) -> float:
    """A duration as a number of seconds, from ``least`` to ten years."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not least <= value <= TEN_YEARS:  # type: ignore[operator]
        raise InvalidOption(
            f"{what} is {shown(value)}: it must be seconds (a number or a timedelta) "
            f"from {least:g} to ten years"
        )
    return float(value)  # type: ignore[arg-type]


def positive_seconds(value: object, what: str) -> float:
    """A duration that is longer than nothing."""
    return seconds(value, what, least=0.001)


def check_moment(value: object, what: str) -> datetime:
    """A timezone-aware datetime within ten years."""
    if not isinstance(value, datetime) or value.tzinfo is None or value.utcoffset() is None:
        raise InvalidOption(
            f"{what} is {shown(value)}: it must be a timezone-aware datetime, "
            "for example datetime.now(timezone.utc) + timedelta(hours=1)"
        )
    return value


def check_wake(when: object, step: str) -> datetime:
    """The end of a sleep."""
    moment = check_moment(when, f"the end of {step!r}")
    if moment > utcnow() + timedelta(seconds=TEN_YEARS):
        raise InvalidOption(f"the end of {step!r} is {moment}: it must be within ten years")
    return moment


def check_timeout(value: object, step: str) -> float | None:
    """The longest wait for a step's answer, in seconds, or ``None``."""
    return None if value is None else positive_seconds(value, f"the timeout of {step!r}")


def check_signals(names: object, step: str) -> list[str]:
    """The names of one or more signals."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidOption(f"signals of {step!r} is {shown(names)}: it must be a list of names")
    found = [check_step_name(name, "signal") for name in names]
    if not found:
        raise InvalidOption(f"signals of {step!r} is empty: name one at least")
    return found


def check_queue(value: object) -> str | None:
    """The name of a Celery queue."""
    if value is None or (isinstance(value, str) and 1 <= len(value) <= 200 and value.isprintable()):
        return value
    raise InvalidOption(f"queue is {shown(value)}: it must be the name of a Celery queue")


def check_priority(value: object) -> int | None:
    """A priority as Celery's brokers know it."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255:
        return value
    raise InvalidOption(f"priority is {shown(value)}: it must be a whole number from 0 to 255")


def check_search_field(name: object) -> str:
    """The name of a field of the data, which becomes part of a query."""
    if not isinstance(name, str) or not _FIELD.fullmatch(name):
        raise InvalidOption(
            f"search names {shown(name)}: it must be the name of a field of the data"
        )
    return name


def searchable(value: object) -> str | int | float | bool:
    """A value as it is stored for ``find(search=...)``: a scalar that MongoDB can hold."""
    if isinstance(value, bool | float):
        return value
    if isinstance(value, int):  # one that MongoDB does not hold may be too long for str()
        return int(value) if -(2**63) <= value < 2**63 else hex(value)[:1000]
    return str(value)[:1000]


@dataclass(frozen=True, slots=True)
class StepOptions:
    """How a step's runs are made and repeated; durations in seconds."""

    retries: int
    retry_delay: float
    timeout: float | None
    #: Whether something undoes it.
    undo: bool = False

    @classmethod
    def of(
        cls, retries: object, retry_delay: object, timeout: object, compensate: object = None
    ) -> "StepOptions":
        """Check what ``step.run`` was given."""
        return cls(
            check_retries(retries),
            seconds(retry_delay, "retry_delay"),
            None if timeout is None else positive_seconds(timeout, "timeout"),
            compensate is not None,
        )


def flow_options(given: Mapping[str, object]) -> FlowOptions:
    """Check what a decorator was given and bring it to seconds."""
    backoff_max = positive_seconds(given.get("retry_backoff_max", 600), "retry_backoff_max")
    timeout = given.get("timeout")
    return FlowOptions(
        retries=check_retries(given.get("retries", 0)),
        retry_delay=seconds(given.get("retry_delay", 1.0), "retry_delay"),
        retry_backoff=_backoff(given.get("retry_backoff", False), backoff_max),
        retry_backoff_max=backoff_max,
        retry_jitter=check_flag(given.get("retry_jitter", True), "retry_jitter"),
        timeout=None if timeout is None else positive_seconds(timeout, "timeout"),
        search=_search(given.get("search", ())),
        cron=given.get("cron"),  # type: ignore[arg-type]
        timezone=given.get("timezone", "UTC"),  # type: ignore[arg-type]
        missed=_one_of(given.get("missed", "latest"), "missed", ("latest", "all", "skip")),
        overlap=_one_of(given.get("overlap", "allow"), "overlap", ("allow", "skip")),
        queue=check_queue(given.get("queue")),
        priority=check_priority(given.get("priority")),
        concurrency=given.get("concurrency"),  # type: ignore[arg-type]
        concurrency_key=given.get("concurrency_key"),  # type: ignore[arg-type]
        throttle=given.get("throttle"),  # type: ignore[arg-type]
    )


def check_flag(value: object, what: str) -> bool:
    """``True`` or ``False``."""
    if not isinstance(value, bool):
        raise InvalidOption(f"{what} is {shown(value)}: it must be True or False")
    return value


def _one_of(value: object, what: str, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise InvalidOption(f"{what} is {shown(value)}: it must be one of {', '.join(known)}")
    return value


def _backoff(value: object, most: float) -> float | bool:
    if isinstance(value, bool):
        return value
    base = positive_seconds(value, "retry_backoff")
    if base > most:
        raise InvalidOption(
            f"retry_backoff is {base:g} s and retry_backoff_max {most:g} s: "
            "the first delay cannot be longer than the longest"
        )
    return base


def _search(value: object) -> tuple[str, ...]:
    names = tuple(value) if isinstance(value, tuple | list | set | frozenset) else (value,)
    return tuple(check_search_field(name) for name in names)
