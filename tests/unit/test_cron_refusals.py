"""Which expressions, zones and times are refused, and what is said about them."""

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from worchflow_celery import cron
from worchflow_celery.errors import InvalidOption

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
ZONES = [
    ("Mars/Base", None),
    ("", "'UTC'"),
    ("../../etc/passwd", None),
    ("/etc/localtime", None),
    ("berlin", "'Europe/Berlin'"),
    ("europe/berlin", "'Europe/Berlin'"),
    ("Europe/Berlin\n", "'Europe/Berlin'"),
    ("America/NewYork", "'America/New_York'"),
    ("Europe", None),
    ("localtime", None),
    ("posix/Europe/Berlin", "'Europe/Berlin'"),
    ("right/Europe/Berlin", "'Europe/Berlin'"),
    ("\0", None),
    ("\udc80", None),
    ("x" * 100_000, None),
    (None, None),
    (b"UTC", None),
]


@pytest.mark.parametrize(
    ("expr", "reason"),
    [
        ("", "it has 0 fields"),
        ("  ", "it has 0 fields"),
        ("* * * *", "it has 4 fields"),
        ("0 0 0 * * * 2026", "it has 7 fields"),
        ("* * * * * * * *", "it has 8 fields"),
        ("60 * * * *", "the minute is '60'; it takes 0-59"),
        ("-1 * * * *", "the minute is '-1'; it takes 0-59"),
        ("*/0 * * * *", "the minute is '*/0'; it takes 0-59"),
        ("5-5/0 * * * *", "the minute is '5-5/0'; it takes 0-59"),
        ("1,,2 * * * *", "the minute is '1,,2'; it takes 0-59"),
        ("a b c d e", "the minute is 'a'; it takes 0-59"),
        ("60 0 * * * *", "the second is '60'; it takes 0-59"),
        ("0 24 * * *", "the hour is '24'; it takes 0-23"),
        ("0 0 0 * *", "the day of month is '0'; it takes 1-31"),
        ("0 0 32 * *", "the day of month is '32'; it takes 1-31"),
        ("0 0 L-3 * *", "the day of month is 'l-3'; it takes 1-31"),
        ("0 0 L/2 * *", "the day of month is 'l/2'; it takes 1-31"),
        ("0 0 * 0 *", "the month is '0'; it takes 1-12 or JAN-DEC"),
        ("0 0 * 13 *", "the month is '13'; it takes 1-12 or JAN-DEC"),
        ("0 0 * JANUARY *", "the month is 'january'; it takes 1-12 or JAN-DEC"),
        ("0 0 * * 8", "the day of week is '8'; it takes 0-7 or SUN-SAT"),
        ("0 0 * * L", "the day of week is 'l'; it takes 0-7 or SUN-SAT"),
        ("0 0 * * 5#6", "the day of week is '5#6'; it takes 0-7 or SUN-SAT"),
        ("? * * * *", "the minute is '?'; it takes 0-59"),
        ("0 0 * * 1,5#2", "either a list of days or one of '#' and 'L'"),
        ("0 0 13 * 5#2", "go with '*' in the day of month only"),
        ("0 0 13 * L5", "go with '*' in the day of month only"),
        ("0 0 15W * *", "'W', the nearest working day, is not supported"),
        ("R * * * *", "the minute has 'H' or 'R'"),
        ("H/5 * * * *", "the minute has 'H' or 'R'"),
        ("0 H(0-6) * * *", "the hour has 'H' or 'R'"),
        ("@reboot", "there is no such alias, only @hourly,"),
        ("@every 5m", "there is no such alias, only @hourly,"),
        ("0 0 30 2 *", "it never fires"),
        ("0 0 31 4,6,9,11 *", "it never fires"),
        ("0 0 30 2 */2", "it never fires"),
        ("0 0 * 2 1#5,2#5,3#6", "the day of week is"),
        ("0 0\u00a0* * *", "it holds '\\xa0'"),
        ("0\u30000 * * *", "it holds '\\u3000'"),
        ("0 0 * * *\u2003", "it holds '\\u2003'"),
        ("0 \u0663 * * *", "it holds '\\u0663'"),
        ("0 0\n* * *", "it holds '\\n'"),
        ("\x1b[31m 0 * * *", "it holds '\\x1b'"),
        ("0 0 * * " + "1," * 500 + "1", "it has 1009 characters; 1000 is the most"),
        (None, "it must be a string"),
        (b"* * * * *", "it must be a string"),
        (["*", "*", "*", "*", "*"], "it must be a string"),
    ],
)
def test_an_expression_that_means_nothing_is_refused_with_the_reason(expr, reason):
    with pytest.raises(InvalidOption) as refusal:
        cron.check(expr)

    assert str(refusal.value).startswith(f"cron is {expr!r:.60}"[:60])
    assert reason in str(refusal.value)
    assert len(str(refusal.value)) < 300 and str(refusal.value).isprintable()
    assert cron.validate(expr) is False


@pytest.mark.parametrize(
    "call",
    [
        lambda expr: cron.next_run(expr),
        lambda expr: cron.previous_run(expr),
        lambda expr: cron.missed_windows(expr, NEW_YEAR, NEW_YEAR),
        lambda expr: cron.should_have_run(expr, NEW_YEAR),
        lambda expr: cron.should_have_run(expr, None),
        lambda expr: cron.windows(expr, NEW_YEAR, NEW_YEAR),
    ],
)
def test_every_function_refuses_what_check_refuses_and_at_once(call):
    with pytest.raises(ValueError, match="'61 \\* \\* \\* \\*'"):
        call("61 * * * *")


