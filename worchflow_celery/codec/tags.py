"""How values that JSON has no form for are written under a tag, and read back."""

from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

#: Larger integers are written in hexadecimal: Python may be told to print no more than 640 digits.
BIGGEST_PRINTED_INT = 1 << 2048
SHOWN_CHARACTERS = 80


class Refusal(Exception):
    """Why a value cannot be stored; its path grows, innermost part first, on the way out."""

    def __init__(self, reason: str, *, foreign: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []
        #: True when it is the type that is unknown here; pydantic may still know it.
        self.foreign = foreign


def shown(text: str) -> str:
    """Make text from elsewhere safe for a message or a terminal: short, on one line, visible."""
    short = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
    escaped = "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in short
    )
    return escaped[:SHOWN_CHARACTERS]


def type_name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"


def write_scalar(value: Any) -> dict[str, object] | None:
    """Return the tagged form of a value, or None when it is exactly none of the types with one."""
    scalar = _SCALARS.get(type(value))
    return {scalar[0]: scalar[1](value)} if scalar else None


def write_derived(value: Any) -> dict[str, object] | None:
    """Return the tagged form of an instance of a subclass: it comes back as the class itself."""
    for cls, (tag, write) in _SCALARS.items():
        if isinstance(value, cls):
            if not _is_kept(value, tag, write):
                reason = f"{type_name(type(value))} holds more than a {cls.__name__} can keep"
                raise Refusal(f"{reason}: make it one, or a string")
            return {tag: write(value)}
    return None


def _is_kept(value: Any, tag: str, write: Callable[[Any], object]) -> bool:
    # Pandas' Timestamp has nanoseconds, and its NaT, no time at all, is a datetime as well.
    try:
        return _precise(READERS[tag](write(value))) == _precise(value)
    except (TypeError, ValueError):
        return False


def _precise(value: Any) -> object:
    # Datetimes in the hour that a clock change repeats are never equal to those of another zone.
    if isinstance(value, datetime):
        return value.replace(tzinfo=None), value.utcoffset()
    return value


def _write_moment(value: datetime | time) -> object:
    zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else None
    if zone is None and value.tzinfo is not None and value.utcoffset() is None:
        raise Refusal("its time zone names no offset: use zoneinfo.ZoneInfo or datetime.timezone")
    text = value.isoformat()
    return text if zone is None and not value.fold else [text, value.fold, zone]


def _read_datetime(body: Any) -> datetime:
    text, fold, zone = (body, 0, None) if isinstance(body, str) else body
    moment = datetime.fromisoformat(text).replace(fold=fold)
    if zone is None:
        return moment
    try:
        located = moment.replace(tzinfo=ZoneInfo(zone))
    except (OSError, ValueError, LookupError):
        return moment  # this machine does not know the zone; the instant is what counts
    # The zone's rules may have changed since: again, the instant is what counts.
    return located if located.utcoffset() == moment.utcoffset() else moment


def _read_time(body: Any) -> time:
    text, fold, zone = (body, 0, None) if isinstance(body, str) else body
    moment = time.fromisoformat(text).replace(fold=fold)
    return moment if zone is None else moment.replace(tzinfo=ZoneInfo(zone))


def _write_timedelta(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _read_timedelta(body: Any) -> timedelta:
    days, seconds, microseconds = (_exactly(int, part) for part in body)
    return timedelta(days, seconds, microseconds)


def _write_decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise Refusal(f"Decimal {value} is no finite number: use None or a string instead")
    return str(value)


def _read_decimal(body: Any) -> Decimal:
    value = Decimal(_exactly(str, body))
    if not value.is_finite():
        raise ValueError("not finite")
    return value


def _read_pairs(body: Any) -> dict[Any, Any]:
    pairs: dict[Any, Any] = dict(body)
    if len(pairs) != len(body):
        raise ValueError("two keys are equal")
    return pairs


def _exactly(kind: type, body: Any) -> Any:
    if type(body) is not kind:
        raise TypeError(f"{kind.__name__} expected")
    return body


#: In the order in which a subclass is matched: a datetime is a date, too.
_SCALARS: dict[type, tuple[str, Callable[[Any], object]]] = {
    datetime: ("$datetime", _write_moment),
    date: ("$date", date.isoformat),
    time: ("$time", _write_moment),
    timedelta: ("$timedelta", _write_timedelta),
    Decimal: ("$decimal", _write_decimal),
    UUID: ("$uuid", str),
    bytes: ("$bytes", lambda value: b64encode(value).decode("ascii")),
}

#: What the body of each tag becomes; the bodies within it have been read already.
READERS: dict[str, Callable[[Any], object]] = {
    "$datetime": _read_datetime,
    "$date": lambda body: date.fromisoformat(body),
    "$time": _read_time,
    "$timedelta": _read_timedelta,
    "$decimal": _read_decimal,
    "$uuid": lambda body: UUID(_exactly(str, body)),
    "$bytes": lambda body: b64decode(_exactly(str, body), validate=True),
    "$int": lambda body: int(_exactly(str, body), 16),
    "$tuple": lambda body: tuple(_exactly(list, body)),
    "$set": lambda body: set(_exactly(list, body)),
    "$frozenset": lambda body: frozenset(_exactly(list, body)),
    "$dict": _read_pairs,
}
