"""Kill after kill while executions wait for one another, for signals, tasks, time and slots."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.acceptance.chronicle import Chronicle, Document, misplaced, most_open
from tests.acceptance.composing import begin, deliver, fails, finish, signals
from tests.acceptance.stage import SetUp, Stage
from tests.support import Worker, eventually
from worchflow_celery import Execution

pytestmark = pytest.mark.slow

SEED = 4711
#: Executions of each flow; with their children, all are twelve times as many.
EACH = 16
#: Of the workers, which come one after the other while those before them are killed.
POOLS = ("prefork", "threads") * 4
KILLS = 6
#: Seconds by which clocks and a write that was under way may differ.
GRAIN = 0.5


@dataclass(frozen=True)
class World:
    told: Chronicle
    #: Ids as they were sent.
    sent: list[str]
    #: What the rule about ``due_at`` was broken by, looked for at each kill and in the end.
    misplaced: list[Document]


@pytest.fixture(scope="module")
def world(set_up: SetUp) -> Iterator[World]:
    with set_up(TEST_LEASE="2", TEST_COMPOSED="yes") as stage:
        yield play(stage, random.Random(SEED))


def play(stage: Stage, chance: random.Random) -> World:
    workers = [start(stage, number).ready() for number in range(2)]
    sent = begin(stage, EACH)
    late = signals(chance, EACH)
    share = len(late) // (KILLS + 2)
    deliver(stage, late, 2 * share)
    wrong = []
    for number in range(KILLS):
        wait_for_effects(stage, 70 * number + chance.randrange(20, 70))
        workers[number].kill()
        wrong += misplaced(stage)
        workers.append(start(stage, number + 2))
        deliver(stage, late, share)
    deliver(stage, late, len(late))
    finish(stage)
    return World(Chronicle.of(stage), sent, wrong + misplaced(stage))


def start(stage: Stage, number: int) -> Worker:
    return stage.worker(f"worker-{number}", "-P", POOLS[number], "-c", "4")


def wait_for_effects(stage: Stage, count: int) -> None:
    eventually(lambda: len(stage.diary.lines()) >= count, within=60, what=f"{count} effects")


def bookings(world: World, *, failed: bool) -> list[Execution]:
    every = world.told.of_flow("booking")
    return [one for one in every if (one.data["fails"] is not None) == failed]


# -- Every execution ----------------------------------------------------------------------------


def test_workers_were_lost_under_executions(world: World) -> None:
    assert sum(one.crashes for one in world.told.read.values()) >= KILLS


def test_every_send_ends_as_its_data_says(world: World) -> None:
    ends = {one: world.told.read[one].status.value for one in world.sent}

    failing = [f"booking-{number}" for number in range(EACH) if fails(number)]
    assert ends == dict.fromkeys(world.sent, "completed") | dict.fromkeys(failing, "failed")


def test_an_execution_is_due_exactly_as_long_as_it_has_not_ended(world: World) -> None:
    assert world.misplaced == []


def test_each_run_of_a_step_has_one_checkpoint_that_is_never_written_again(world: World) -> None:
    assert {key: count for key, count in world.told.identities.items() if count > 1} == {}
    assert world.told.rewritten == 0


def test_every_step_that_had_an_effect_has_its_checkpoint(world: World) -> None:
    assert set(world.told.runs) <= set(world.told.identities)


def test_no_step_begins_again_after_its_checkpoint(world: World) -> None:
    ended = world.told.recorded_at
    effects = world.told.effects

    late = [one for one in effects if one.at > ended[one.execution, one.key] + GRAIN]

    assert late == []


def test_a_step_runs_again_only_when_its_worker_was_lost(world: World) -> None:
    extra = {
        (execution, key): runs
        for (execution, key), runs in world.told.runs.items()
        if runs - 1 > world.told.read[execution].crashes
    }

    assert extra == {}


def test_each_lost_worker_costs_at_most_what_ran_in_it_at_once(world: World) -> None:
    for execution in world.told.read.values():
        runs = [count for (of, _), count in world.told.runs.items() if of == execution.id]
        at_once = 2 if execution.flow == "bulk" else 1
        assert sum(runs) - len(runs) <= execution.crashes * at_once, execution.id


def test_results_are_what_the_checkpoints_say(world: World) -> None:
    for execution in world.told.read.values():
        if execution.status == "completed":
            recorded = {one.key: one.result for one in world.told.records[execution.id]}
            assert execution.result == recorded


def test_results_are_what_the_data_says(world: World) -> None:
    told = world.told
    for number in range(EACH):
        family = told.read[f"family-{number}"].result
        assert family["one"] == child(number)
        assert family["many"] == [child(number + more) for more in range(3)]
        assert told.read[f"bulk-{number}"].result["last"] == 40
        tasks = told.read[f"tasks-{number}"].result
        assert tasks["several"] == ["<a>", "<b>"]
        assert tasks["chained"] == f"<<{number}>>"


def child(number: int) -> dict[str, Any]:
    return {"make": number * 10, "rest": None, "check": number * 10 + 1}


# -- Children, signals, compensations, limits, progress ----------------------------------------


def test_each_child_exists_once(world: World) -> None:
    family = ["aside:1", *["many:1"] * 3, "one:1"]

    expected = {f"family-{number}": family for number in range(EACH)}
    expected |= {f"booking-{number}": ["ask:1"] for number in range(EACH)}
    assert world.told.children == expected


def test_a_child_that_was_sent_completes(world: World) -> None:
    for number in range(EACH):
        aside = world.told.read[f"family-{number}"].result["aside"]
        assert world.told.read[aside].result == child(number)


@pytest.mark.parametrize(
    ("keys", "names"), [(["approve", "approve#2"], ["approve"]), (["choice"], ["pay", "drop"])]
)
def test_each_wait_takes_the_next_signal_that_came(
    world: World, keys: list[str], names: list[str]
) -> None:
    for number in range(EACH):
        order = f"order-{number}"
        came = [one["_id"] for one in world.told.signals if one["name"] in names]
        mine = sorted(one.removeprefix(f"{order} ") for one in came if one.startswith(f"{order} "))

        waits = world.told.checkpoints(order, "signal")
        taken = [one["ref"] for one in waits if one["key"] in keys]

        assert taken == mine[: len(keys)]


def test_each_signal_is_taken_at_most_once(world: World) -> None:
    for number in range(EACH):
        waits = world.told.checkpoints(f"order-{number}", "signal")
        taken = [one["ref"] for one in waits if "ref" in one]

        assert len(set(taken)) == len(taken) == 3


def test_what_failed_is_undone_newest_first(world: World) -> None:
    for booking in bookings(world, failed=True):
        done = ["train", "hotel", "museum"]
        done += ["train#2"] if booking.data["fails"] == "handler" else []

        assert world.told.undone(booking.id) == done[::-1]
        assert booking.compensated is True


def test_what_completed_is_not_undone(world: World) -> None:
    for booking in bookings(world, failed=False):
        assert world.told.undone(booking.id) == []


def test_on_failure_is_called_once_with_the_error(world: World) -> None:
    for booking in bookings(world, failed=True):
        records = world.told.records[booking.id]
        told = [one.result for one in records if one.key == "on_failure/tell"]

        assert told == [f"the {booking.data['fails']} has failed"]


def test_no_customer_has_more_at_once_than_the_limit(world: World) -> None:
    began = {(one.execution, one.key): one.at for one in world.told.effects}
    unharmed = [one for one in world.told.of_flow("limited") if not one.crashes]

    for customer in range(3):
        ids = [one.id for one in unharmed if one.data["number"] % 3 == customer]
        assert 1 <= most_open([(began[one, "one"], began[one, "two"]) for one in ids]) <= 2


def test_what_an_execution_told_last_of_its_progress_stays(world: World) -> None:
    for bulk in world.told.of_flow("bulk"):
        assert bulk.progress is not None
        assert (bulk.progress.fraction, bulk.progress.message) == (1.0, "all of it")
