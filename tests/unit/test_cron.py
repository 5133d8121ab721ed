"""What cron expressions mean: which windows they have, in which zone, and which were missed."""

import time
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise

import pytest

from worchflow_celery import cron

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)  # a Thursday
CENTURY = NEW_YEAR.replace(year=2126)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("*/15 * * * *", "2026-01-01 00:15"),
        ("30 9 * * *", "2026-01-01 09:30"),
        ("5,10 * * * *", "2026-01-01 00:05"),
        ("10-20/5 * * * *", "2026-01-01 00:10"),
        ("50/5 * * * *", "2026-01-01 00:50"),
        ("59/15 * * * *", "2026-01-01 00:59"),
        ("0 9-17 * * *", "2026-01-01 09:00"),
        ("0 22-2 * * *", "2026-01-01 01:00"),
        ("0 5-5 * * *", "2026-01-01 05:00"),
        ("0 15-5 * * *", "2026-01-01 01:00"),
        ("0 9 * * MON-FRI", "2026-01-01 09:00"),
        ("0 9 * * 1", "2026-01-05 09:00"),
        ("0 9 * * 0", "2026-01-04 09:00"),
        ("0 9 * * 7", "2026-01-04 09:00"),
        ("0 0 * * sat", "2026-01-03 00:00"),
        ("0 0 * * FRI-MON", "2026-01-02 00:00"),
        ("0 0 * * SUN-0", "2026-01-04 00:00"),
        ("0 0 ? * 2", "2026-01-06 00:00"),
        ("0 0 1 JUL *", "2026-07-01 00:00"),
        ("0 0 1 2-3 *", "2026-02-01 00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
        ("0 0 31 2 MON", "2026-02-02 00:00"),
        ("  0\t9  * * *\n", "2026-01-01 09:00"),
    ],
)
def test_five_fields_are_minute_hour_day_month_and_weekday(expr, expected):
    assert cron.next_run(expr, NEW_YEAR) == utc(expected)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("*/10 * * * * *", "2026-01-01 00:00:10"),
        ("30 0 12 * * *", "2026-01-01 12:00:30"),
        ("0 30 9 * * MON", "2026-01-05 09:30:00"),
    ],
)
def test_the_first_of_six_fields_is_the_second(expr, expected):
    assert cron.next_run(expr, NEW_YEAR) == utc(expected)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("0 0 L * *", "2026-01-31"),
        ("0 0 25-L * *", "2026-01-25"),
        ("0 0 * * L5", "2026-01-30"),
        ("0 0 * * 5#2", "2026-01-09"),
        ("0 0 * * FRI#2", "2026-01-09"),
        ("0 0 * * MON-FRI#2", "2026-01-08"),
        ("0 0 * * 1#1,5#2", "2026-01-05"),
        ("0 0 * * 1#5", "2026-03-30"),
        ("0 0 L 2 *", "2026-02-28"),
    ],
)
def test_the_last_day_and_the_nth_weekday_of_a_month(expr, expected):
    assert cron.next_run(expr, NEW_YEAR) == utc(expected)


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        ("@hourly", "2026-01-01 01:00"),
        ("@daily", "2026-01-02 00:00"),
        ("@midnight", "2026-01-02 00:00"),
        ("@weekly", "2026-01-04 00:00"),
        ("@monthly", "2026-02-01 00:00"),
        ("@yearly", "2027-01-01 00:00"),
        ("@annually", "2027-01-01 00:00"),
        (" @Daily ", "2026-01-02 00:00"),
    ],
)
def test_aliases_are_what_they_say(alias, expected):
    assert cron.next_run(alias, NEW_YEAR) == utc(expected)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("13 * *", [13]),
        ("* * FRI", [2, 9, 16, 23, 30]),
        ("13 * FRI", [2, 9, 13, 16, 23, 30]),
        ("L * MON", [5, 12, 19, 26, 31]),
        ("1-31 * MON", [*range(1, 32)]),
        ("*/2 * MON", [5, 19]),
        ("1-7 * */2", [1, 3, 4, 6]),
        ("*/2 * 5#2", [9]),
    ],
)
def test_either_day_will_do_unless_one_begins_with_a_star_then_both_must_fit(fields, expected):
    found = cron.missed_windows(f"0 0 {fields}", utc("2025-12-31 23:59"), utc("2026-01-31 12:00"))

    assert [window.day for window in found] == expected


