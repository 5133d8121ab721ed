"""Executions are cancelled, paused, put back in line and started again while workers are killed.

What must be true of those in the end; see ``world.py``.
"""

from itertools import pairwise

import pytest

from tests.acceptance.chronicle import ENDED, identity
from tests.acceptance.world import World

pytestmark = pytest.mark.slow


def test_a_cancellation_that_was_accepted_is_the_end(world: World) -> None:
    for race, accepted in world.done.accepted.items():
        ends = {one.status for one in world.told.lives[race] if one.status in ENDED}

        # Those that were cancelled were put back in line, and completed then.
        assert ends == ({"cancelled", "completed"} if accepted else {"completed"})


def test_executions_are_cancelled_whatever_they_are_at(world: World) -> None:
    assert set(world.done.cancelled_in) == {"queued", "waiting", "processing"}


def test_who_was_cancelled_takes_the_children_along_that_it_waits_for(world: World) -> None:
    assert {one.status.value for one in world.told.of_flow("idle")} == {"cancelled"}
    assert {
        one.status.value for one in world.told.of_flow("child") if one.data.get("fails") is not True
    } == {"completed"}


def test_nobody_is_told_of_a_failure_that_was_none(world: World) -> None:
    for flow in ("trip", "idle"):
        for one in world.told.of_flow(flow):
            assert not any(
                record.key.startswith("on_failure") for record in world.told.records[one.id]
            )


def test_nothing_begins_after_the_end(world: World) -> None:
    ended = {
        one.id: one.finished_at.timestamp() for one in world.told.read.values() if one.finished_at
    }

    assert [one for one in world.told.effects if one.at > ended[one.execution]] == []


def test_a_paused_execution_begins_no_attempt(world: World) -> None:
    assert world.done.paused
    for execution_id, since, until in world.done.paused:
        starts = [one.started_at for one in world.told.read[execution_id].attempts]

        assert [one for one in starts if since < one < until] == []


def test_what_failed_completes_when_it_is_retried_after_the_repair(world: World) -> None:
    assert world.done.retried["all"]
    for repair in world.told.of_flow("repair"):
        failures = [
            one
            for one, later in pairwise(world.told.lives[repair.id])
            if one.status == "failed" and later.status == "queued"
        ]
        told = [one for one in world.told.checkpoints(repair.id) if one["key"] == "on_failure/tell"]

        assert repair.attempt == 1
        assert len(told) == len(failures)


def test_what_is_started_again_runs_from_there_and_gives_the_same(world: World) -> None:
    assert len(world.done.restarted) == 7
    effects = {(one.execution, one.key) for one in world.told.effects}
    for new, (old, _) in world.done.restarted.items():
        copied = {identity(one) for one in world.told.checkpoints(new) if one["epoch"] == 0}

        assert copied.isdisjoint(effects)
        assert world.told.read[new].result == world.told.read[old].result
