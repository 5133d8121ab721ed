"""How an attempt ended, and what that makes of its execution."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worchflow_celery import errors
from worchflow_celery.errors import NonRetriableError, RetryAfter
from worchflow_celery.options import TEN_YEARS, FlowOptions, flow_options
from worchflow_celery.outcome import (
    Failed,
    Retried,
    judge,
    name_of,
    over_crash_budget,
    retry_delay,
    revived,
)

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)

#: For machines that are busy with other things.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

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


@relaxed
@given(flow_option_sets(), numbers, fractions)
def test_a_delay_is_a_number_of_seconds_that_is_not_negative(
    options: FlowOptions, retry: int, jitter: float
) -> None:
    delay = retry_delay(options, retry, jitter=lambda: jitter)

    assert math.isfinite(delay)
    assert delay >= 0


@relaxed
@given(flow_option_sets(), numbers, fractions)
def test_a_backoff_never_exceeds_its_limit(options: FlowOptions, retry: int, jitter: float) -> None:
    delay = retry_delay(options, retry, jitter=lambda: jitter)

    limit = options.retry_delay if options.retry_backoff is False else options.retry_backoff_max
    assert delay <= limit


@relaxed
@given(flow_option_sets(), numbers)
def test_a_later_retry_never_waits_for_less(options: FlowOptions, retry: int) -> None:
    assert without_jitter(options, retry) <= without_jitter(options, retry + 1)


@relaxed
@given(flow_option_sets(), numbers, fractions)
def test_jitter_takes_a_part_of_a_backoff_and_adds_nothing(
    options: FlowOptions, retry: int, jitter: float
) -> None:
    options = replace(options, retry_backoff=True, retry_jitter=True)

    delay = retry_delay(options, retry, jitter=lambda: jitter)

    assert delay == without_jitter(options, retry) * jitter


@relaxed
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


@relaxed
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
def test_retry_after_waits_no_less_than_it_says_and_ten_years_at_most(
    when: Any, delay: float
) -> None:
    options = FlowOptions(retries=1, retry_delay=5.0)

    judged = judge(RetryAfter(when), attempt=1, options=options, now=NOW)

    assert isinstance(judged, Retried)
    assert judged.delay == delay


def test_a_retry_after_whose_time_was_spoiled_is_retried_like_any_other() -> None:
    error = RetryAfter(60)
    error.when = "never"  # type: ignore[assignment]

    judged = judge(error, attempt=1, options=FlowOptions(retries=1, retry_delay=5.0), now=NOW)

    assert judged == Retried(error, 5.0)


def test_retry_after_adds_no_retry() -> None:
    error = RetryAfter(60)

    assert judge(error, attempt=2, options=FlowOptions(retries=1), now=NOW) == Failed(error)


epochs = st.lists(st.integers(1, 50)).map(lambda many: tuple(sorted(many)))


@relaxed
@given(epochs, st.integers(0, 50), st.integers(0, 20))
def test_the_crash_budget_counts_what_crashed_since_the_last_checkpoint(
    crashed: tuple[int, ...], checkpoint: int, retries: int
) -> None:
    since = [epoch for epoch in crashed if epoch >= checkpoint]

    assert over_crash_budget(crashed, checkpoint, retries) == (len(since) > retries + 3)


@pytest.mark.parametrize(
    ("crashed", "checkpoint", "retries", "over"),
    [
        ((1, 2, 3), 0, 0, False),
        ((1, 2, 3, 4), 0, 0, True),
        ((1, 2, 3, 4), 1, 0, True),  # the checkpoint was written before that epoch crashed
        ((1, 2, 3, 4), 2, 0, False),
        ((1, 2, 3, 4, 5), 0, 2, False),
        ((1, 2, 3, 4, 5, 6), 0, 2, True),
    ],
)
def test_three_crashes_more_than_retries_are_forgiven(
    crashed: tuple[int, ...], checkpoint: int, retries: int, over: bool
) -> None:
    assert over_crash_budget(crashed, checkpoint, retries) == over


@relaxed
@given(epochs, st.integers(0, 50), st.integers(0, 20))
def test_a_finished_step_gives_the_whole_budget_back(
    crashed: tuple[int, ...], checkpoint: int, retries: int
) -> None:
    newer = max(crashed, default=0) + 1

    assert not over_crash_budget(crashed, max(checkpoint, newer), retries)


@relaxed
@given(epochs, st.integers(0, 50), st.integers(0, 20))
def test_another_crash_never_mends_a_spent_budget(
    crashed: tuple[int, ...], checkpoint: int, retries: int
) -> None:
    more = (*crashed, max(crashed, default=1))

    assert over_crash_budget(more, checkpoint, retries) >= over_crash_budget(
        crashed, checkpoint, retries
    )


class Particular(Exception):
    """An error that is not made without two numbers."""

    def __new__(cls, first: int, second: int) -> "Particular":
        return super().__new__(cls, first, second)

    def __init__(self, first: int, second: int) -> None: ...


ALIVE = [ValueError("no"), ConnectionError("no"), RetryAfter(1, "no"), Particular(1, 2)]


@pytest.mark.parametrize("error", ALIVE)
def test_a_recorded_error_is_raised_as_the_one_that_it_was(error: Exception) -> None:
    again = revived({"type": type(error).__name__, "message": "no"}, name_of(error))

    assert (type(again), again.args) == (type(error), ("no",))


@pytest.mark.parametrize("name", ["gone:Error", "builtins:int", ""])
def test_a_recorded_error_whose_class_cannot_be_had_says_what_it_was(name: str) -> None:
    again = revived({"type": "Particular", "message": "no"}, name)

    assert (type(again), str(again)) == (errors.WorchflowError, "Particular: no")
