"""Workers are killed in a step, all at once; another one goes on with what they had."""

from dataclasses import dataclass

import pytest

from tests.acceptance.stage import SetUp, Stage, Story, seconds_until_end
from tests.support import Worker, eventually
from worchflow_celery import ExecutionHandle
from worchflow_celery.clock import utcnow

LEASE = 3.0
#: Each victim: its pool, and the flow that it is killed in.
VICTIMS = {
    "prefork": ("prefork", "steps"),
    "threads": ("threads", "steps"),
    "solo": ("solo", "steps"),
    "asyncio": ("prefork", "async-steps"),
}


@dataclass(frozen=True)
class Played:
    #: Of each victim's execution, held in its third step of four.
    stories: dict[str, Story]
    #: Seconds from the kill to the end of each.
    seconds: dict[str, float]
    #: Of an execution that waited for its retry in the memory of a victim.
    retried: Story
    first_steps: int


@pytest.fixture(scope="module")
def played(set_up: SetUp) -> Played:
    with set_up(TEST_LEASE=str(LEASE), TEST_DELAY="4") as stage:
        victims = [start_victim(stage, name) for name in VICTIMS]
        held = {name: hold(stage, name) for name in VICTIMS}
        queues = ",".join(map(stage.queue, VICTIMS))
        stage.worker("rescuer", "-P", "threads", "-c", "4", "-Q", queues).ready()
        waiting = wait_for_a_retry(stage)

        killed_at = utcnow()
        for victim in victims:
            victim.kill()
        stage.worker("retrier", "-P", "solo", "-Q", stage.queue("retries"))
        stage.open()

        stories = {name: stage.finished(handle) for name, handle in held.items()}
        return Played(
            stories,
            {name: seconds_until_end(story, killed_at) for name, story in stories.items()},
            stage.finished(waiting),
            stage.diary.counts()[f"first {waiting.id}"],
        )


def start_victim(stage: Stage, name: str) -> Worker:
    queues = [stage.queue(name)] + ([stage.queue("retries")] if name == "prefork" else [])
    return stage.worker(name, "-P", VICTIMS[name][0], "-c", "2", "-Q", ",".join(queues))


def hold(stage: Stage, name: str) -> ExecutionHandle[int]:
    handle = stage.send(VICTIMS[name][1], {"count": 4, "hold": 2}, queue=stage.queue(name))
    stage.wait_for("begin", handle.id, 2)
    return handle


def wait_for_a_retry(stage: Stage) -> ExecutionHandle[int]:
    handle = stage.send("flaky", 2, queue=stage.queue("retries"))
    eventually(lambda: handle.status == "retrying", what="the first attempt fails")
    return handle


each_victim = pytest.mark.parametrize("victim", VICTIMS)


@each_victim
def test_a_killed_worker_s_execution_goes_on_in_another_one_within_lease_and_three_seconds(
    played: Played, victim: str
) -> None:
    assert played.stories[victim].places == [victim, "rescuer"]
    assert played.seconds[victim] <= LEASE + 3


@each_victim
def test_only_the_step_that_was_interrupted_runs_again(played: Played, victim: str) -> None:
    assert played.stories[victim].begun == [1, 1, 2, 1]


@each_victim
def test_a_kill_counts_as_a_crash_and_not_as_an_attempt(played: Played, victim: str) -> None:
    story = played.stories[victim]

    assert story.outcomes == ["lost", "completed"]
    assert (story.execution.crashes, story.execution.attempt) == (1, 1)


def test_a_retry_that_its_worker_did_not_live_to_see_happens_in_another_one(
    played: Played,
) -> None:
    assert played.retried.outcomes == ["retrying", "completed"]
    assert played.retried.places == ["prefork", "retrier"]
    assert played.retried.execution.attempt == 2


def test_a_retry_in_another_worker_repeats_no_finished_step(played: Played) -> None:
    assert played.first_steps == 1
