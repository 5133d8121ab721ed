"""When a schedule is due: the windows of a cron expression in a time zone.  Pure but for "now".

An expression has five fields (minute, hour, day of month, month, day of week), or six with the
second before these. A field is ``*``, numbers or names, ranges (``MON-FRI``; ``22-2`` runs over
midnight), steps (``*/15``), or a list of them. ``L`` is the last day of the month, ``L5`` its last
Friday, ``5#2`` its second. ``@hourly``, ``@daily``, ``@midnight``, ``@weekly``, ``@monthly``,
``@yearly`` and ``@annually`` are what they say.

Where both the day of month and the day of week are given, one of them is enough, as in cron:
``0 0 13 * FRI`` is each 13th and each Friday. Where one of them begins with ``*``, both must fit:
``0 0 */2 * MON`` is each Monday with an odd date.

Where clocks change, a time that is skipped runs once, at the first moment after the gap, and a
time that is repeated runs once, the first time. Only a line whose hour is ``*`` or has a step
runs in real time: never in the hour that is skipped, twice in the one that is repeated.
"""

import difflib
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from worchflow_celery.clock import utcnow
from worchflow_celery.cronline import FIRST_YEAR, LAST_YEAR, CronLine, oddity, read
from worchflow_celery.errors import InvalidOption
from worchflow_celery.options import check_moment, shown

_SECOND = timedelta(seconds=1)
_NOTHING = timedelta(0)
#: The most windows that one list may hold.
_MOST = 100_000
#: Names that mean something else on another machine, or count leap seconds.
_OF_THIS_MACHINE = re.compile(r"localtime$|posixrules$|Factory$|posix/|right/")


def validate(expr: str) -> bool:
    """Whether the expression means something that comes to pass."""
    try:
        read(expr)
    except InvalidOption:
        return False
    return True


def check(expr: str, timezone: str = "UTC") -> None:
    """Raise ``InvalidOption`` if the expression or the zone cannot be."""
    read(expr)
    _zone(timezone)


def doubt(expr: str, timezone: str = "UTC", now: datetime | None = None) -> str | None:
    """A warning to show, with the next three runs, if a valid expression looks like a slip."""
    now = _now(now, "now")
    odd = oddity(expr) if validate(expr) else None
    if odd is None:
        return None
    runs = islice(_windows(read(expr), _zone(timezone), now, forward=True), 3)
    times = ", ".join(f"{run:%Y-%m-%dT%H:%M:%SZ}" for run in runs)
    return f"cron is {shown(expr)}: {odd}; the next runs are {times}"


def next_run(expr: str, after: datetime | None = None, timezone: str = "UTC") -> datetime:
    """The first window later than ``after`` (now)."""
    return _nearest(expr, _now(after, "after"), timezone, forward=True)


def previous_run(expr: str, before: datetime | None = None, timezone: str = "UTC") -> datetime:
    """The last window earlier than ``before`` (now)."""
    return _nearest(expr, _now(before, "before"), timezone, forward=False)


def missed_windows(
    expr: str, since: datetime, until: datetime, timezone: str = "UTC"
) -> list[datetime]:
    """The windows later than ``since`` and not later than ``until``."""
    since = _utc(since, "since")
    missed = list(islice(windows(expr, since, until, timezone), _MOST + 1))
    if len(missed) > _MOST:
        raise InvalidOption(
            f"cron is {shown(expr)}: it has more than {_MOST} windows from {since} to {until}; "
            "use cron.windows(), which finds them one by one"
        )
    return missed


def should_have_run(
    expr: str, last_run: datetime | None, now: datetime | None = None, timezone: str = "UTC"
) -> bool:
    """Whether a window has come since ``last_run``; what has never run (``None``) missed none."""
    now = _now(now, "now")
    if last_run is None:
        check(expr, timezone)
        return False
    return any(True for _ in windows(expr, _utc(last_run, "last_run"), now, timezone))


def windows(
    expr: str, after: datetime, until: datetime, timezone: str = "UTC"
) -> Iterator[datetime]:
    """The windows later than ``after`` and not later than ``until``, found one by one."""
    line, zone, after = read(expr), _zone(timezone), _utc(after, "after")
    until = check_moment(until, "until")
    return takewhile(lambda window: window <= until, _windows(line, zone, after, forward=True))


