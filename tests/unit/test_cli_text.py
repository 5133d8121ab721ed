"""What a terminal is given: safe, cut, aligned; bars over time."""

from datetime import UTC, datetime, timedelta

import pytest

from worchflow_celery.cli import wording
from worchflow_celery.cli.options import scalar, seconds_of
from worchflow_celery.cli.output import as_json, fit
from worchflow_celery.cli.text import cut, padded, safe, width
from worchflow_celery.cli.waterfall import Bar, drawn

T0 = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, überall 漢字 ✓", "plain, überall 漢字 ✓"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
        ("\u202eevil\u2066\u200b", "\\u202eevil\\u2066\\u200b"),
        ("\ud800", "\\ud800"),
    ],
    ids=["plain", "escape", "lines", "c1", "bidi", "surrogate"],
)
def test_what_a_terminal_would_obey_is_made_visible(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_line_breaks_are_kept_where_they_are_wanted() -> None:
    assert safe("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"


def test_json_is_ascii_without_control_characters() -> None:
    text = as_json({"a": "\x1b\x7f\x9b\u202e", "b": b"\xff", "c": object})

    assert text.isascii() and text.isprintable()


def test_wide_characters_count_twice_and_combining_ones_not_at_all() -> None:
    assert [width(text) for text in ("abc", "漢字", "e\u0301")] == [3, 4, 1]


@pytest.mark.parametrize("most", range(1, 9))
def test_a_cut_text_fits(most: int) -> None:
    assert width(cut("ab漢字cd", most)) <= most


def test_padding_fills_up_by_columns() -> None:
    assert (padded("漢", 4), padded("漢", 4, right=True)) == ("漢  ", "  漢")


def test_a_table_is_made_to_fit_by_its_widest_columns() -> None:
    assert fit([10, 30, 50], 70) == [10, 28, 28]
    assert fit([10, 20], 80) == [10, 20]


def test_what_names_an_execution_is_cut_last() -> None:
    assert fit([20, 30], 32, [True, False]) == [20, 10]
    assert fit([20, 30], 22, [True, False]) == [14, 6]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (0.04, "40 ms"),
        (1.94, "1.9 s"),
        (5, "5 s"),
        (59.6, "1 m"),
        (250, "4 m 10 s"),
        (3600, "1 h"),
        (11100, "3 h 5 m"),
        (2 * 86400 + 59, "2 d"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds: float, shown: str) -> None:
    assert wording.duration(seconds) == shown


@pytest.mark.parametrize(("gap", "shown"), [(0.3, "now"), (90, "1 m"), (-90, "in 1 m 30 s")])
def test_an_age_looks_both_ways(gap: float, shown: str) -> None:
    assert wording.age(at(-gap), T0) == shown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("60s", 60), ("1h30m", 5400), ("7d", 604800), ("", None)],
)
def test_a_duration_is_read(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("true", True), ("null", None), ("[1]", [1]), ("cust_7", "cust_7"), ("NaN", "NaN")],
)
def test_a_word_is_json_where_it_is_json(text: str, value: object) -> None:
    assert scalar(text) == value


def test_bars_stand_where_they_were_in_time() -> None:
    assert drawn([Bar(at(0), at(1)), Bar(at(1), at(4))], 8) == ["▇▇", "  ▇▇▇▇▇▇"]


def test_a_waiting_bar_is_of_another_kind() -> None:
    assert drawn([Bar(at(0), at(2)), Bar(at(1), at(2), waiting=True)], 4) == ["▇▇▇▇", "  ░░"]


def test_a_long_gap_is_folded() -> None:
    first, second = drawn([Bar(at(0), at(1)), Bar(at(1000), at(1001))], 9)

    assert first == "▇▇▇▇⫽"
    assert second == "    ⫽▇▇▇▇"


def test_the_shortest_bar_is_seen() -> None:
    assert [bar.strip() for bar in drawn([Bar(at(0), at(100)), Bar(at(50), at(50))], 10)][1] == "▇"


def test_no_bars_are_no_lines() -> None:
    assert drawn([], 10) == []
