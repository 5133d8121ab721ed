"""What is to become of windows that have passed, decided without a server."""

from datetime import UTC, datetime, timedelta

import pytest

from worchflow_celery.models import Window
from worchflow_celery.store.schedules import Cursor, Line
from worchflow_celery.windows import LONGEST_FLOW_ID, execution_id, passed, without_overlaps

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVERY_MINUTE = Line("report", "* * * * *", "UTC")


def decided(
    seen: datetime, now: datetime, *, term: datetime, policy: str = "all", grace: float = 15
) -> list[tuple[datetime, str]]:
    found = passed(
        Cursor(EVERY_MINUTE, seen), policy, now, term=term, grace=timedelta(seconds=grace)
    )
    return [(window.scheduled_for, window.outcome) for window in found.windows]


@pytest.mark.parametrize(
    ("seconds", "outcome"),
    [(0, "fired"), (14, "fired"), (15, "fired"), (16, "missed-ran"), (59, "missed-ran")],
)
def test_a_window_of_the_term_is_missed_when_its_leader_is_later_than_the_grace(
    seconds: int, outcome: str
) -> None:
    now = NOON + timedelta(seconds=seconds)

    assert decided(NOON - MINUTE, now, term=NOON - 10 * MINUTE) == [(NOON, outcome)]


def test_no_window_is_due_before_its_time() -> None:
    now = NOON - timedelta(milliseconds=1)

    assert decided(NOON - MINUTE, now, term=NOON - 10 * MINUTE) == []


def test_what_passed_before_the_term_is_missed_and_what_came_after_is_fired() -> None:
    term = NOON + timedelta(seconds=30)

    windows = decided(NOON - MINUTE, NOON + MINUTE, term=term, grace=90)

    assert windows == [(NOON, "missed-ran"), (NOON + MINUTE, "fired")]


def test_after_a_long_silence_all_windows_are_missed() -> None:
    windows = decided(NOON - MINUTE, NOON + 2 * MINUTE, term=NOON - MINUTE, policy="latest")

    assert [outcome for _, outcome in windows] == ["missed-skipped", "missed-skipped", "missed-ran"]


def test_a_cursor_that_is_ahead_of_the_clock_has_no_windows() -> None:
    assert decided(NOON + MINUTE, NOON, term=NOON - MINUTE) == []


@pytest.mark.parametrize("policy", ["latest", "all", "skip"])
def test_a_gap_is_counted_whatever_becomes_of_it(policy: str) -> None:
    cursor = Cursor(EVERY_MINUTE, NOON - 5 * MINUTE)

    found = passed(cursor, policy, NOON, term=NOON, grace=MINUTE)

    assert found.gap is not None
    assert (found.gap.count, found.gap.newest[-1]) == (5, NOON)


def test_the_windows_of_a_repeated_hour_have_ids_of_their_own() -> None:
    line = Line("report", "30 * * * *", "Europe/Berlin")
    seen = datetime(2026, 10, 25, 0, tzinfo=UTC)

    found = passed(Cursor(line, seen), "all", seen + timedelta(hours=2), term=NOON, grace=MINUTE)

    assert [window.execution_id for window in found.windows] == [
        "cron:report@2026-10-25T00:30:00Z",
        "cron:report@2026-10-25T01:30:00Z",
    ]


def test_the_longest_flow_id_makes_the_longest_execution_id() -> None:
    assert len(execution_id("f" * LONGEST_FLOW_ID, NOON)) == 200


def window(flow: str, minute: int, runs: bool = True) -> Window:
    moment = NOON + minute * MINUTE
    return Window(
        flow=flow,
        scheduled_for=moment,
        fired_at=moment,
        outcome="fired" if runs else "missed-skipped",
        execution_id=execution_id(flow, moment) if runs else None,
    )


@pytest.mark.parametrize(
    ("busy", "outcomes"),
    [
        ([], ["missed-skipped", "fired", "overlap-skipped", "fired", "fired"]),
        (["slow"], ["missed-skipped", "overlap-skipped", "overlap-skipped", "fired", "fired"]),
    ],
)
def test_a_careful_flow_has_one_execution_at_a_time(busy: list[str], outcomes: list[str]) -> None:
    windows = [
        window("slow", 0, runs=False),
        window("slow", 1),
        window("slow", 2),
        window("quick", 1),
        window("quick", 2),
    ]

    kept = without_overlaps(windows, {"slow"}, busy)

    assert [one.outcome for one in kept] == outcomes
    assert all((one.execution_id is None) == ("skipped" in one.outcome) for one in kept)
