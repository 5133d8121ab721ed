"""What a user may write down as an id, a name, a number or a duration."""

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from worchflow_celery import options
from worchflow_celery.errors import InvalidOption, WorchflowError
from worchflow_celery.options import FlowOptions

YEAR = 366 * 86400
NAIVE = datetime(2030, 1, 1)

IDS_THAT_ARE_NONE = [
    None,
    "",
    "a" * 201,
    ["a"],
    {"$gt": ""},
    b"bytes",
    UUID(int=7),
    7,
    "with space",
    "line\nbreak",
    "end\n",
    "\x1b[31mred",
    "nul\x00",
    "größe",
    "a;drop",
    "a*",
    "%2e",
]


@pytest.mark.parametrize("good", ["a", "A-z.0_9:@/", "a" * 200, "../..", "shop.tasks.pay"])
def test_an_id_is_made_of_letters_digits_and_seven_marks(good: str) -> None:
    assert options.check_id(good, "id") == good
    assert options.check_execution_id(good) == good


@pytest.mark.parametrize("bad", IDS_THAT_ARE_NONE, ids=options.shown)
def test_what_is_no_id_is_refused(bad: object) -> None:
    with pytest.raises(InvalidOption, match=r"^flow id is .*1 to 200 characters out of A-Z"):
        options.check_id(bad, "flow id")


def test_an_id_that_begins_like_a_window_s_is_reserved() -> None:
    with pytest.raises(InvalidOption, match=r"'cron:x'.*reserved for scheduled.*choose another"):
        options.check_execution_id("cron:x")


def test_an_id_may_hold_the_reserved_word_further_on() -> None:
    assert options.check_execution_id("a-cron:x") == "a-cron:x"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("short", "'short'"),
        ("\x1b[31m", r"'\x1b[31m'"),
        ("a\nb", r"'a\nb'"),
        ("\u202eright to left", r"'\u202eright to left'"),
        ("x" * 1000, "'" + "x" * 79 + "…"),
    ],
)
def test_a_value_is_shown_short_on_one_line_and_harmless(value: object, text: str) -> None:
    assert options.shown(value) == text


def test_a_value_whose_repr_fails_is_shown_by_its_type() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    shown = options.shown(Broken())

    assert "Broken" in shown


def test_a_value_whose_repr_is_not_printable_is_escaped() -> None:
    class Red:
        def __repr__(self) -> str:
            return "\x1b[31m\n\ud800"

    shown = options.shown(Red())

    assert shown.isprintable()
    assert shown.encode()


@pytest.mark.parametrize("good", ["a", "Charge payment provider", "größer als ≥ 5 €", "x" * 200])
def test_a_step_s_name_is_printable(good: str) -> None:
    assert options.check_step_name(good) == good


@pytest.mark.parametrize(
    "bad",
    ["", "x" * 201, None, 3, ["a"], "tab\there", "\x1b[31m", "line\n", "\ud800"],
    ids=options.shown,
)
def test_what_is_no_step_name_is_refused(bad: object) -> None:
    with pytest.raises(InvalidOption, match=r"^step name is .* 1 to 200 printable characters"):
        options.check_step_name(bad)


@pytest.mark.parametrize("good", [0, 1, 1000])
def test_retries_are_counted_to_a_thousand(good: int) -> None:
    assert options.check_retries(good) == good


@pytest.mark.parametrize(
    "bad", [-1, 1001, 10**9, 1.5, 1.0, "3", True, None, math.nan], ids=options.shown
)
def test_retries_are_a_whole_number(bad: object) -> None:
    with pytest.raises(InvalidOption, match=r"^retries is .* whole number from 0 to 1000"):
        options.check_retries(bad)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0, 0.0),
        (1, 1.0),
        (0.25, 0.25),
        (timedelta(minutes=2), 120.0),
        (10 * YEAR, 10.0 * YEAR),
    ],
)
def test_a_duration_is_seconds_or_a_timedelta(given: Any, expected: float) -> None:
    assert options.seconds(given, "delay") == expected


BAD_DURATIONS = [
    -1,
    -0.001,
    timedelta(seconds=-1),
    math.nan,
    math.inf,
    10**12,
    10**400,
    10**5000,
    timedelta.max,
    "3",
    "soon",
    None,
    True,
    Decimal(1),
    [1],
]


@pytest.mark.parametrize("bad", BAD_DURATIONS, ids=options.shown)
def test_what_is_no_duration_is_refused(bad: object) -> None:
    with pytest.raises(InvalidOption, match=r"^delay is .*seconds.*from 0 to ten years"):
        options.seconds(bad, "delay")


