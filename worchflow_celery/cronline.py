"""A cron expression, read: the times that it names, on a clock that knows no zone."""

import calendar
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import lru_cache

from croniter import CroniterError, croniter

from worchflow_celery.errors import InvalidOption
from worchflow_celery.options import shown

#: Times are looked for in these years: their offsets from UTC never leave what Python can hold.
FIRST_YEAR, LAST_YEAR = 2, 9998

_LAST = -1
_LONGEST = 1000
_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_WEEKDAYS = "sun mon tue wed thu fri sat".split()


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    least: int
    most: int
    #: What it may hold, for those who wrote something else.
    values: str
    words: Mapping[str, int]

    def range(self, item: str) -> tuple[int, int, int] | None:
        """First, last and step of an item that has a ``-`` or a ``/``."""
        match = _RANGE.fullmatch(item)
        if match is None or not (match["last"] or match["step"]):
            return None
        try:
            first = self.least if match["first"] == "*" else self._number(match["first"])
            last = self.most if match["last"] is None else self._number(match["last"])
        except KeyError:
            return None
        return first, last, int(match["step"] or 1)

    def _number(self, text: str) -> int:
        return int(text) if text.isdigit() else self.words[text]


_RANGE = re.compile(r"(?P<first>\*|\d+|[a-z]{3})(?:-(?P<last>\w+))?(?:/(?P<step>\d+))?")
#: In croniter's order: seconds last.
_FIELDS = (
    _Field("minute", 0, 59, "0-59", {}),
    _Field("hour", 0, 23, "0-23", {}),
    _Field("day of month", 1, 31, "1-31 and L (the last)", {"l": 31}),
    _Field("month", 1, 12, "1-12 or JAN-DEC", {name: n for n, name in enumerate(_MONTHS, 1)}),
    _Field(
        "day of week",
        0,
        6,
        "0-7 or SUN-SAT, 5#2 (the second Friday), L5 (the last)",
        {name: n for n, name in enumerate(_WEEKDAYS)},
    ),
    _Field("second", 0, 59, "0-59", {}),
)
_HOUR, _DAY, _WEEKDAY = 1, 2, 4

_Values = Sequence[int | str]

_PER_PROCESS = re.compile(r"(?:^|,)[hr](?![a-z])")
_NEAREST = re.compile(r"\d+w|w\d+")
_NTH = re.compile(r".+#.+|l\d+")


