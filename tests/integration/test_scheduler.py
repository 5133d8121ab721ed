"""The scheduler that `celery beat` turns: its terms, outages, signals, and its end."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from celery import Celery

from tests.integration.schedules import heard, last_ran, turn
from tests.support import Bench, eventually
from worchflow_celery import Scheduler, Worchflow, signals
from worchflow_celery.errors import StoreUnavailable
from worchflow_celery.servers import MongoServer
from worchflow_celery.servers.binaries import MONGOD, locate
from worchflow_celery.servers.launch import Launch

ENTRY = {"task": "ordinary", "schedule": 60.0}


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


def test_an_end_that_is_asked_for_within_a_tick_comes_after_it(
    worchflow: Worchflow, scheduler: Callable[..., Scheduler]
) -> None:
    beat = scheduler()

    def end(**_: object) -> None:  # beat's signal handler, whose SystemExit went astray
        beat.close()

    signals.leader_acquired.connect(end, sender=worchflow, weak=False)
    with heard(signals.scheduler_stopped, worchflow) as stopped, pytest.raises(SystemExit):
        beat.tick()

    assert stopped == []
    assert beat._leadership is not None and beat._leadership.leads()


def test_a_scheduler_that_has_ended_does_not_lead_again(
    worchflow: Worchflow, scheduler: Callable[..., Scheduler]
) -> None:
    beat = scheduler()
    beat.close()

    with heard(signals.leader_acquired, worchflow) as acquired, pytest.raises(SystemExit):
        beat.tick()

    assert acquired == []


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
