"""The scheduler that `celery beat` turns: ordinary entries, outages, signals, the end."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.schedules import crontab, schedule

from tests.integration.schedules import Clockwork, heard
from tests.support import Bench, eventually
from worchflow_celery import Scheduler, Worchflow, signals
from worchflow_celery.errors import StoreUnavailable
from worchflow_celery.servers import MongoServer
from worchflow_celery.servers.binaries import MONGOD, locate
from worchflow_celery.servers.launch import Launch

ENTRY = {"task": "ordinary", "schedule": 60.0}


@pytest.fixture
def alone(bench: Bench, celery_app: Celery) -> Iterator[Worchflow]:
    """The binding of an app whose schedulers need no election."""
    bound = bench.bind(celery_app, leader_election=False)
    yield bound
    bound.close()


@pytest.fixture
def scheduler(celery_app: Celery) -> Iterator[Callable[..., Scheduler]]:
    """Makes schedulers of the app with a beat schedule; they are closed after the test."""
    made: list[Scheduler] = []

    def make(**entries: dict[str, Any]) -> Scheduler:
        celery_app.conf.beat_schedule = entries
        made.append(Scheduler(celery_app))
        return made[-1]

    yield make
    for one in made:
        one.close()


def runs(bench: Bench, entry: str = "entry") -> int:
    """How often an entry ran, as MongoDB knows it."""
    found = bench.collection("schedules").find_one({"_id": f"entry:{entry}"})
    return int(found["runs"]) if found else 0


def last_ran(bench: Bench, ago: timedelta | None, entry: str = "entry") -> None:
    """Make an entry's last run older."""
    change: dict[str, Any] = {"last_run_at": datetime.now(UTC) - (ago or timedelta(0))}
    bench.collection("schedules").update_one({"_id": f"entry:{entry}"}, {"$set": change})


def turn(one: Scheduler, times: int = 5) -> None:
    for _ in range(times):
        one.tick()


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


def test_what_one_part_cannot_do_does_not_stop_the_other(
    alone: Worchflow, scheduler: Callable[..., Scheduler], bench: Bench
) -> None:
    beat = scheduler(entry={"task": "ordinary", "schedule": 0.5})
    beat._timetable = None  # type: ignore[assignment]

    with heard(signals.scheduler_error, alone) as errors:
        eventually(lambda: (beat.tick(), bench.messages())[1])

    assert [type(call["error"]) for call in errors] == [AttributeError]


def test_a_leader_tells_its_term_with_one_token(
    worchflow: Worchflow, scheduler: Callable[..., Scheduler]
) -> None:
    beat = scheduler()

    with (
        heard(signals.leader_acquired, worchflow) as acquired,
        heard(signals.leader_lost, worchflow) as lost,
    ):
        turn(beat)
        beat.close()

    assert len(acquired) == 1
    assert acquired == lost
    assert acquired[0] == {"sender": worchflow, "token": acquired[0]["token"]}


def test_a_scheduler_that_does_not_lead_fires_nothing_and_looks_again_in_time(
    worchflow: Worchflow, scheduler: Callable[..., Scheduler], bench: Bench
) -> None:
    leader = scheduler(entry=ENTRY)
    turn(leader)
    last_ran(bench, timedelta(hours=1))
    follower = scheduler(entry=ENTRY)

    pauses = {follower.tick() for _ in range(5)}

    assert pauses == {worchflow.settings.leader_check_interval}
    assert bench.messages() == 0


def test_the_beginning_and_the_end_are_told_once(
    worchflow: Worchflow, scheduler: Callable[..., Scheduler]
) -> None:
    order: list[str] = []
    names = ("scheduler_ready", "leader_acquired", "leader_lost", "scheduler_stopped")
    receivers = {name: lambda name=name, **_: order.append(name) for name in names}
    for name, receiver in receivers.items():
        getattr(signals, name).connect(receiver, sender=worchflow, weak=False)

    beat = scheduler()
    turn(beat)
    beat.close()
    beat.close()

    assert order == list(names)


def test_close_within_a_tick_waits_for_its_end(
    worchflow: Worchflow, scheduler: Callable[..., Scheduler]
) -> None:
    beat = scheduler()
    turn(beat)
    beat._ticking = True  # a signal handler calls it then

    beat.close()

    assert beat._leadership is not None and beat._leadership.leads()
    beat._ticking = False


@pytest.fixture
def hurt(celery_app: Celery, tmp_path: Path) -> Iterator[tuple[Worchflow, MongoServer]]:
    """A binding whose MongoDB is its own, to be stopped and started."""
    with MongoServer(Launch(locate([MONGOD])[MONGOD], tmp_path, temporary=True)) as mongod:
        bound = Worchflow(
            celery_app, database_url=mongod.url, store_timeout=0.5, leader_election=False
        )
        yield bound, mongod
        bound.close()


def test_each_outage_of_mongodb_is_told_once(
    hurt: tuple[Worchflow, MongoServer], scheduler: Callable[..., Scheduler]
) -> None:
    bound, mongod = hurt
    beat = scheduler(entry={"task": "ordinary", "schedule": 0.1})
    turn(beat)

    with heard(signals.scheduler_error, bound) as errors:
        for outage in (1, 2):
            mongod.stop()
            eventually(lambda: (beat.tick(), len(errors) == outage)[1])  # noqa: B023
            turn(beat, 2)
            mongod.start()
            eventually(lambda: (beat.tick(), not beat._troubles)[1])

    assert [type(call["error"]) for call in errors] == [StoreUnavailable] * 2