def test_what_comes_to_pass_is_valid():
    assert cron.validate("0 9 * * MON-FRI") is True


@pytest.mark.parametrize(("zone", "nearest"), ZONES, ids=lambda value: f"{value!r:.20}")
def test_an_unknown_zone_is_refused_and_the_nearest_one_named(zone, nearest):
    with pytest.raises(InvalidOption) as refusal:
        cron.check("* * * * *", zone)

    text = str(refusal.value)
    assert text.startswith(f"timezone is {zone!r:.40}"[:50])
    assert text.endswith(f"the nearest is {nearest}" if nearest else "'")
    assert "the nearest is" in text and len(text) < 250 and text.isprintable()


@pytest.fixture
def no_zones() -> Iterator[None]:
    zoneinfo.reset_tzpath(to=[])
    with pytest.MonkeyPatch.context() as patch:
        # A class with a cache of its own: if the common one were cleared, zones that other tests
        # hold would not be equal any more to those that come later.
        patch.setattr(cron, "ZoneInfo", type("ZoneInfo", (zoneinfo.ZoneInfo,), {}))
        yield
    zoneinfo.reset_tzpath()


def test_a_machine_without_time_zones_says_so_and_still_knows_utc(no_zones):
    with pytest.raises(InvalidOption, match="knows none but UTC: install tzdata"):
        cron.check("* * * * *", "Europe/Berlin")

    assert cron.next_run("* * * * *", NEW_YEAR) == NEW_YEAR + timedelta(minutes=1)


@pytest.mark.parametrize(
    "moment", [datetime(2026, 1, 1), "2026-01-01", 0, datetime(2026, 1, 1).date()]
)
@pytest.mark.parametrize(
    ("what", "call"),
    [
        ("after", lambda moment: cron.next_run("* * * * *", moment)),
        ("before", lambda moment: cron.previous_run("* * * * *", moment)),
        ("after", lambda moment: cron.windows("* * * * *", moment, NEW_YEAR)),
        ("until", lambda moment: cron.windows("* * * * *", NEW_YEAR, moment)),
        ("since", lambda moment: cron.missed_windows("* * * * *", moment, NEW_YEAR)),
        ("until", lambda moment: cron.missed_windows("* * * * *", NEW_YEAR, moment)),
        ("last_run", lambda moment: cron.should_have_run("* * * * *", moment, NEW_YEAR)),
        ("now", lambda moment: cron.should_have_run("* * * * *", NEW_YEAR, moment)),
    ],
)
def test_times_must_know_their_zone(what, call, moment):
    with pytest.raises(InvalidOption, match=f"^{what} is .*: it must be a timezone-aware datetime"):
        call(moment)


@pytest.mark.parametrize("moment", [datetime.min, datetime.max])
@pytest.mark.parametrize("find", [cron.next_run, cron.previous_run])
@pytest.mark.parametrize("hours", [-12, 0, 12])
def test_the_ends_of_time_are_out_of_reach(find, moment, hours):
    zone = timezone(timedelta(hours=hours))

    with pytest.raises(InvalidOption, match="it must lie in the years 2 to 9998"):
        find("* * * * *", moment.replace(tzinfo=zone), "Europe/Berlin")


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Niue"])
def test_near_the_ends_of_time_there_is_no_further_run(zone):
    with pytest.raises(InvalidOption, match="no run after 9998-12-31"):
        cron.next_run("0 0 1 1 *", datetime(9998, 12, 31, 23, tzinfo=UTC), zone)
    with pytest.raises(InvalidOption, match="no run before 0002-01-01"):
        cron.previous_run("0 0 1 7 *", datetime(2, 1, 1, 1, tzinfo=UTC), zone)


def test_a_list_holds_no_more_than_100_000_windows():
    most = NEW_YEAR + timedelta(seconds=100_000)

    assert len(cron.missed_windows("* * * * * *", NEW_YEAR, most)) == 100_000
    with pytest.raises(InvalidOption, match=r"more than 100000 windows .* use cron\.windows"):
        cron.missed_windows("* * * * * *", NEW_YEAR, NEW_YEAR.replace(year=2126))


@pytest.mark.parametrize(
    ("expr", "reason"),
    [
        ("*/90 * * * *", "the step of '*/90' in the minute leaves a single value"),
        ("0 */24 * * *", "the step of '*/24' in the hour leaves a single value"),
        ("59/15 * * * *", "the step of '59/15' in the minute leaves a single value"),
        ("5-1 * * * *", "'5-1' in the minute runs past 59 to 0"),
        ("0 22-2 * * *", "'22-2' in the hour runs past 23 to 0"),
    ],
)
def test_what_looks_like_a_slip_is_shown_with_its_next_three_runs(expr, reason):
    following = [cron.next_run(expr, NEW_YEAR)]
    following += [cron.next_run(expr, following[0])]
    following += [cron.next_run(expr, following[1])]

    text = cron.doubt(expr, now=NEW_YEAR)

    runs = ", ".join(f"{run:%Y-%m-%dT%H:%M:%SZ}" for run in following)
    assert text == f"cron is {expr!r}: {reason}; the next runs are {runs}"


@pytest.mark.parametrize(
    "expr",
    ["*/15 * * * *", "0 0 * * FRI-MON", "0 0 * * 6-7", "* * * * 7", "@weekly", "0 0 25-L * 1", ""],
)
def test_ordinary_and_invalid_expressions_raise_no_doubt(expr):
    assert cron.doubt(expr) is None