@pytest.mark.parametrize("bad", [0, 0.0, timedelta(), -1])
def test_a_limit_is_longer_than_nothing(bad: Any) -> None:
    with pytest.raises(InvalidOption, match="timeout"):
        options.positive_seconds(bad, "timeout")


def test_a_moment_is_aware() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)

    assert options.check_moment(moment, "eta") is moment


@pytest.mark.parametrize(
    "bad", [NAIVE, NAIVE.date(), "2030-01-01T00:00:00Z", 5, None], ids=options.shown
)
def test_what_is_no_aware_moment_is_refused(bad: object) -> None:
    with pytest.raises(InvalidOption, match=r"^eta is .*timezone-aware datetime"):
        options.check_moment(bad, "eta")


@pytest.mark.parametrize("good", [None, "celery", "größe", "q" * 200])
def test_a_queue_is_a_name_or_nothing(good: str | None) -> None:
    assert options.check_queue(good) == good


@pytest.mark.parametrize("bad", ["", "q" * 201, 5, ["q"], "a\nb", "\x1b[31m"], ids=options.shown)
def test_what_is_no_queue_is_refused(bad: object) -> None:
    with pytest.raises(InvalidOption, match=r"^queue is .*Celery queue"):
        options.check_queue(bad)


@pytest.mark.parametrize("good", [None, 0, 9, 255])
def test_a_priority_is_a_small_number_or_nothing(good: int | None) -> None:
    assert options.check_priority(good) == good


@pytest.mark.parametrize("bad", [-1, 256, 1.0, "1", True, [1]])
def test_what_is_no_priority_is_refused(bad: object) -> None:
    with pytest.raises(InvalidOption, match=r"^priority is .*from 0 to 255"):
        options.check_priority(bad)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("cust_7", "cust_7"),
        (7, 7),
        (2**63 - 1, 2**63 - 1),
        (2**63, "0x8000000000000000"),
        (1.5, 1.5),
        (True, True),
        (Decimal("1.50"), "1.50"),
        ({"$gt": ""}, "{'$gt': ''}"),
        ("x" * 2000, "x" * 1000),
    ],
)
def test_what_is_searched_for_is_a_scalar_that_mongodb_holds(given: object, stored: object) -> None:
    value = options.searchable(given)

    assert value == stored
    assert type(value) is type(stored)


def test_what_is_searched_for_may_be_an_integer_too_long_to_print() -> None:
    assert options.searchable(16**5000) == "0x1" + "0" * 997


def test_a_flow_has_options_when_it_names_none() -> None:
    assert options.flow_options({}) == FlowOptions()


def test_a_flow_s_durations_become_seconds() -> None:
    given = {
        "retry_delay": timedelta(seconds=2),
        "retry_backoff": timedelta(seconds=3),
        "retry_backoff_max": timedelta(minutes=1),
        "timeout": timedelta(hours=1),
    }

    checked = options.flow_options(given)

    assert checked == FlowOptions(
        retry_delay=2.0, retry_backoff=3.0, retry_backoff_max=60.0, timeout=3600.0
    )


@pytest.mark.parametrize(("given", "expected"), [(("a",), ("a",)), (["a", "b"], ("a", "b"))])
def test_search_names_fields(given: object, expected: tuple[str, ...]) -> None:
    assert options.flow_options({"search": given}).search == expected


def test_one_searched_field_need_not_be_in_a_tuple() -> None:
    assert options.flow_options({"search": "customer_id"}).search == ("customer_id",)


REFUSED_OPTIONS = [
    ("retries", -1),
    ("retries", True),
    ("retry_delay", -1),
    ("retry_delay", "1"),
    ("retry_delay", math.nan),
    ("retry_backoff", 0),
    ("retry_backoff", -2.0),
    ("retry_backoff", "exponential"),
    ("retry_backoff", None),
    ("retry_backoff", 601),
    ("retry_backoff_max", 0),
    ("retry_backoff_max", math.inf),
    ("retry_jitter", 1),
    ("retry_jitter", "no"),
    ("timeout", 0),
    ("timeout", -1),
    ("timeout", "1 h"),
    ("search", ("a.b",)),
    ("search", ("$where",)),
    ("search", ("",)),
    ("search", (5,)),
    ("search", {"a": 1}),
    ("search", None),
    ("queue", ""),
    ("queue", 3),
    ("priority", "high"),
]


@pytest.mark.parametrize(("name", "value"), REFUSED_OPTIONS, ids=options.shown)
def test_an_option_that_cannot_be_is_named(name: str, value: object) -> None:
    with pytest.raises(InvalidOption, match=f"^{name}"):
        options.flow_options({name: value})


def test_a_refused_option_is_an_error_of_this_library_and_a_value_error() -> None:
    assert issubclass(InvalidOption, WorchflowError)
    assert issubclass(InvalidOption, ValueError)
