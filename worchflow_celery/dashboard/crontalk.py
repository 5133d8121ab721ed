"""Cron lines in words, and what a change of clocks does to them.  Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

from worchflow_celery.cronline import CronLine, read

_DAYS = "Sun Mon Tue Wed Thu Fri Sat".split()
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
#: Times of a day that are listed.
_MOST_TIMES = 4
_ALL_HOURS = tuple(range(24))


def words(expr: str) -> str:
    """``every 15 min, 8–18 h, Mon–Fri``; nothing for what takes too many words."""
    line = read(expr)
    times, days = _times(line), _days(line)
    if not times or days is None:
        return ""
    daily = "daily " if times.startswith("at ") and not days else ""
    return daily + ", ".join(filter(None, (times, days)))


def zone_of(name: str) -> tzinfo:
    """The zone of a schedule."""
    return UTC if name == "UTC" else ZoneInfo(name)


def notes(expr: str, timezone: str, now: datetime, moments: Sequence[datetime]) -> list[str]:
    """For each of the next windows what the clocks do to it, mostly nothing."""
    line, zone = read(expr), zone_of(timezone)
    return [_note(line, zone, before, moment) for before, moment in pairwise([now, *moments])]


def _note(line: CronLine, zone: tzinfo, before: datetime, moment: datetime) -> str:
    local = moment.astimezone(zone)
    wall = local.replace(tzinfo=None, fold=0)
    if next(line.walls(wall, forward=True)) != wall:
        return "the clocks skip its time that day: it runs at the first moment after"
    first, second = (wall.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    if first is not None and second is not None and first > second:
        if line.real_time:
            return f"the clocks show this time twice: {'second' if local.fold else 'first'} of two"
        return "the clocks show this time twice: it runs the first time only"
    now, then = local.utcoffset(), before.astimezone(zone).utcoffset()
    if now is not None and then is not None and now != then:
        way = "forward" if now > then else "back"
        return f"the clocks have gone {way} before: now UTC{local:%z}"
    return ""


def _times(line: CronLine) -> str:
    if line.seconds != (0,):
        every = _step(line.seconds, 60)
        often = line.minutes == tuple(range(60)) and line.hours == _ALL_HOURS
        return (f"every {every} s" if every > 1 else "every second") if every and often else ""
    every = _step(line.minutes, 60)
    if every and len(line.minutes) > 1:
        told = f"every {every} min" if every > 1 else "every minute"
        return told if line.hours == _ALL_HOURS else _within(told, line.hours)
    if line.hours == _ALL_HOURS and len(line.minutes) == 1:
        return f"hourly at :{line.minutes[0]:02}"
    hours = _step(line.hours, 24)
    if hours > 1 and len(line.hours) > 2 and line.minutes == (0,):
        return f"every {hours} h"
    times = [f"{hour}:{minute:02}" for hour in line.hours for minute in line.minutes]
    return f"at {', '.join(times)}" if len(times) <= _MOST_TIMES else ""


def _within(told: str, hours: tuple[int, ...]) -> str:
    if len(hours) == 1:
        return f"{told} from {hours[0]}:00 to {hours[0]}:59"
    whole = hours == tuple(range(hours[0], hours[-1] + 1))
    return f"{told}, {hours[0]}:00–{hours[-1]}:59" if whole else ""


def _step(values: tuple[int, ...], whole: int) -> int:
    """The even step of values that go round; 0: they do not."""
    every = whole // len(values)
    return every if values == tuple(range(0, whole, every)) and whole % every == 0 else 0


def _days(line: CronLine) -> str | None:
    """In words; ``None`` for what takes too many."""
    if line.nth or (line.days is not None and line.weekdays is not None):
        return None
    parts = []
    if line.weekdays is not None:
        parts.append(_weekdays(sorted(line.weekdays)))
    if line.days is not None:
        if len(line.days) > 3:
            return None
        named = ["the last" if day < 0 else f"{day}." for day in sorted(line.days)]
        parts.append(f"on {', '.join(named)} of the month")
    if line.months != tuple(range(1, 13)):
        parts.append(f"in {', '.join(_MONTHS[month - 1] for month in line.months)}")
    return ", ".join(parts)


def _weekdays(days: list[int]) -> str:
    if len(days) > 2 and days == list(range(days[0], days[-1] + 1)):
        return f"{_DAYS[days[0]]}–{_DAYS[days[-1]]}"
    return ", ".join(_DAYS[day] for day in days)
