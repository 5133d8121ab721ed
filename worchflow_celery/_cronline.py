"""One cron expression, read: which times of which days it names, on a clock without a zone."""

import calendar
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import lru_cache

from croniter import CroniterError, croniter

from worchflow_celery.errors import InvalidOption
from worchflow_celery.options import shown

#: The years in which times are looked for: any zone's offset stays within what Python can hold.
FIRST_YEAR, LAST_YEAR = 2, 9998

_LONGEST = 1000
_LAST = -1
_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_PER_PROCESS = re.compile(r"(?:^|,)[hr](?![a-z])")
_OF_WEEKDAY = re.compile(r".*#.*|l\d+")
_ITEM = re.compile(r"(?:\*|(\w+)(?:-(\w+))?)(?:/(\d+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Field:
    """The name of a field, its least and greatest number, what else it takes, and its spellings."""

    name: str
    least: int
    most: int
    values: str
    #: How the greatest number can be written.
    top: str


_SECOND = Field("second", 0, 59, "0-59", "59")
_FIELDS = (
    Field("minute", 0, 59, "0-59", "59"),
    Field("hour", 0, 23, "0-23", "23"),
    Field("day of month", 1, 31, "1-31 or L", "31"),
    Field("month", 1, 12, "1-12 or JAN-DEC", "12|dec"),
    Field("day of week", 0, 6, "0-7 or SUN-SAT, with L or # as in L5 or 5#2", "6|sat"),
    _SECOND,
)


@dataclass(frozen=True, slots=True)
class CronLine:
    """The numbers of each field.  -1 is the last day, or the last such weekday, of a month."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: tuple[int, ...]
    #: ``None`` for every day.
    days: frozenset[int] | None
    #: From Sunday, 0; ``None`` for every day.
    weekdays: frozenset[int] | None
    #: Weekday and how many-eth of the month: (5, 2) for the second Friday.
    nth: frozenset[tuple[int, int]]
    #: A day must fit both the day of month and the day of week; else one of them will do.
    both: bool
    #: The hour is ``*`` or has a step: times that are skipped or repeated are so in the runs, too.
    real_time: bool

    def walls(self, start: datetime, *, forward: bool) -> Iterator[datetime]:
        """The naive times from ``start`` (included), onwards or backwards."""
        times = range(len(self.hours) * len(self.minutes) * len(self.seconds))
        for day in self._days(start.date(), forward):
            left = times
            if day == start.date() and forward:
                left = times[bisect_left(times, start.time(), key=self._time) :]
            elif day == start.date():
                left = times[: bisect_right(times, start.time(), key=self._time)]
            for number in left if forward else reversed(left):
                yield datetime.combine(day, self._time(number))

    def ever_fires(self) -> bool:
        """Whether there is such a day; these years are of every kind that the calendar has."""
        return any(self._days_of(year, month) for year in range(2000, 2028) for month in self.months)

    def _time(self, number: int) -> time:
        rest, second = divmod(number, len(self.seconds))
        hour, minute = divmod(rest, len(self.minutes))
        return time(self.hours[hour], self.minutes[minute], self.seconds[second])

    def _days(self, start: date, forward: bool) -> Iterator[date]:
        month = start.year * 12 + start.month - 1
        end, step = (LAST_YEAR * 12 + 12, 1) if forward else (FIRST_YEAR * 12 - 1, -1)
        for year, index in (divmod(number, 12) for number in range(month, end, step)):
            if index + 1 in self.months:
                days = [date(year, index + 1, day) for day in self._days_of(year, index + 1)]
                yield from (day for day in days[::step] if (day >= start if forward else day <= start))

    def _days_of(self, year: int, month: int) -> list[int]:
        first, length = calendar.monthrange(year, month)
        return [day for day in range(1, length + 1) if self._fits(day, (first + day) % 7, length)]

    def _fits(self, day: int, weekday: int, length: int) -> bool:
        by_date = self.days is None or day in self.days or (day == length and _LAST in self.days)
        by_weekday = (
            self.weekdays is None
            or weekday in self.weekdays
            or (weekday, (day + 6) // 7) in self.nth
            or (day + 7 > length and (weekday, _LAST) in self.nth)
        )
        return (by_date and by_weekday) if self.both else (by_date or by_weekday)


def read(expr: object) -> CronLine:
    """What an expression means, or a refusal that says why it means nothing."""
    if not isinstance(expr, str):
        raise _refused(expr, "it must be a string of five fields, or of six with seconds first")
    return _read(expr)


def oddity(expr: str) -> str | None:
    """What in a valid expression probably means something else than its author thinks."""
    *fields, second = _split(expr)
    for kind, text in zip(_FIELDS, [*fields, second], strict=True):
        for item in text.split(","):
            match = _ITEM.fullmatch(item)
            low, high, step = match.groups() if match else (None, None, None)
            least = int(low) if low and low.isdigit() else kind.least
            most = int(high) if high and high.isdigit() else kind.most
            if least > most and high:
                return f"{item!r} in the {kind.name} field runs on from {kind.most} to {kind.least}"
            if step and int(step) > most - least:
                return f"the step of {item!r} in the {kind.name} field leaves a single value"
    return None


@lru_cache(maxsize=1024)
def _read(expr: str) -> CronLine:
    fields = _split(expr)
    values, nth = _expanded(expr, fields)
    seconds, minutes, hours, months = (
        tuple(range(_FIELDS[n].least, _FIELDS[n].most + 1)) if values[n] is None else tuple(values[n])
        for n in (5, 0, 1, 3)
    )
    ...
