"""The rules of limits: what may start, when a window opens, and which slots nobody holds."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worchflow_celery.allowance import (
    SLOT,
    START,
    Holder,
    Limit,
    Slot,
    State,
    free_slots,
    free_starts,
    is_stale,
    opens_at,
    served,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

#: Milliseconds between the arrivals of executions that want to start.
arrivals = st.lists(st.integers(0, 3_000), min_size=1, max_size=40)
counts = st.integers(1, 5)
windows = st.integers(1, 5_000)


def throttle(count: int, window: int) -> Limit:
    return Limit("f", "f", None, None, count, window * MILLISECOND)


def started(limit: Limit, pauses: list[int]) -> list[tuple[datetime, datetime]]:
    """When executions arrive and when they start, each as soon as the rule lets it."""
    starts: list[datetime] = []
    moments, now = [], NOW
    arrived = NOW
    for pause in pauses:
        arrived += pause * MILLISECOND
        now = max(now, arrived)
        while (opens := opens_at(limit, Slot(now, starts=tuple(starts)))) is not None:
            assert opens > now
            now = opens
        starts.append(now)
        moments.append((arrived, now))
    return moments


@given(arrivals, counts, windows)
def test_no_window_ever_has_more_starts_than_allowed(
    pauses: list[int], count: int, window: int
) -> None:
    limit = throttle(count, window)

    starts = [start for _, start in started(limit, pauses)]

    for first in starts:
        assert sum(first <= one < first + limit.window for one in starts) <= count


@given(arrivals, counts, windows)
def test_a_start_waits_only_as_long_as_its_window_is_full(
    pauses: list[int], count: int, window: int
) -> None:
    limit = throttle(count, window)

    moments = started(limit, pauses)

    for number, (arrived, start) in enumerate(moments):
        if start > arrived and start > moments[number - 1][1]:
            just_before = start - MILLISECOND
            earlier = [one for _, one in moments[:number]]
            assert sum(one > just_before - limit.window for one in earlier) == count


@given(st.permutations(range(8)), counts)
def test_the_order_in_which_starts_were_written_does_not_matter(
    order: list[int], count: int
) -> None:
    limit = throttle(count, 5)
    sorted_starts = tuple(NOW - number * MILLISECOND for number in range(8))
    shuffled = tuple(sorted_starts[number] for number in order)

    assert opens_at(limit, Slot(NOW, starts=shuffled)) == opens_at(
        limit, Slot(NOW, starts=sorted_starts)
    )


def test_a_start_that_is_set_aside_counts() -> None:
    expected = Slot(NOW, holders=(Holder("a", 1, start=True),))

    assert free_starts(throttle(2, 10), expected) == 1
    assert opens_at(throttle(1, 10), expected) == NOW + 10 * MILLISECOND


def test_without_a_limit_everything_is_free() -> None:
    slot = Slot(NOW, holders=(Holder("a", 1),), starts=(NOW,))

    assert free_slots(Limit("f", "f", None, None), slot) == float("inf")
    assert free_starts(Limit("f", "f", None, 1), slot) == float("inf")


@pytest.mark.parametrize(
    ("holders", "starts", "lines", "expected"),
    [
        (0, 0, {SLOT, START}, [SLOT, START]),
        (0, 0, {START}, [START]),
        (0, 0, set(), []),
        (0, 1, {SLOT, START}, [SLOT]),
        (0, 1, {START}, []),
        (2, 0, {SLOT, START}, []),
        (3, 0, {SLOT}, []),
    ],
)
def test_a_line_is_served_while_there_is_what_it_waits_for(
    holders: int, starts: int, lines: set[str], expected: list[str]
) -> None:
    limit = Limit("f", "f", None, 2, 1, timedelta(seconds=1))
    held = tuple(Holder(str(number), 1) for number in range(holders))

    assert served(limit, Slot(NOW, held, (NOW,) * starts, frozenset(lines))) == expected


LATER, EARLIER = NOW + MILLISECOND, NOW - MILLISECOND
LONG_AGO = NOW - timedelta(minutes=1, milliseconds=1)


@pytest.mark.parametrize(
    ("state", "until", "stale"),
    [
        ((4, "processing", False, LONG_AGO), None, False),
        ((4, "processing", True, LONG_AGO), None, False),  # it is asked to pause, and has not yet
        ((4, "completed", False, NOW), None, True),
        ((4, "waiting", False, NOW), None, True),
        ((4, "cancelled", False, NOW), LATER, True),
        ((5, "processing", False, NOW), None, True),
        ((6, "queued", False, NOW), LATER, True),
        (None, None, True),
        # It was handed over, or lost its worker.
        ((4, "queued", False, NOW), None, False),
        ((5, "queued", False, NOW), None, False),
        ((5, "queued", True, NOW), None, True),
        ((5, "queued", False, LONG_AGO), None, True),
        # It was called and has not come.
        ((3, "waiting", False, LONG_AGO), LATER, False),
        ((3, "waiting", False, LONG_AGO), EARLIER, True),
        ((3, "waiting", True, NOW), LATER, True),
        ((3, "failed", False, NOW), LATER, True),
        # What was read is older than its claim.
        ((3, "queued", False, LONG_AGO), None, False),
    ],
)
def test_a_slot_is_held_as_long_as_the_claim_that_took_it(
    state: tuple[int, str, bool, datetime] | None, until: datetime | None, stale: bool
) -> None:
    holder = Holder("a", 4, until=until)

    assert is_stale(holder, State(*state) if state else None, NOW) is stale
