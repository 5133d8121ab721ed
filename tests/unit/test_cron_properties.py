"""For any expression and moment, the windows are those that a walk from minute to minute finds."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from worchflow_celery import cron
from worchflow_celery.errors import InvalidOption

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
#: Moments at which the clocks of these zones change, and some of a leap year.
CHANGES = [
    ("Europe/Berlin", datetime(2025, 3, 30, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2025, 10, 26, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2024, 10, 5, 15, 30, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2025, 4, 5, 15, tzinfo=UTC)),
]
QUIET = [
    ("UTC", datetime(2024, 2, 29, tzinfo=UTC)),
    ("UTC", datetime(2025, 12, 31, tzinfo=UTC)),
    ("Asia/Kolkata", datetime(2028, 2, 29, tzinfo=UTC)),
]
NAMES = {
    "month": "jan feb mar apr may jun jul aug sep oct nov dec".split(),
    "weekday": "sun mon tue wed thu fri sat".split(),
}
RANGES = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 6)}


@dataclass(frozen=True)
class Field:
    """The text of a field and the numbers that it means."""

    text: str
    numbers: frozenset[int]

    @property
    def starred(self) -> bool:
        return self.text.startswith("*")

    @property
    def any(self) -> bool:
        return "*" in self.text.split(",")


@dataclass(frozen=True)
class Line:
    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field
    second: Field | None = None

    def __str__(self) -> str:
        fields = [self.minute, self.hour, self.day, self.month, self.weekday]
        return " ".join(field.text for field in [self.second, *fields] if field)

    def names(self, wall: datetime) -> bool:
        second = wall.second in self.second.numbers if self.second else wall.second == 0
        time = wall.minute in self.minute.numbers and wall.hour in self.hour.numbers
        return second and time and wall.month in self.month.numbers and self._names_day(wall)

    def _names_day(self, wall: datetime) -> bool:
        by_date = wall.day in self.day.numbers
        by_weekday = wall.isoweekday() % 7 in self.weekday.numbers
        if self.day.any or self.weekday.any or self.day.starred or self.weekday.starred:
            return by_date and by_weekday
        return by_date or by_weekday


@st.composite
def items(draw: st.DrawFn, kind: str) -> Field:
    least, most = RANGES[kind]
    low, high = draw(st.integers(least, most)), draw(st.integers(least, most))
    step = draw(st.integers(1, 70))
    onwards = [n for n in range(least, most + 1) if (low <= n <= high if low <= high else n >= low)]
    over_the_end = [n for n in range(least, high + 1) if low > high]

    def written(number: int) -> str:
        names = NAMES.get(kind)
        return draw(st.sampled_from([str(number), names[number - least]])) if names else str(number)

    text, numbers = draw(
        st.sampled_from(
            [
                ("*", [*range(least, most + 1)]),
                (f"*/{step}", [*range(least, most + 1, step)]),
                (written(low), [low]),
                (f"{written(low)}-{written(high)}", onwards + over_the_end),
                (f"{low}/{step}", [*range(low, most + 1, step)]),
                (f"{low}-{max(low, high)}/{step}", [*range(low, max(low, high) + 1, step)]),
            ]
        )
    )
    return Field(draw(st.sampled_from([text, text.upper()])), frozenset(numbers))


def fields(kind: str) -> st.SearchStrategy[Field]:
    """One item of any kind, or a list of such as do not begin with a star."""
    several = st.lists(items(kind).filter(lambda item: not item.starred), min_size=2, max_size=3)
    return items(kind) | several.map(
        lambda some: Field(
            ",".join(item.text for item in some),
            frozenset().union(*(item.numbers for item in some)),
        )
    )


def spelled(kind: str, *texts: str) -> st.SearchStrategy[Field]:
    """Ranges and lists of plain numbers."""

    def meant(text: str) -> Iterator[int]:
        for part in text.split(","):
            low, _, high = part.partition("-")
            yield from range(int(low), int(high or low) + 1)

    return st.sampled_from([Field(text, frozenset(meant(text))) for text in texts])


STAR = {kind: Field("*", frozenset(range(low, high + 1))) for kind, (low, high) in RANGES.items()}
ZERO = Field("0", frozenset([0]))
EVERY_DAY = STAR["day"], STAR["month"], STAR["weekday"]
days = st.tuples(fields("day"), st.just(STAR["month"]) | fields("month"), fields("weekday"))
#: Lines that have to do with the hours in which clocks change.
night = fields("hour") | spelled("hour", "1", "2", "1,2", "2-3", "0-3", "0-23")
lines = st.builds(
    lambda minute, hour, days: Line(minute, hour, *days),
    fields("minute") | spelled("minute", "0", "15", "30", "45", "0,30"),
    night,
    st.just(EVERY_DAY) | days,
)
by_the_second = st.builds(
    lambda second, minute, hour: Line(minute, hour, *EVERY_DAY, second),
    fields("minute"),
    fields("minute"),
    night,
)
by_the_day = st.builds(lambda days: Line(ZERO, ZERO, *days), days)


def walk(line: Line, zone: str, middle: datetime, tick: timedelta = MINUTE) -> list[datetime]:
    """The promise, tick by tick: in real time a line runs whenever the clock shows one of its
    times; otherwise a time runs when the clock shows it, or has passed it, for the first time."""
    if "*" in line.hour.text or "/" in line.hour.text:
        return [moment for moment, wall, _ in clock(zone, middle, tick) if line.names(wall)]
    return [moment for moment, _, new in clock(zone, middle, tick) if any(map(line.names, new))]


@lru_cache
def clock(
    zone: str, middle: datetime, tick: timedelta
) -> list[tuple[datetime, datetime, list[datetime]]]:
    """Each moment of the span, what the clock shows, and what it never showed or passed before."""
    shown, place, (first, last) = [], ZoneInfo(zone), span(middle, tick)
    reached = first.astimezone(place).replace(tzinfo=None)
    for moment in ticks(first + tick, last, tick):
        wall = moment.astimezone(place).replace(tzinfo=None)
        shown.append((moment, wall, list(ticks(reached + tick, wall, tick))))
        reached = max(reached, wall)
    return shown


def ticks(first: datetime, last: datetime, tick: timedelta) -> Iterator[datetime]:
    while first <= last:
        yield first
        first += tick


def span(middle: datetime, tick: timedelta = MINUTE) -> tuple[datetime, datetime]:
    reach = 2000 * tick if tick == MINUTE else 8000 * tick
    return middle - reach, middle + reach


def windows(line: Line, zone: str, first: datetime, last: datetime) -> list[datetime]:
    if not cron.validate(str(line)):
        return []  # it never fires: neither must the walk find anything
    return list(cron.windows(str(line), first, last, zone))


@pytest.mark.parametrize(("zone", "middle"), CHANGES + QUIET)
@settings(max_examples=35, deadline=None)
@given(line=lines)
def test_the_windows_are_those_that_a_walk_through_the_minutes_finds(zone, middle, line):
    assert windows(line, zone, *span(middle)) == walk(line, zone, middle)


@pytest.mark.parametrize(("zone", "middle"), CHANGES)
@settings(max_examples=15, deadline=None)
@given(line=by_the_second)
def test_with_six_fields_they_are_those_that_a_walk_through_the_seconds_finds(zone, middle, line):
    assert windows(line, zone, *span(middle, SECOND)) == walk(line, zone, middle, SECOND)


@pytest.mark.parametrize(("zone", "middle"), CHANGES)
@settings(max_examples=35, deadline=None)
@given(line=lines, away=st.integers(-90 * 60_000_000, 90 * 60_000_000))
def test_the_next_and_the_previous_run_are_the_windows_around_any_moment(zone, middle, line, away):
    known = walk(line, zone, middle)
    moment = middle + timedelta(microseconds=away)
    later, earlier = [w for w in known if w > moment], [w for w in known if w < moment]

    assert not later or cron.next_run(str(line), moment, zone) == later[0]
    assert not earlier or cron.previous_run(str(line), moment, zone) == earlier[-1]


@pytest.mark.parametrize(
    "first", [datetime(2023, 1, 1), datetime(2096, 1, 1)], ids=lambda d: d.year
)
@settings(max_examples=35, deadline=None)
@given(line=by_the_day)
def test_the_days_of_years_are_those_that_a_walk_through_the_calendar_finds(first, line):
    first = first.replace(tzinfo=UTC)
    days = [first + timedelta(days=number) for number in range(1, 9 * 366)]

    assert windows(line, "UTC", first, days[-1]) == [day for day in days if line.names(day)]


@settings(max_examples=50, deadline=None)
@given(
    weekday=st.integers(0, 6), nth=st.integers(1, 5), month=fields("month"), day=st.integers(1, 31)
)
def test_the_last_day_and_the_nth_weekday_are_those_of_the_calendar(weekday, nth, month, day):
    first = datetime(2023, 1, 1, tzinfo=UTC)
    days = [first + timedelta(days=number) for number in range(1, 9 * 366)]
    days = [day for day in days if day.month in month.numbers]
    such = [day for day in days if day.isoweekday() % 7 == weekday]
    week = timedelta(days=7)

    found = {
        text: list(cron.windows(f"0 0 {text.format(month.text)}", first, days[-1]))
        for text in ["L {} *", f"{day},L {{}} *", f"* {{}} {weekday}#{nth}", f"* {{}} L{weekday}"]
        if cron.validate(f"0 0 {text.format(month.text)}")
    }

    ends = [day for day in days if (day + week / 7).month != day.month]
    assert found.pop("L {} *") == ends
    assert found.pop(f"{day},L {{}} *") == sorted({*ends, *(d for d in days if d.day == day)})
    assert found.pop(f"* {{}} L{weekday}") == [d for d in such if (d + week).month != d.month]
    assert found.popitem()[1] == [d for d in such if (d.day - 1) // 7 + 1 == nth]


@settings(max_examples=200, deadline=None)
@given(
    line=lines,
    zone=st.timezone_keys(allow_prefix=False),
    moment=st.datetimes(datetime(1850, 1, 1), datetime(2150, 1, 1), timezones=st.just(UTC)),
)
def test_in_any_zone_and_year_looking_back_finds_what_looking_ahead_found(line, zone, moment):
    assume(cron.validate(str(line)) and zone not in {"localtime", "Factory"})
    ahead = list(islice(cron.windows(str(line), moment, datetime.max.replace(tzinfo=UTC), zone), 5))

    back = [cron.previous_run(str(line), later, zone) for later in ahead[1:]]

    assert back == ahead[:-1]
    assert ahead == sorted(set(ahead)) and ahead[0] > moment
    assert cron.previous_run(str(line), ahead[0], zone) <= moment


@settings(max_examples=200, deadline=None)
@given(text=st.text() | st.text("0123456789*/-,#LWHR? @MONJANfri\t", max_size=30))
def test_any_text_is_an_expression_or_refused(text):
    try:
        found = cron.next_run(text, datetime(2026, 1, 1, tzinfo=UTC))
    except InvalidOption as refusal:
        assert not cron.validate(text) and str(refusal).isprintable()
    else:
        assert cron.validate(text) and found > datetime(2026, 1, 1, tzinfo=UTC)
