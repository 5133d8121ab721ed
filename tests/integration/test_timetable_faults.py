"""Timetables between clocks that disagree, with documents that are broken, without a broker."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.integration.schedules import Clockwork
from tests.support import Bench
from worchflow_celery import Worchflow
from worchflow_celery.clock import utcnow

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


@pytest.mark.parametrize("off", [HOUR, -HOUR, 3 * SECOND, -3 * SECOND])
def test_windows_are_due_on_mongodb_s_clock_whatever_the_host_s_says(
    clockwork: Clockwork, worchflow: Worchflow, off: timedelta
) -> None:
    clockwork.flow("tick", cron="* * * * * *", missed="all")
    worchflow.ping()
    worchflow.runtime.store.database._offset += off

    clockwork.until(clockwork.open(), lambda: len(clockwork.windows("tick")) >= 2)

    windows = clockwork.windows("tick")
    assert all(timedelta(0) <= w.fired_at - w.scheduled_for < 5 * SECOND for w in windows)
    assert clockwork.now() >= windows[0].scheduled_for


def test_a_clock_of_mongodb_that_was_set_back_fires_nothing_early(clockwork: Clockwork) -> None:
    clockwork.flow("tick", cron="* * * * * *", missed="all")
    timetable = clockwork.open()
    timetable._clock.set(clockwork.now() + HOUR)  # what it had been before

    pause = timetable.fire_due()

    assert pause is not None and 0 < pause <= 1
    assert len(clockwork.windows("tick")) <= 1


def test_a_schedule_that_cannot_be_read_is_set_aside_and_named(
    clockwork: Clockwork, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    clockwork.flow("broken", cron="0 * * * *")
    clockwork.flow("sound", cron="0 * * * *")
    clockwork.gap("sound", HOUR)
    schedules = bench.collection("schedules")
    schedules.update_one({"_id": "flow:broken"}, {"$set": {"seen": "yesterday"}})

    clockwork.open().fire_due()

    assert len(clockwork.executions("sound")) == 1
    assert clockwork.executions("broken") == []
    assert "The schedule of flow broken cannot be read" in caplog.text


@pytest.mark.parametrize(
    "damage",
    [
        {"$set": {"seen": "yesterday"}},
        {"$set": {"seen": {"$date": 0}}},
        {"$unset": {"seen": 1}},
        {"$set": {"flow": 5}},
        {"$unset": {"flow": 1}},
        {"$unset": {"kind": 1}},
    ],
)
def test_no_damage_to_a_schedule_ends_a_term(
    clockwork: Clockwork, bench: Bench, damage: dict[str, object]
) -> None:
    clockwork.flow("broken", cron="0 * * * *")
    clockwork.open()
    bench.collection("schedules").update_one({"_id": "flow:broken"}, damage)

    timetable = clockwork.open()

    assert timetable.fire_due() is not None


def test_a_schedule_whose_document_is_gone_begins_anew(clockwork: Clockwork, bench: Bench) -> None:
    clockwork.flow("tick", cron="* * * * * *", missed="all")
    timetable = clockwork.open()
    bench.collection("schedules").drop()

    clockwork.until(timetable, lambda: len(clockwork.executions("tick")) >= 2)

    assert bench.collection("schedules").find_one({"_id": "flow:tick"})["cron"] == "* * * * * *"


def test_a_broken_schedule_that_was_removed_begins_anew_within_the_term(
    clockwork: Clockwork, bench: Bench
) -> None:
    clockwork.flow("tick", cron="* * * * * *")
    clockwork.open()
    schedules = bench.collection("schedules")
    schedules.update_one({"_id": "flow:tick"}, {"$set": {"seen": "yesterday"}})
    timetable = clockwork.open()

    schedules.delete_one({"_id": "flow:tick"})
    timetable._next["tick"] = utcnow()  # a minute later
    clockwork.until(timetable, lambda: clockwork.executions("tick"))

    assert clockwork.outcomes("tick")[0] == "fired"


@pytest.fixture
def without_broker(bench: Bench) -> Iterator[Clockwork]:
    app = bench.celery(broker_url="redis://127.0.0.1:1/0")
    bound = bench.bind(app)
    yield Clockwork(bench, bound)
    bound.close()
    app.close()


def test_windows_that_cannot_be_published_wait_for_the_dispatcher(
    without_broker: Clockwork, bench: Bench
) -> None:
    without_broker.flow("report", cron="0 * * * *", missed="all")

    without_broker.gap("report", 3 * HOUR).fire_due()

    waiting = list(bench.collection("executions").find({"publishes": 0}))
    assert len(waiting) == 3
    assert all(one["due_at"] <= without_broker.now() for one in waiting)


def test_a_decision_outlives_the_retention_of_its_execution(
    clockwork: Clockwork, bench: Bench
) -> None:
    app = bench.celery()
    short = Clockwork(bench, bench.bind(app, retention=1))
    short.flow("report", cron="0 * * * *")

    short.gap("report", HOUR).fire_due()
    short.worchflow.close()
    app.close()

    window = bench.collection("windows").find_one()
    indexes = bench.collection("windows").index_information()
    assert window["expires_at"] - window["fired_at"] == HOUR
    assert indexes["expired"]["expireAfterSeconds"] == 0