SPRING = ("America/New_York", "2026-03-08 05:00", "2026-03-09 03:59")
AUTUMN = ("America/New_York", "2026-11-01 04:00", "2026-11-02 04:59")
SHORT = ("Australia/Lord_Howe", "2024-10-05 13:30", "2024-10-06 12:59")
LONG = ("Australia/Lord_Howe", "2025-04-05 13:00", "2025-04-06 13:29")


@pytest.mark.parametrize(
    ("expr", "day", "expected"),
    [
        ("30 2 * * *", SPRING, ["2026-03-08 07:00"]),
        ("*/20 2 * * *", SPRING, ["2026-03-08 07:00"]),
        ("0 3 * * *", SPRING, ["2026-03-08 07:00"]),
        ("0,30 2,3 * * *", SPRING, ["2026-03-08 07:00", "2026-03-08 07:30"]),
        ("15 30 2 * * *", SPRING, ["2026-03-08 07:00"]),
        ("15 2 * * *", SHORT, ["2024-10-05 15:30"]),
        (
            "0 0 * * *",
            ("America/Sao_Paulo", "2018-11-03 12:00", "2018-11-04 12:00"),
            ["2018-11-04 03:00"],
        ),
        (
            "0 12 * * *",
            ("Pacific/Apia", "2011-12-29 00:00", "2011-12-31 12:00"),
            ["2011-12-29 22:00", "2011-12-30 10:00", "2011-12-30 22:00"],
        ),
    ],
)
def test_a_fixed_time_that_is_skipped_runs_once_when_the_gap_is_over(expr, day, expected):
    zone, since, until = day

    found = cron.missed_windows(expr, utc(since), utc(until), zone)

    assert found == [utc(text) for text in expected]


@pytest.mark.parametrize(
    ("expr", "day", "expected"),
    [
        ("30 1 * * *", AUTUMN, ["2026-11-01 05:30"]),
        ("*/30 1 * * *", AUTUMN, ["2026-11-01 05:00", "2026-11-01 05:30"]),
        ("0 1,2 * * *", AUTUMN, ["2026-11-01 05:00", "2026-11-01 07:00"]),
        ("30 1-2 * * *", AUTUMN, ["2026-11-01 05:30", "2026-11-01 07:30"]),
        ("30 30 1 * * *", AUTUMN, ["2026-11-01 05:30:30"]),
        ("45 1 * * *", LONG, ["2025-04-05 14:45"]),
    ],
)
def test_a_fixed_time_that_is_repeated_runs_once_the_first_time(expr, day, expected):
    zone, since, until = day

    found = cron.missed_windows(expr, utc(since), utc(until), zone)

    assert found == [utc(text) for text in expected]


@pytest.mark.parametrize(
    ("expr", "day", "step", "expected"),
    [
        ("*/15 * * * *", SPRING, timedelta(minutes=15), 23 * 4 - 1),
        ("*/15 * * * *", AUTUMN, timedelta(minutes=15), 25 * 4 - 1),
        ("*/15 * * * *", SHORT, timedelta(minutes=15), 47 * 2 - 1),
        ("*/15 * * * *", LONG, timedelta(minutes=15), 49 * 2 - 1),
        ("30 */1 * * *", AUTUMN, timedelta(hours=1), 25),
        ("30 0/1 * * *", SPRING, timedelta(hours=1), 23),
        ("@hourly", AUTUMN, timedelta(hours=1), 24),
    ],
)
def test_a_line_whose_hour_is_a_star_or_a_step_runs_in_real_time(expr, day, step, expected):
    zone, since, until = day

    found = cron.missed_windows(expr, utc(since), utc(until), zone)

    assert {later - earlier for earlier, later in pairwise(found)} == {step}
    assert len(found) == expected