@dataclass(frozen=True, slots=True)
class CronLine:
    """The numbers that each field names; -1 stands for the last one of a month."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: tuple[int, ...]
    #: ``None``: any day.
    days: frozenset[int] | None
    #: From 0, Sunday; ``None``: any day.
    weekdays: frozenset[int] | None
    #: Pairs such as (5, 2), the second Friday.
    nth: frozenset[tuple[int, int]]
    #: A day has to fit both its fields; else one of them is enough.
    both: bool
    #: The hour is ``*`` or has a step.
    real_time: bool

    def walls(self, start: datetime, *, forward: bool) -> Iterator[datetime]:
        """The naive times from ``start`` on (itself included), or backwards from it."""
        times = range(len(self.hours) * len(self.minutes) * len(self.seconds))
        for day in self._days(start.date(), forward):
            of_day = times
            if day == start.date() and forward:
                of_day = times[bisect_left(times, start.time(), key=self._time) :]
            elif day == start.date():
                of_day = times[: bisect_right(times, start.time(), key=self._time)]
            for number in of_day if forward else reversed(of_day):
                yield datetime.combine(day, self._time(number))

    def ever_fires(self) -> bool:
        """Whether any year has such a day; 28 years are all the kinds of year that there are."""
        return any(
            self._days_of(year, month) for year in range(2000, 2028) for month in self.months
        )

    def _time(self, number: int) -> time:
        rest, second = divmod(number, len(self.seconds))
        hour, minute = divmod(rest, len(self.minutes))
        return time(self.hours[hour], self.minutes[minute], self.seconds[second])

    def _days(self, start: date, forward: bool) -> Iterator[date]:
        first = start.year * 12 + start.month - 1
        end, step = (LAST_YEAR * 12 + 12, 1) if forward else (FIRST_YEAR * 12 - 1, -1)
        for year, month in (divmod(number, 12) for number in range(first, end, step)):
            if month + 1 in self.months:
                for number in self._days_of(year, month + 1)[::step]:
                    day = date(year, month + 1, number)
                    if day >= start if forward else day <= start:
                        yield day

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
    """What an expression means; one that means nothing is refused with the reason."""
    if not isinstance(expr, str):
        raise _refused(expr, "it must be a string such as '0 9 * * MON-FRI'")
    return _read(expr)


def oddity(expr: str) -> str | None:
    """What a valid expression says though its author probably means something else."""
    for field, text in zip(_FIELDS, _split(expr), strict=True):
        for item in text.split(","):
            first, last, step = field.range(item) or (0, 0, 0)
            if first > last and item[0].isdigit():
                return f"{item!r} in the {field.name} runs past {field.most} to {field.least}"
            if step > abs(last - first):
                return f"the step of {item!r} in the {field.name} leaves a single value"
    return None


@lru_cache(maxsize=1024)
def _read(expr: str) -> CronLine:
    texts = _split(expr)
    values, nth = _expand(expr, texts)
    minutes, hours, _, months, _, seconds = map(_numbers, _FIELDS, values)
    days, weekdays = _days(values[_DAY]), _days(values[_WEEKDAY])
    line = CronLine(
        seconds=seconds,
        minutes=minutes,
        hours=hours,
        months=months,
        days=days,
        weekdays=frozenset() if nth else weekdays,
        nth=nth,
        both=None in (days, weekdays) or texts[_DAY][0] == "*" or texts[_WEEKDAY][0] == "*",
        real_time="*" in texts[_HOUR] or "/" in texts[_HOUR],
    )
    if nth and not line.both:
        raise _refused(expr, "'#' and 'L' in the day of week go with '*' in the day of month only")
    if not line.ever_fires():
        raise _refused(expr, "it never fires: no month that it names has such a day")
    return line


def _split(expr: str) -> list[str]:
    """The six fields in croniter's order."""
    if len(expr) > _LONGEST:
        raise _refused(expr, f"it has {len(expr)} characters; {_LONGEST} is the most")
    text = expr.strip(" \t\r\n").lower()
    strange = [char for char in text if not " " <= char <= "~" and char != "\t"]
    if strange:
        raise _refused(expr, f"it holds {strange[0]!a}; spaces or tabs separate the fields")
    if text.startswith("@") and text not in _ALIASES:
        raise _refused(
            expr,
            f"there is no such alias, only {', '.join(_ALIASES)}; every five minutes is "
            "'*/5 * * * *'",
        )
    fields = _ALIASES.get(text, text).split()
    if len(fields) not in (5, 6):
        raise _refused(
            expr,
            f"it has {len(fields)} fields; it must have five (minute, hour, day of month, month, "
            "day of week), or six with the second before these",
        )
    return [*fields[-5:], fields[0] if len(fields) == 6 else "0"]


def _expand(expr: str, texts: list[str]) -> tuple[Sequence[_Values], frozenset[tuple[int, int]]]:
    """Have croniter read the fields, after what it reads in another way than cron does."""
    for field, text in zip(_FIELDS, texts, strict=True):
        if _PER_PROCESS.search(text):
            raise _refused(
                expr, f"the {field.name} has 'H' or 'R', which no two processes read alike"
            )
        if field is _FIELDS[_DAY] and _NEAREST.search(text):
            raise _refused(expr, "'W', the nearest working day, is not supported")
    if len({bool(_NTH.fullmatch(item)) for item in texts[_WEEKDAY].split(",")}) > 1:
        raise _refused(expr, "the day of week is either a list of days or one of '#' and 'L'")
    plain = [_plain(field, text) for field, text in zip(_FIELDS, texts, strict=True)]
    try:
        values, nth = croniter.expand(" ".join(plain))
    except CroniterError as error:
        raise _refused(expr, _culprit(plain)) from error
    pairs = ((day, number) for day, numbers in nth.items() for number in numbers)
    return values, frozenset((day, _LAST if n == "l" else int(n)) for day, n in pairs)


def _plain(field: _Field, text: str) -> str:
    """Write ``5-5`` as 5: croniter takes it for the whole range of the field."""
    items = text.split(",")
    for number, item in enumerate(items):
        first, last, step = field.range(item) or (0, 1, 1)
        if first == last and step:
            items[number] = str(first)
    return ",".join(items)


def _culprit(texts: list[str]) -> str:
    for number, field in enumerate(_FIELDS):
        alone = ["*"] * len(_FIELDS)
        alone[number] = texts[number]
        if not croniter.is_valid(" ".join(alone)):
            return f"the {field.name} is {shown(texts[number])}; it takes {field.values}"
    return "its fields do not fit together"


def _numbers(field: _Field, values: _Values) -> tuple[int, ...]:
    if "*" in values:
        return tuple(range(field.least, field.most + 1))
    return tuple(sorted(value for value in values if isinstance(value, int)))


def _days(values: _Values) -> frozenset[int] | None:
    if "*" in values:
        return None
    return frozenset(value if isinstance(value, int) else _LAST for value in values)


def _refused(expr: object, reason: str) -> InvalidOption:
    return InvalidOption(f"cron is {shown(expr)}: {reason}")
