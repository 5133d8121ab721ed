"""What every worker does beside its tasks: put back in line whatever is due."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, bring_forward, deliver, die, dispatcher, eventually, revive
from worchflow_celery import Event, Step, Worchflow
from worchflow_celery.attempt import attempt
from worchflow_celery.clock import utcnow
from worchflow_celery.publisher import express_queue
from worchflow_celery.recovery import Sweeper


@pytest.fixture(autouse=True)
def flows(worchflow: Worchflow) -> None:
    @worchflow.flow("quick")
    def quick(event: Event[Any]) -> str:
        return "done"

    @worchflow.flow("retried", retries=1, retry_delay=3600)
    def retried(event: Event[Any]) -> str:
        if event.attempt == 1:
            raise ConnectionError
        return "done"

    @worchflow.flow("waits")
    def waits(event: Event[Any], step: Step) -> str:
        step.run("step", once(event.id), retries=1, retry_delay=3600)
        return "done"

    @worchflow.flow("dies")
    def dies(event: Event[Any]) -> None:
        die()

    seen: set[str] = set()

    def once(execution_id: str) -> Any:
        def fn() -> None:
            if execution_id not in seen:
                seen.add(execution_id)
                raise ConnectionError

        return fn


@pytest.fixture
def sweeper(worchflow: Worchflow) -> Sweeper:
    return dispatcher(worchflow)


def lose_all_messages(bench: Bench) -> None:
    bench.broker().delete(bench.prefix, express_queue(bench.prefix))


def express(bench: Bench) -> int:
    return int(bench.broker().llen(express_queue(bench.prefix)))


def pause_of(bench: Bench, execution_id: str) -> float:
    """Seconds from now until the dispatcher looks at it again."""
    found = bench.collection("executions").find_one({"_id": execution_id})
    assert found is not None
    return float((found["due_at"] - utcnow()).total_seconds())


def test_a_delayed_execution_is_published_when_its_time_has_come(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, sweeper: Sweeper
) -> None:
    handle = worchflow.send("quick", delay=3600)
    sweeper.sweep()
    before = bench.messages()
    bring_forward(bench, handle.id)

    sweeper.sweep()
    deliver(celery_app)

    assert before == 0
    assert handle.result(1) == "done"


@pytest.mark.parametrize("flow", ["retried", "waits"])
def test_what_waits_for_long_is_published_when_its_time_has_come(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, sweeper: Sweeper, flow: str
) -> None:
    handle = worchflow.send(flow)
    deliver(celery_app)
    sweeper.sweep()
    before = bench.messages()
    bring_forward(bench, handle.id)

    sweeper.sweep()
    deliver(celery_app)

    assert before == 0
    assert handle.result(1) == "done"


def test_ten_dispatchers_publish_each_due_execution_once(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    ids = [worchflow.send("quick", delay=3600).id for _ in range(40)]
    for id in ids:
        bring_forward(bench, id)
    sweepers = [dispatcher(worchflow) for _ in range(10)]
    together = Barrier(10)

    def sweep(one: Sweeper) -> None:
        together.wait()
        one.sweep()

    with ThreadPoolExecutor(10) as threads:
        list(threads.map(sweep, sweepers))

    assert sorted(deliver(celery_app)) == sorted(ids)


def test_lost_messages_are_published_again_when_their_queue_is_empty(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, sweeper: Sweeper
) -> None:
    handles = [worchflow.send("quick") for _ in range(3)]
    lose_all_messages(bench)
    for handle in handles:
        bring_forward(bench, handle.id)

    sweeper.sweep()

    assert sorted(deliver(celery_app)) == sorted(handle.id for handle in handles)


def test_a_message_that_was_just_published_is_not_yet_taken_for_lost(
    bench: Bench, worchflow: Worchflow, sweeper: Sweeper
) -> None:
    worchflow.send("quick")
    lose_all_messages(bench)

    sweeper.sweep()

    assert bench.messages() == 0


def test_a_backlog_is_left_alone_while_its_queue_is_not_empty(
    bench: Bench, worchflow: Worchflow, sweeper: Sweeper
) -> None:
    for _ in range(5):
        bring_forward(bench, worchflow.send("quick").id)

    for _ in range(3):
        sweeper.sweep()

    assert bench.messages() == 5


def test_after_ten_minutes_a_message_counts_as_lost_whatever_its_queue_holds(
    bench: Bench, worchflow: Worchflow, sweeper: Sweeper
) -> None:
    lost, _ = worchflow.send("quick"), worchflow.send("quick")
    sweeper.sweep()
    long_ago = utcnow() - timedelta(minutes=10, seconds=5)
    change = {"$set": {"due_at": long_ago}}
    bench.collection("executions").update_one({"_id": lost.id}, change)
    bench.broker().lpop(bench.prefix)

    eventually(lambda: sweeper.sweep() and bench.messages() == 2, within=5)


def test_what_has_begun_passes_the_backlog_of_new_ones(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, sweeper: Sweeper
) -> None:
    recovered = worchflow.send("dies")
    deliver(celery_app)
    for _ in range(3):
        worchflow.send("quick")
    revive(worchflow, recovered.id)
    lose = bench.broker().delete(express_queue(bench.prefix))

    bring_forward(bench, recovered.id)
    sweeper.sweep()

    assert (lose, express(bench), bench.messages()) == (1, 1, 4)


def test_every_other_message_goes_the_way_that_older_workers_know(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, sweeper: Sweeper
) -> None:
    handle = worchflow.send("retried")
    deliver(celery_app)

    ways = []
    for _ in range(4):
        bring_forward(bench, handle.id)
        sweeper.sweep()
        ways.append((express(bench), bench.messages() - express(bench)))
        lose_all_messages(bench)

    assert ways == [(1, 0), (0, 1), (1, 0), (0, 1)]


def test_it_backs_off_while_nobody_takes_what_it_publishes(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, sweeper: Sweeper
) -> None:
    handle = worchflow.send("retried", delay=3600)

    pauses = []
    for _ in range(4):
        bring_forward(bench, handle.id)
        sweeper.sweep()
        pauses.append(pause_of(bench, handle.id))
        lose_all_messages(bench)

    assert pauses == pytest.approx([5, 10, 20, 20], abs=2)


def test_it_begins_anew_once_somebody_has_taken_it(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, sweeper: Sweeper
) -> None:
    handle = worchflow.send("retried", delay=3600)
    for _ in range(4):
        bring_forward(bench, handle.id)
        sweeper.sweep()
    attempt(worchflow.runtime, worchflow.flows["retried"].definition, handle.id)

    bring_forward(bench, handle.id)
    sweeper.sweep()

    assert pause_of(bench, handle.id) == pytest.approx(5, abs=2)


def test_what_it_could_not_run_itself_it_leaves_to_others(
    bench: Bench, worchflow: Worchflow, sweeper: Sweeper
) -> None:
    elsewhere = worchflow.send("quick", queue=f"{bench.prefix}.other", delay=3600)
    unknown = worchflow.send("unknown", delay=3600)
    for handle in (elsewhere, unknown):
        bring_forward(bench, handle.id)

    sweeper.sweep()

    assert bench.messages() == bench.broker().llen(f"{bench.prefix}.other") == 0