def test_the_zone_decides_when_a_day_begins():
    assert cron.next_run("0 0 * * *", NEW_YEAR, "Asia/Kolkata") == utc("2026-01-01 18:30")


@pytest.mark.parametrize("moment", [NEW_YEAR, NEW_YEAR.astimezone(timezone(timedelta(hours=9)))])
def test_a_run_is_neither_its_own_next_nor_its_own_previous_one(moment):
    assert cron.next_run("0 * * * *", moment) == utc("2026-01-01 01:00")
    assert cron.previous_run("0 * * * *", moment) == utc("2025-12-31 23:00")


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_fractions_of_a_second_count(zone):
    a_little = timedelta(microseconds=1)

    assert cron.previous_run("* * * * *", NEW_YEAR + a_little, zone) == NEW_YEAR
    assert cron.next_run("* * * * *", NEW_YEAR - a_little, zone) == NEW_YEAR


def test_the_present_is_where_one_starts_from_by_default():
    before = datetime.now(UTC)

    later, earlier = cron.next_run("* * * * * *"), cron.previous_run("* * * * * *")

    assert before - timedelta(seconds=1.1) <= earlier < later
    assert later <= datetime.now(UTC) + timedelta(seconds=1)


def test_windows_are_plain_utc_times_in_whole_seconds():
    run = cron.next_run("* * * * *", datetime.now(timezone(timedelta(hours=5))), "Europe/Berlin")

    assert (type(run), run.tzinfo, run.microsecond) == (datetime, UTC, 0)


def test_missed_windows_begin_after_since_and_end_with_until():
    found = cron.missed_windows("0 * * * *", NEW_YEAR, utc("2026-01-01 03:00"))

    assert found == [utc(f"2026-01-01 0{hour}:00") for hour in (1, 2, 3)]


@pytest.mark.parametrize("until", [NEW_YEAR, NEW_YEAR - timedelta(days=1)])
def test_no_window_was_missed_in_no_time(until):
    assert cron.missed_windows("* * * * *", NEW_YEAR, until) == []


@pytest.mark.parametrize(
    ("last_run", "now", "expected"),
    [
        ("2026-01-01 00:00", "2026-01-01 00:59", False),
        ("2026-01-01 00:00", "2026-01-01 01:00", True),
        ("2026-01-01 00:59", "2026-01-09 01:00", True),
        ("2026-01-01 02:00", "2026-01-01 01:30", False),
    ],
)
def test_something_should_have_run_if_a_window_has_come_since(last_run, now, expected):
    assert cron.should_have_run("0 * * * *", utc(last_run), utc(now)) is expected


def test_what_has_never_run_has_missed_nothing():
    assert cron.should_have_run("* * * * *", None) is False


def test_windows_of_a_century_are_found_as_they_are_asked_for():
    found = cron.windows("* * * * * *", NEW_YEAR, CENTURY, "Europe/Berlin")

    assert list(islice(found, 2)) == [NEW_YEAR + timedelta(seconds=n) for n in (1, 2)]


def test_there_are_24_leap_days_in_the_coming_century():
    assert len(cron.missed_windows("0 0 29 2 *", NEW_YEAR, CENTURY)) == 24


@pytest.mark.parametrize("find", [cron.next_run, cron.previous_run])
@pytest.mark.parametrize(
    "expr", ["*/15 * * * *", "* * * * * *", "30 2 * * *", "0 0 29 2 *", "0 0 29 2 */7"]
)
def test_a_run_is_found_in_less_than_a_millisecond(find, expr):
    def once() -> float:
        begun = time.perf_counter()
        find(expr, CENTURY, "Europe/Berlin")
        return time.perf_counter() - begun

    assert min(once() for _ in range(20)) < 0.001
