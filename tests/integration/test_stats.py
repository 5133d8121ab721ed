"""What ended in which minute: counted once, by one dispatcher, out of an index."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, deliver, dispatcher
from worchflow_celery import Event, Worchflow, errors
from worchflow_celery.clock import utcnow
from worchflow_celery.store.rollups import Rollups, _groups

MINUTE = timedelta(minutes=1)


def minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


@pytest.fixture
def past() -> datetime:
    """A minute that is over, and is to be counted."""
    return minute_of(utcnow()) - 20 * MINUTE


@pytest.fixture
def ended(bench: Bench, past: datetime) -> Callable[..., None]:
    """Makes executions that have ended in a minute after that one."""

    def ended(
        flow: str, status: str, minute: int = 0, *, took: float = 1.0, waited: float = 0.5
    ) -> None:
        finished = past + minute * MINUTE + timedelta(seconds=30)
        started = finished - timedelta(seconds=took)
        bench.collection("executions").insert_one(
            {
                "flow": flow,
                "status": status,
                "finished_at": finished,
                "started_at": started,
                "created_at": started - timedelta(seconds=waited),
            }
        )

    return ended


def rollups(worchflow: Worchflow) -> Rollups:
    """As another dispatcher has them."""
    return Rollups(worchflow.runtime.store.database)


def test_what_ended_is_counted_by_flow_and_end(
    worchflow: Worchflow, ended: Callable[..., None]
) -> None:
    for status in ("completed", "completed", "failed", "cancelled"):
        ended("pay", status)
    ended("ship", "completed", 3)

    dispatcher(worchflow).sweep()  # ten minutes in one go; sixty are to be counted
    count_all(worchflow)

    found = {one.flow: one for one in worchflow.stats()}
    assert sorted(found) == ["pay", "ship"]
    pay = found["pay"]
    assert (pay.completed, pay.failed, pay.cancelled) == (2, 1, 1)
    assert found["ship"].completed == 1


def test_durations_are_of_completed_ones_and_waits_of_all(
    worchflow: Worchflow, ended: Callable[..., None]
) -> None:
    for took in (1, 1, 1, 8):
        ended("pay", "completed", took=took, waited=0.25)
    ended("pay", "failed", took=500, waited=30)
    count_all(worchflow)

    (pay,) = worchflow.stats("pay")

    assert (pay.duration.count, pay.duration.mean, pay.duration.longest) == (4, 2.75, 8)
    assert pay.duration.p50 is not None and pay.duration.p99 is not None
    assert 0.5 <= pay.duration.p50 <= 2
    assert 4 <= pay.duration.p99 <= 8
    assert (pay.wait.count, pay.wait.longest) == (5, 30)


def count_all(worchflow: Worchflow) -> int:
    """Count until there is nothing left; how many minutes that were."""
    counted = 0
    while more := rollups(worchflow).advance():
        counted += more
    return counted


def test_an_hour_back_is_counted_at_first_and_then_what_is_over(worchflow: Worchflow) -> None:
    assert 59 <= count_all(worchflow) <= 60
    assert count_all(worchflow) == 0


def test_a_minute_is_counted_once_whatever_dispatchers_do(
    bench: Bench, worchflow: Worchflow, past: datetime, ended: Callable[..., None]
) -> None:
    ended("pay", "completed")
    count_all(worchflow)
    ended("pay", "completed")
    # As if the winner had died before it moved the cursor on.
    bench.collection("rollups").update_one({"_id": "cursor"}, {"$set": {"minute": past}})

    count_all(worchflow)

    (pay,) = worchflow.stats("pay")
    assert pay.completed == 1


def test_many_dispatchers_at_once_count_each_minute_once(
    worchflow: Worchflow, ended: Callable[..., None]
) -> None:
    for minute in range(15):
        ended("pay", "completed", minute)
    worchflow.ping()
    many = [threading.Thread(target=count_all, args=(worchflow,)) for _ in range(6)]

    for one in many:
        one.start()
    for one in many:
        one.join(30)
    count_all(worchflow)

    (pay,) = worchflow.stats("pay")
    assert pay.completed == 15


def test_a_winner_that_died_holds_nobody_up_for_long(
    bench: Bench, worchflow: Worchflow, ended: Callable[..., None]
) -> None:
    ended("pay", "completed")
    rollups(worchflow).advance()
    held = {"$set": {"held_until": utcnow() + timedelta(seconds=30)}}
    bench.collection("rollups").update_one({"_id": "cursor"}, held)

    assert rollups(worchflow).advance() == 0
    passed = {"$set": {"held_until": utcnow() - timedelta(seconds=1)}}
    bench.collection("rollups").update_one({"_id": "cursor"}, passed)
    count_all(worchflow)

    assert [one.completed for one in worchflow.stats()] == [1]


def test_points_cut_the_time_into_equal_parts(
    worchflow: Worchflow, past: datetime, ended: Callable[..., None]
) -> None:
    for minute in (0, 1, 6, 6):
        ended("pay", "failed", minute)
    count_all(worchflow)

    (pay,) = worchflow.stats(since=past, until=past + 10 * MINUTE, points=5)

    assert [(one.at - past) // MINUTE for one in pay.points] == [0, 2, 4, 6, 8]
    assert [one.failed for one in pay.points] == [2, 0, 0, 2, 0]


def test_only_the_time_that_is_asked_for_counts(
    worchflow: Worchflow, past: datetime, ended: Callable[..., None]
) -> None:
    for minute in range(6):
        ended("pay", "completed", minute)
    count_all(worchflow)

    (pay,) = worchflow.stats(since=past + MINUTE, until=past + 4 * MINUTE)

    assert pay.completed == 3


def test_executions_that_really_ran_are_counted(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, past: datetime
) -> None:
    @worchflow.flow("real")
    def real(event: Event[Any]) -> None: ...

    for _ in range(3):
        real.send()
    deliver(celery_app)
    bench.collection("executions").update_many({}, {"$set": {"finished_at": past}})
    count_all(worchflow)

    assert [(one.flow, one.completed) for one in worchflow.stats()] == [("real", 3)]


def test_what_is_counted_is_read_out_of_the_index_alone(
    bench: Bench, worchflow: Worchflow, past: datetime, ended: Callable[..., None]
) -> None:
    worchflow.ping()
    for _ in range(50):
        ended("pay", "completed")
    pipeline = _groups(past, past + MINUTE)

    plan = bench.database.command(
        "explain",
        {"aggregate": bench.collection("executions").name, "pipeline": pipeline, "cursor": {}},
        verbosity="executionStats",
    )

    stats = (
        plan["stages"][0]["$cursor"]["executionStats"]
        if "stages" in plan
        else plan["executionStats"]
    )
    assert stats["totalKeysExamined"] >= 50
    assert stats["totalDocsExamined"] == 0


@pytest.mark.parametrize(
    "given",
    [
        {"points": 0},
        {"flow": "no id!"},
        {"since": datetime(2026, 1, 1)},
        {"since": utcnow() - timedelta(days=36)},
        {"since": utcnow() + timedelta(days=1)},
    ],
)
def test_a_question_that_cannot_be_is_refused(worchflow: Worchflow, given: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidOption):
        worchflow.stats(**given)
