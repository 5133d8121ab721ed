"""Ordinary entries of `celery beat`: sent when due, at most once, and remembered."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from celery import Celery
from celery.schedules import crontab, schedule, solar

from tests.integration.schedules import Clockwork, heard, last_ran, runs, turn
from tests.support import Bench, eventually
from worchflow_celery import Scheduler, Worchflow, signals

ENTRY = {"task": "ordinary", "schedule": 60.0}


def test_an_entry_is_sent_when_it_is_due(
    alone: Worchflow, scheduler: Callable[..., Scheduler], bench: Bench
) -> None:
    beat = scheduler(entry={"task": "ordinary", "schedule": 0.5})

    eventually(lambda: (beat.tick(), bench.messages() >= 3)[1])

    assert runs(bench) == bench.messages()


def test_an_entry_that_was_never_seen_before_is_not_due(
    alone: Worchflow, scheduler: Callable[..., Scheduler], bench: Bench
) -> None:
    turn(scheduler(entry=ENTRY))

    assert bench.messages() == 0


@pytest.mark.parametrize("when", [60.0, schedule(60), crontab(), timedelta(minutes=1)])
def test_an_entry_that_was_due_while_no_beat_ran_is_sent_once(
    alone: Worchflow, scheduler: Callable[..., Scheduler], bench: Bench, when: object
) -> None:
    turn(scheduler(entry={**ENTRY, "schedule": when}))
    last_ran(bench, timedelta(hours=1))

    turn(scheduler(entry={**ENTRY, "schedule": when}))

    assert (bench.messages(), runs(bench)) == (1, 1)


def test_an_entry_that_ran_a_moment_ago_is_not_sent_by_the_next_beat(
    alone: Worchflow, scheduler: Callable[..., Scheduler], bench: Bench
) -> None:
    turn(scheduler(entry=ENTRY))
    last_ran(bench, timedelta(seconds=55))

    turn(scheduler(entry=ENTRY))

    assert bench.messages() == 0


def test_a_crontab_entry_keeps_to_the_app_s_time_zone(
    alone: Worchflow, scheduler: Callable[..., Scheduler], celery_app: Celery, bench: Bench
) -> None:
    celery_app.conf.timezone = "Asia/Kolkata"
    hour = datetime.now(celery_app.timezone).hour
    entries = {
        "past": {**ENTRY, "schedule": crontab(minute="0", hour=str(hour))},
        "other": {**ENTRY, "schedule": crontab(minute="0", hour=str((hour + 12) % 24))},
    }
    turn(scheduler(**entries))
    for name in entries:
        last_ran(bench, timedelta(hours=2), name)

    turn(scheduler(**entries))

    assert (runs(bench, "past"), runs(bench, "other")) == (1, 0)


def at_noon(ago: timedelta) -> solar:
    """Where the sun stood highest so long ago, a quarter of an hour more or less."""
    hour = (datetime.now(UTC) - ago) - datetime.now(UTC).replace(hour=12, minute=0)
    west = hour / timedelta(hours=1) * 15
    return solar("solar_noon", 0, (180 - west) % 360 - 180)


def test_an_entry_may_keep_to_the_sun(
    alone: Worchflow, scheduler: Callable[..., Scheduler], bench: Bench
) -> None:
    entries = {
        "past": {**ENTRY, "schedule": at_noon(timedelta(minutes=30))},
        "other": {**ENTRY, "schedule": at_noon(timedelta(hours=12))},
    }
    turn(scheduler(**entries))
    for name in entries:
        last_ran(bench, timedelta(hours=1), name)

    turn(scheduler(**entries))

    assert (runs(bench, "past"), runs(bench, "other")) == (1, 0)


def test_entries_that_change_while_beat_runs_are_fired_as_they_are(
    alone: Worchflow, scheduler: Callable[..., Scheduler], bench: Bench
) -> None:
    beat = scheduler(removed={"task": "removed", "schedule": 0.1}, entry=ENTRY)
    turn(beat)
    before = runs(bench, "removed")

    del beat.schedule["removed"]
    beat.update_from_dict({"entry": {**ENTRY, "schedule": 0.1}})
    beat.add(name="added", task="ordinary", schedule=schedule(0.1))
    eventually(lambda: (beat.tick(), runs(bench) >= 2 and runs(bench, "added") >= 2)[1])

    assert runs(bench, "removed") == before


def test_two_schedulers_send_each_run_once(
    alone: Worchflow, scheduler: Callable[..., Scheduler], bench: Bench
) -> None:
    beats = [scheduler(entry=ENTRY), scheduler(entry=ENTRY)]
    for beat in beats:
        turn(beat)
    last_ran(bench, timedelta(hours=1))
    for beat in beats:  # as if both had read it at once
        beat._stamps = None
        beat._learn()

    for _ in range(5):
        for beat in beats:
            beat.tick()

    assert (bench.messages(), runs(bench)) == (1, 1)


@pytest.mark.parametrize("stamp", ["noon", None, 5, datetime(2999, 1, 1, tzinfo=UTC)])
def test_a_last_run_that_cannot_be_does_not_stop_its_entry(
    alone: Worchflow, scheduler: Callable[..., Scheduler], bench: Bench, stamp: object
) -> None:
    entry = {"task": "ordinary", "schedule": 0.5}
    turn(scheduler(entry=entry))
    entries = bench.collection("schedules")
    entries.update_one({"_id": "entry:entry"}, {"$set": {"last_run_at": stamp}})
    beat = scheduler(entry=entry)

    eventually(lambda: (beat.tick(), bench.messages() >= 2)[1])

    assert isinstance(entries.find_one({"_id": "entry:entry"})["last_run_at"], datetime)


def test_an_entry_that_was_removed_is_forgotten(
    alone: Worchflow, scheduler: Callable[..., Scheduler], bench: Bench
) -> None:
    turn(scheduler(entry=ENTRY))

    turn(scheduler(other=ENTRY))

    assert bench.collection("schedules").find_one({"_id": "entry:entry"}) is None


def test_celery_s_own_entries_are_kept(
    alone: Worchflow, scheduler: Callable[..., Scheduler], celery_app: Celery, tmp_path: Path
) -> None:
    celery_app.conf.result_backend = f"file://{tmp_path}"  # a backend that needs cleaning

    assert set(scheduler(entry=ENTRY).schedule) == {"entry", "celery.backend_cleanup"}


def test_a_flow_can_be_an_entry(
    alone: Worchflow, scheduler: Callable[..., Scheduler], bench: Bench
) -> None:
    alone.flow("report")(lambda event: event.data)
    beat = scheduler(entry={"task": "report", "schedule": 0.5, "args": [{"day": 1}]})

    eventually(lambda: (beat.tick(), bench.messages())[1])

    assert [execution.data for execution in alone.find(flow="report")][:1] == [{"day": 1}]


def test_entries_wait_for_a_broker_that_is_away_and_flows_do_not(
    alone: Worchflow, scheduler: Callable[..., Scheduler], celery_app: Celery, bench: Bench
) -> None:
    celery_app.conf.broker_url = "redis://127.0.0.1:1/0"
    clockwork = Clockwork(bench, alone)
    clockwork.flow("tick", cron="* * * * * *")
    beat = scheduler(entry={"task": "ordinary", "schedule": 0.5})

    with heard(signals.scheduler_error, alone) as errors:
        eventually(lambda: (beat.tick(), len(clockwork.windows("tick")) >= 2)[1])

    assert runs(bench) == 0
    assert len(errors) == 1
