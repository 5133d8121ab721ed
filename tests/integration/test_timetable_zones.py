"""The day on which the clocks of a zone change, as a scheduler sees to its windows."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.integration.schedules import Clockwork, turn
from tests.support import Bench
from worchflow_celery import Scheduler, Worchflow

QUARTER, HALF, DAY = timedelta(minutes=15), timedelta(minutes=30), timedelta(days=1)
#: Zones, and how far their clocks change.
in_zones = pytest.mark.parametrize(
    ("zone", "length"), [("Europe/Berlin", 2 * HALF), ("Australia/Lord_Howe", HALF)]
)

CaughtUp = Callable[[str, str, datetime], list[datetime]]


@pytest.fixture
def caught_up(alone: Worchflow, scheduler: Callable[..., Scheduler], bench: Bench) -> CaughtUp:
    """Has a scheduler see to a line of minute and hour on the date of a change; tells when it ran.

    The day is over: it begins where the schedule has come to.
    """

    def run(line: str, zone: str, change: datetime) -> list[datetime]:
        clockwork = Clockwork(bench, alone)
        local = change.astimezone(ZoneInfo(zone))
        cron = f"{line} {local.day} {local.month} *"
        clockwork.flow("night", cron=cron, timezone=zone, missed="all")
        clockwork.open()
        clockwork.age("night", clockwork.now() - change + DAY)
        turn(scheduler())
        return [one for one in clockwork.executions("night")[::-1] if one < change + DAY]

    return run


def offset(zone: str, moment: datetime) -> timedelta:
    found = moment.astimezone(ZoneInfo(zone)).utcoffset()
    assert found is not None
    return found


def last_change(zone: str, by: timedelta) -> datetime:
    """When the clocks of a zone last changed so, the present day left out."""
    moment = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - DAY
    while offset(zone, moment) - offset(zone, moment - HALF) != by:
        moment -= HALF
    return moment


@in_zones
def test_a_window_in_the_time_that_is_skipped_runs_once_when_that_is_over(
    caught_up: CaughtUp, zone: str, length: timedelta
) -> None:
    change = last_change(zone, length)
    skipped = change + offset(zone, change - HALF) + length / 2  # what the clock would have shown

    ran = caught_up(f"{skipped:%M %H}", zone, change)

    assert ran == [change]


@in_zones
def test_a_window_in_the_time_that_is_repeated_runs_once_the_first_time(
    caught_up: CaughtUp, zone: str, length: timedelta
) -> None:
    change = last_change(zone, -length)
    first = change - length / 2

    ran = caught_up(f"{first.astimezone(ZoneInfo(zone)):%M %H}", zone, change)

    assert ran == [first]


@in_zones
@pytest.mark.parametrize("sign", [1, -1], ids=["skipped", "repeated"])
def test_a_line_of_quarters_runs_each_real_quarter_of_an_hour(
    caught_up: CaughtUp, zone: str, length: timedelta, sign: int
) -> None:
    change = last_change(zone, sign * length)
    local = change.astimezone(ZoneInfo(zone)).replace(minute=0)
    midnight, six = (local.replace(hour=hour).astimezone(UTC) for hour in (0, 6))

    ran = caught_up("*/15 0-5/1", zone, change)

    assert ran == [midnight + number * QUARTER for number in range((six - midnight) // QUARTER)]
    assert six - midnight == timedelta(hours=6) - sign * length
