"""Workers stand still for longer than their leases, in the middle of a step, and wake up again."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.acceptance.stage import SetUp, Stage, Story
from tests.support import eventually
from worchflow_celery import ExecutionHandle

LEASE = 2.0
#: What is held when its worker is paused, and that worker's pool.
HELD = {
    "prefork": ("prefork", "steps"),
    "threads": ("threads", "steps"),
    "asyncio": ("threads", "async-steps"),
    "stubborn": ("prefork", "stubborn-steps"),
}


@dataclass(frozen=True)
class Witness:
    """An execution that another worker has finished, as seen before and after it woke up."""

    before: Story
    after: Story
    stored_before: list[dict[str, Any]]
    stored_after: list[dict[str, Any]]
    diary: list[str]


@dataclass(frozen=True)
class Played:
    witnesses: dict[str, Witness]
    #: Nobody else has the queue of this one, whose worker was paused for as long.
    alone: Story
    #: Sent to the woken workers.
    fresh: list[Story]


@pytest.fixture(scope="module")
def played(set_up: SetUp) -> Played:
    with set_up(TEST_LEASE=str(LEASE)) as stage:
        paused = {
            pool: stage.worker(pool, "-P", pool, "-c", "3", "-Q", queues(stage, pool))
            for pool in ("prefork", "threads")
        }
        held = {name: hold(stage, *HELD[name]) for name in HELD}
        alone = hold(stage, "prefork.alone", "steps")
        shared = ",".join(map(stage.queue, paused))
        rescuer = stage.worker("rescuer", "-P", "threads", "-c", "4", "-Q", shared).ready()

        for worker in paused.values():
            worker.pause()
        stage.open()
        before = {name: stage.finished(handle) for name, handle in held.items()}
        rescuer.stop()
        stored = {name: stage.documents(handle) for name, handle in held.items()}
        for worker in paused.values():
            worker.resume()
        for handle in held.values():
            wait_until_given_up(stage, handle)

        fresh = [stage.send("quick", 1, queue=stage.queue(pool)) for pool in paused]
        return Played(
            {
                name: Witness(
                    before[name],
                    stage.story(handle),
                    stored[name],
                    stage.documents(handle),
                    [line for line in stage.diary.lines() if handle.id in line],
                )
                for name, handle in held.items()
            },
            stage.finished(alone),
            [stage.finished(handle) for handle in fresh],
        )


def queues(stage: Stage, pool: str) -> str:
    return f"{stage.queue(pool)},{stage.queue(pool + '.alone')}"


def hold(stage: Stage, queue: str, flow: str) -> ExecutionHandle[int]:
    handle = stage.send(flow, {"count": 4, "hold": 1}, queue=stage.queue(queue))
    stage.wait_for("begin", handle.id, 1)
    return handle


def wait_until_given_up(stage: Stage, handle: ExecutionHandle[int]) -> None:
    line = f"Execution {handle.id} goes on elsewhere"
    eventually(lambda: line in stage.log(), what=line)


each_held = pytest.mark.parametrize("name", HELD)


@each_held
def test_another_worker_finishes_what_a_paused_one_had(played: Played, name: str) -> None:
    before = played.witnesses[name].before

    assert before.places == [HELD[name][0], "rescuer"]
    assert before.outcomes == ["lost", "completed"]
    assert before.begun == [1, 2, 1, 1]


@each_held
def test_a_worker_that_wakes_up_records_nothing(played: Played, name: str) -> None:
    witness = played.witnesses[name]

    assert len(witness.stored_before) == 1 + 4
    assert witness.stored_after == witness.stored_before


@each_held
def test_a_worker_that_wakes_up_begins_no_step(played: Played, name: str) -> None:
    witness = played.witnesses[name]

    assert witness.after.begun == witness.before.begun


def test_a_handler_that_swallows_the_loss_of_its_lease_meets_it_at_each_further_step(
    played: Played,
) -> None:
    swallowed = [line for line in played.witnesses["stubborn"].diary if "swallowed" in line]

    assert [line.split()[-1] for line in swallowed] == ["LeaseLost"] * 3


def test_a_worker_that_nobody_could_replace_goes_on_where_it_was(played: Played) -> None:
    assert played.alone.outcomes == ["completed"]
    assert played.alone.begun == [1, 1, 1, 1]
    assert played.alone.execution.crashes == 0


def test_a_worker_that_wakes_up_takes_new_executions(played: Played) -> None:
    assert [story.places for story in played.fresh] == [["prefork"], ["threads"]]
    assert {story.execution.status for story in played.fresh} == {"completed"}
