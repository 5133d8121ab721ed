"""Kill after kill while executions wait for one another, for signals, tasks, time and slots.

What must be true of all of them in the end; see ``world.py``.
"""

from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

import pytest

from tests.acceptance.chronicle import ENDED, most_open
from tests.acceptance.composed import CUSTOMERS
from tests.acceptance.composing import fails
from tests.acceptance.world import EACH, KILLS, World
from worchflow_celery import Execution

pytestmark = pytest.mark.slow

#: Seconds by which clocks and a write that was under way may differ.
GRAIN = 0.5
#: Steps of these run at once, so many.
AT_ONCE = {"bulk": 2, "swarm": 2}


def bookings(world: World, *, failed: bool) -> list[Execution]:
    every = world.told.of_flow("booking")
    return [one for one in every if (one.data["fails"] is not None) == failed]


# -- Every execution ----------------------------------------------------------------------------


def test_workers_were_lost_under_executions(world: World) -> None:
    assert sum(one.crashes for one in world.told.read.values()) >= KILLS


def test_every_send_ends_as_its_data_says(world: World) -> None:
    ends = {one: world.told.read[one].status.value for one in world.sent}

    expected = dict.fromkeys(world.sent, "completed")
    expected |= {f"booking-{number}": "failed" for number in range(EACH) if fails(number)}
    expected |= {f"trip-{number}": "cancelled" for number in range(EACH)}
    assert ends == expected


def test_an_execution_is_due_exactly_as_long_as_it_has_not_ended(world: World) -> None:
    for life in world.told.lives.values():
        assert [one for one in life if one.due != (one.status not in ENDED)] == []


def test_epochs_grow_by_one(world: World) -> None:
    for life in world.told.lives.values():
        assert {later.epoch - one.epoch for one, later in pairwise(life)} <= {0, 1}


def test_whoever_takes_an_execution_raises_its_epoch(world: World) -> None:
    """A worker that claims it, and who cancels it or puts it back in line from outside."""
    for execution_id, life in world.told.lives.items():
        kept = [
            (one.status, later.status)
            for one, later in pairwise(life)
            if one.status != later.status and one.epoch == later.epoch
        ]
        assert {before for before, _ in kept} <= {"processing"}, execution_id


def test_an_end_is_left_by_a_retry_alone(world: World) -> None:
    for execution_id, life in world.told.lives.items():
        left = [
            (one.status, later.status, later.epoch - one.epoch)
            for one, later in pairwise(life)
            if one.status in ENDED and one != later
        ]
        assert set(left) <= {("failed", "queued", 1), ("cancelled", "queued", 1)}
        assert not left or world.told.read[execution_id].flow in ("repair", "race")


def test_each_run_of_a_step_has_one_checkpoint_that_is_never_written_again(world: World) -> None:
    assert {key: count for key, count in world.told.identities.items() if count > 1} == {}
    assert world.told.rewritten == 0


def test_every_step_that_had_an_effect_has_its_checkpoint(world: World) -> None:
    missing = Counter(one for one, _ in set(world.told.runs) - set(world.told.identities))

    # What was cancelled is not run again, when its worker was lost within a step.
    read = world.told.read
    assert {one for one in missing if read[one].status != "cancelled"} == set()
    assert {one: count for one, count in missing.items() if count > read[one].crashes} == {}


def test_no_step_begins_again_after_its_checkpoint(world: World) -> None:
    ended = world.told.recorded_at

    late = [
        one
        for one in world.told.effects
        if one.at > ended.get((one.execution, one.key), one.at) + GRAIN
    ]

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
        at_once = AT_ONCE.get(execution.flow, 1)
        assert sum(runs) - len(runs) <= execution.crashes * at_once, execution.id


def test_results_are_what_the_checkpoints_say(world: World) -> None:
    for execution in world.told.read.values():
        if execution.status == "completed":
            assert execution.result == world.told.handler_results(execution.id)


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
        assert tasks["both"] == "<c><d>"
        swarm = told.read[f"swarm-{number}"]
        assert (swarm.result["one"], swarm.result["last"]) == (child(number), 24)
        assert swarm.attempt == 2


def child(number: int) -> dict[str, Any]:
    return {"make": number * 10, "rest": None, "check": number * 10 + 1}


# -- Children, signals, compensations, limits, progress ----------------------------------------


def test_each_child_exists_once(world: World) -> None:
    family = {"aside:1": 1, "one:1": 1, "many:1": 3}

    for parent, keys in world.told.children.items():
        assert Counter(keys).items() <= {**family, "ask:1": 1, "late:1": 1}.items(), parent
    for number in range(EACH):
        assert Counter(world.told.children[f"family-{number}"]) == family


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


def test_what_failed_or_was_cancelled_is_undone_newest_first(world: World) -> None:
    for execution in world.told.read.values():
        done, undone = (
            rounds(world.told.undoable(execution.id)),
            rounds(world.told.undone(execution.id)),
        )
        if execution.status == "completed":
            done = done[:-1]  # before the last retry

        assert undone == [one[::-1] for one in done], execution.id
        assert execution.compensated is (
            True if undone and execution.status != "completed" else None
        )


def rounds(keys: list[str]) -> list[list[str]]:
    """Keys of steps by how often they had been undone before."""
    found: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        name, _, again = key.partition(":")
        found[again].append(name)
    return [found[again] for again in sorted(found)]


def test_bookings_are_undone_from_where_they_failed(world: World) -> None:
    for booking in bookings(world, failed=True):
        done = ["train", "hotel", "museum"]
        done += ["train#2"] if booking.data["fails"] == "handler" else []

        assert world.told.undone(booking.id) == done[::-1]


def test_on_failure_is_called_once_with_the_error(world: World) -> None:
    for booking in bookings(world, failed=True):
        records = world.told.records[booking.id]
        told = [one.result for one in records if one.key == "on_failure/tell"]

        assert told == [f"the {booking.data['fails']} has failed"]


def test_no_customer_has_more_at_once_than_the_limit(world: World) -> None:
    began = {(one.execution, one.key): one.at for one in world.told.effects}
    unharmed = [one for one in world.told.of_flow("limited") if one.id not in world.harmed]

    for customer in range(CUSTOMERS):
        ids = [one.id for one in unharmed if one.data["number"] % CUSTOMERS == customer]
        assert most_open([(began[one, "one"], began[one, "two"]) for one in ids]) == 1


def test_what_an_execution_told_last_of_its_progress_stays(world: World) -> None:
    for bulk in world.told.of_flow("bulk"):
        assert bulk.progress is not None
        assert (bulk.progress.fraction, bulk.progress.message) == (1.0, "all of it")


def test_no_window_has_more_starts_of_a_customer_than_the_throttle(world: World) -> None:
    began = {one.execution: one.at for one in world.told.effects}
    unharmed = [one for one in world.told.of_flow("paced") if one.id not in world.harmed]

    for customer in range(CUSTOMERS):
        ids = [one.id for one in unharmed if one.data["number"] % CUSTOMERS == customer]
        assert most_open([(began[one], began[one] + 2 - GRAIN) for one in ids]) <= 2
