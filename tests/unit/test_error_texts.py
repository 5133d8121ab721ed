"""An error as it is stored: its type, its message, its traceback, each cut to 8 kB."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worchflow_celery import outcome
from worchflow_celery.options import FlowOptions
from worchflow_celery.outcome import retry_delay

KB8 = 8192

#: For machines that are busy with other things.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Stubborn(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class NoString(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_an_error_is_described_by_type_message_and_traceback() -> None:
    described = outcome.describe(raised(ValueError("bad amount")))

    assert described["type"] == "ValueError"
    assert described["message"] == "bad amount"
    assert "in raised" in described["traceback"]
    assert described["traceback"].endswith("ValueError: bad amount\n")


LONG = {
    "text": ValueError("x" * 50_000_000),
    "wide text": ValueError("€" * 10_000),
    "name": type("N" * 100_000, (Exception,), {})("short"),
    "notes": ValueError("x"),
}
LONG["notes"].add_note("n" * 100_000)


@pytest.mark.parametrize("error", LONG.values(), ids=LONG)
def test_no_part_of_a_described_error_has_more_than_8_kb(error: Exception) -> None:
    described = outcome.describe(raised(error))

    sizes = {part: len(text.encode()) for part, text in described.items()}
    assert all(0 < size <= KB8 for size in sizes.values()), sizes


def test_of_a_long_message_the_beginning_is_kept_and_of_a_traceback_the_end() -> None:
    error = ValueError("begin" + "x" * 20_000 + "end")

    described = outcome.describe(raised(error))

    assert described["message"].startswith("beginx")
    assert described["traceback"].endswith("xend\n")


@pytest.mark.parametrize("error", [Stubborn(), NoString()], ids=repr)
def test_an_error_without_a_text_is_described_all_the_same(error: Exception) -> None:
    described = outcome.describe(raised(error))

    assert described["type"] == type(error).__name__
    assert described["message"] == "(its text could not be made)"


def test_a_traceback_begins_with_the_user_s_code() -> None:
    def users_code() -> float:
        raise ValueError("bad amount")

    try:
        retry_delay(FlowOptions(retry_backoff=True), 1, jitter=users_code)
    except ValueError as error:
        assert error.__traceback__ is not None
        called_by_us = error.with_traceback(error.__traceback__.tb_next)

    traceback = outcome.describe(called_by_us)["traceback"]

    assert "in users_code" in traceback
    assert "in retry_delay" not in traceback


@relaxed
@given(st.text(st.characters(), max_size=20_000))
def test_a_cut_text_is_short_and_valid_utf_8(text: str) -> None:
    for keep_end in (True, False):
        short = outcome.cut(text, keep_end=keep_end)

        assert len(short.encode()) <= KB8


@relaxed
@given(st.text(max_size=2000))
def test_a_short_text_is_not_cut(text: str) -> None:
    assert outcome.cut(text) == text == outcome.cut(text, keep_end=True)


def test_what_utf_8_cannot_carry_is_escaped() -> None:
    assert outcome.cut("a\ud800b") == "a\\ud800b"
