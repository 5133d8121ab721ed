"""How an attempt ended, and what that makes of its execution."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worchflow_celery import errors, outcome
from worchflow_celery.errors import NonRetriableError, RetryAfter
from worchflow_celery.options import TEN_YEARS, FlowOptions, flow_options
from worchflow_celery.outcome import Failed, Retried, judge, over_crash_budget, retry_delay

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
KB8 = 8192

numbers = st.integers(1, 1001)
fractions = st.floats(0, 1)
durations = st.floats(0, 1e6)


@st.composite
def flow_option_sets(draw: st.DrawFn) -> FlowOptions:
    most = draw(st.floats(0.001, 1e6))
    return flow_options(
        {
            "retries": draw(st.integers(0, 1000)),
            "retry_delay": draw(durations),
            "retry_backoff": draw(st.booleans() | st.floats(0.001, most)),
            "retry_backoff_max": most,
            "retry_jitter": draw(st.booleans()),
        }
    )


def without_jitter(options: FlowOptions, retry: int) -> float:
    return retry_delay(replace(options, retry_jitter=False), retry)


@given(flow_option_sets(), numbers, fractions)
def test_a_delay_is_a_number_of_seconds_that_is_not_negative(
    options: FlowOptions, retry: int, jitter: float
) -> None:
    delay = retry_delay(options, retry, jitter=lambda: jitter)

    assert math.isfinite(delay)
    assert delay >= 0


@given(flow_option_sets(), numbers, fractions)
def test_a_backoff_never_exceeds_its_limit(options: FlowOptions, retry: int, jitter: float) -> None:
    delay = retry_delay(options, retry, jitter=lambda: jitter)

    limit = options.retry_delay if options.retry_backoff is False else options.retry_backoff_max
    assert delay <= limit


@given(flow_option_sets(), numbers)
def test_a_later_retry_never_waits_for_less(options: FlowOptions, retry: int) -> None:
    assert without_jitter(options, retry) <= without_jitter(options, retry + 1)


@given(flow_option_sets(), numbers, fractions)
def test_jitter_takes_a_part_of_a_backoff_and_adds_nothing(
    options: FlowOptions, retry: int, jitter: float
) -> None:
    options = replace(options, retry_backoff=True, retry_jitter=True)

    delay = retry_delay(options, retry, jitter=lambda: jitter)

    assert delay == without_jitter(options, retry) * jitter


@given(flow_option_sets(), numbers, fractions)
def test_without_backoff_the_delay_is_the_delay(
    options: FlowOptions, retry: int, jitter: float
) -> None:
    options = replace(options, retry_backoff=False)

    assert retry_delay(options, retry, jitter=lambda: jitter) == options.retry_delay


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        (False, [3, 3, 3, 3, 3]),
        (True, [3, 6, 12, 24, 40]),
        (5.0, [5, 10, 20, 40, 40]),
        (1.0, [1, 2, 4, 8, 16]),
    ],
)
def test_a_backoff_doubles_up_to_its_limit(backoff: float | bool, delays: list[float]) -> None:
    options = FlowOptions(
        retry_delay=3.0, retry_backoff=backoff, retry_backoff_max=40.0, retry_jitter=False
    )

    assert [retry_delay(options, retry) for retry in range(1, 6)] == delays


@given(flow_option_sets(), st.integers(1, 2000))
def test_retries_allow_that_many_attempts_and_one(options: FlowOptions, attempt: int) -> None:
    judged = judge(ConnectionError(), attempt=attempt, options=options, now=NOW)

    assert isinstance(judged, Retried) == (attempt <= options.retries)


FINAL = [
    NonRetriableError("no"),
    errors.InvalidEventData("no"),
    errors.PayloadTooLarge("no"),
    errors.UnserializableResult("no"),
    errors.WorkerLost("no"),
]


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_an_error_that_would_come_again_is_final(error: Exception) -> None:
    assert judge(error, attempt=1, options=FlowOptions(retries=9), now=NOW) == Failed(error)


RETRIABLE = [
    ConnectionError(),
    errors.ExecutionTimeout(),
    errors.StepTimeout(),
    errors.StoreUnavailable(),
    MemoryError(),
    SystemExit(1),
    KeyboardInterrupt(),
    BaseExceptionGroup("several", [SystemExit()]),
]


@pytest.mark.parametrize("error", RETRIABLE, ids=lambda error: type(error).__name__)
def test_any_other_error_is_retried(error: BaseException) -> None:
    judged = judge(error, attempt=1, options=FlowOptions(retries=1, retry_delay=7.0), now=NOW)

    assert judged == Retried(error, 7.0)


@pytest.mark.parametrize(
    ("when", "delay"),
    [
        (3, 5.0),
        (60, 60.0),
        (timedelta(minutes=2), 120.0),
        (NOW + timedelta(hours=1), 3600.0),
        (NOW - timedelta(hours=1), 5.0),
        (timedelta(0), 5.0),
        (-5, 5.0),
        (math.nan, 5.0),
        (math.inf, TEN_YEARS),
        (10**400, TEN_YEARS),
        (timedelta.max, TEN_YEARS),
        (datetime.max.replace(tzinfo=UTC), TEN_YEARS),
    ],
)
def test_retry_after_waits_no_less_than_it_says_and_ten_years_at_most(when: Any, delay: float) -> None:
    options = FlowOptions(retries=1, retry_delay=5.0)

    judged = judge(RetryAfter(when), attempt=1, options=options, now=NOW)

    assert isinstance(judged, Retried)
    assert judged.delay == delay


def test_retry_after_adds_no_retry() -> None:
    error = RetryAfter(60)

    assert judge(error, attempt=2, options=FlowOptions(retries=1), now=NOW) == Failed(error)


epochs = st.lists(st.integers(1, 50)).map(lambda many: tuple(sorted(many)))


@given(epochs, st.integers(0, 50), st.integers(0, 20))
def test_the_crash_budget_counts_what_crashed_since_the_last_checkpoint(
    crashed: tuple[int, ...], checkpoint: int, retries: int
) -> None:
    since = [epoch for epoch in crashed if epoch >= checkpoint]

    assert over_crash_budget(crashed, checkpoint, retries) == (len(since) > retries + 3)


@given(epochs, st.integers(0, 50), st.integers(0, 20))
def test_a_finished_step_gives_the_whole_budget_back(
    crashed: tuple[int, ...], checkpoint: int, retries: int
) -> None:
    newer = max(crashed, default=0) + 1

    assert not over_crash_budget(crashed, max(checkpoint, newer), retries)


@given(epochs, st.integers(0, 50), st.integers(0, 20))
def test_another_crash_never_mends_a_spent_budget(
    crashed: tuple[int, ...], checkpoint: int, retries: int
) -> None:
    more = (*crashed, max(crashed, default=1))

    assert over_crash_budget(more, checkpoint, retries) >= over_crash_budget(
        crashed, checkpoint, retries
    )


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


@given(st.text(st.characters(), max_size=20_000))
def test_a_cut_text_is_short_and_valid_utf_8(text: str) -> None:
    for keep_end in (True, False):
        short = outcome.cut(text, keep_end=keep_end)

        assert len(short.encode()) <= KB8


@given(st.text(max_size=2000))
def test_a_short_text_is_not_cut(text: str) -> None:
    assert outcome.cut(text) == text == outcome.cut(text, keep_end=True)


def test_what_utf_8_cannot_carry_is_escaped() -> None:
    assert outcome.cut("a\ud800b") == "a\\ud800b"