def _nearest(expr: str, start: datetime, timezone: str, *, forward: bool) -> datetime:
    for window in _windows(read(expr), _zone(timezone), start, forward=forward):
        return window
    when = f"{'after' if forward else 'before'} {start.date()}"
    raise InvalidOption(f"cron is {shown(expr)}: there is no run {when}")


def _windows(line: CronLine, zone: tzinfo, start: datetime, *, forward: bool) -> Iterator[datetime]:
    """The windows beyond ``start``, onwards or backwards, each once."""
    last = start
    for instant in _instants(line, zone, start.astimezone(zone), forward):
        if instant > last if forward else instant < last:
            yield instant
            last = instant


def _instants(line: CronLine, zone: tzinfo, start: datetime, forward: bool) -> Iterator[datetime]:
    """The moments at which the clock on the wall shows a time of the line, in their order.

    A time that it shows twice is met once, with its two moments: the one of the other pass waits
    until this pass is over.
    """
    waiting: deque[datetime] = deque()
    for wall in line.walls(_first_wall(start, forward), forward=forward):
        moments = _moments(wall, zone, line.real_time)
        if moments:
            moment, *other = moments if forward else reversed(moments)
            while waiting and (moment > waiting[0]) is forward:
                yield waiting.popleft()
            yield moment
            waiting.extend(other)
    yield from waiting


def _first_wall(start: datetime, forward: bool) -> datetime:
    """Where to begin: far enough back that no time which the clock shows twice is missed."""
    wall = start.replace(microsecond=0, tzinfo=None, fold=0)
    repeated = max(_offset(wall, start.tzinfo) - _offset(wall, start.tzinfo, fold=1), _NOTHING)
    return wall - repeated if forward else wall + repeated


def _moments(wall: datetime, zone: tzinfo, real_time: bool) -> tuple[datetime, ...]:
    """When a time on the clock's face is due: in real time as often as the clock shows it."""
    before, after = _offset(wall, zone), _offset(wall, zone, fold=1)
    first = (wall - before).replace(tzinfo=UTC)
    if before == after:
        return (first,)
    other = (wall - after).replace(tzinfo=UTC)
    if before > after:
        return (first, other) if real_time else (first,)
    return () if real_time else (_end_of_gap(zone, other, first),)


def _end_of_gap(zone: tzinfo, before: datetime, after: datetime) -> datetime:
    """The first moment of the new offset."""
    offset = after.astimezone(zone).utcoffset()
    seconds = range((after - before) // _SECOND + 1)
    number = bisect_left(
        seconds,
        True,
        key=lambda second: (before + second * _SECOND).astimezone(zone).utcoffset() == offset,
    )
    return before + number * _SECOND


def _offset(wall: datetime, zone: tzinfo | None, fold: int = 0) -> timedelta:
    return wall.replace(tzinfo=zone, fold=fold).utcoffset() or _NOTHING


def _now(moment: datetime | None, what: str) -> datetime:
    return utcnow() if moment is None else _utc(moment, what)


def _utc(moment: datetime, what: str) -> datetime:
    try:
        utc = check_moment(moment, what).astimezone(UTC)
    except OverflowError:
        utc = datetime.max
    if not FIRST_YEAR <= utc.year <= LAST_YEAR:
        raise InvalidOption(
            f"{what} is {shown(moment)}: it must lie in the years {FIRST_YEAR} to {LAST_YEAR}"
        )
    return utc


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    with suppress(ZoneInfoNotFoundError, ValueError, OSError):
        if isinstance(name, str) and not _OF_THIS_MACHINE.match(name):
            return ZoneInfo(name)
    raise InvalidOption(f"timezone is {shown(name)}: there is no such time zone; {_advice(name)}")


def _advice(name: str) -> str:
    known = {
        zone.lower(): zone for zone in available_timezones() if not _OF_THIS_MACHINE.match(zone)
    }
    if not known:
        return "this machine knows none but UTC: install tzdata"
    wanted = str(name)[:50].lower() or "utc"
    nearest = difflib.get_close_matches(wanted, known, n=1, cutoff=0.0)[0]
    return f"the nearest is {known[nearest]!r}"
