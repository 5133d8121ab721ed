"""Pool processes end under their executions: by SIGKILL, by a time limit, by the flow itself."""

import os
import signal
from dataclasses import dataclass

import pytest

from tests.acceptance.stage import SetUp, Stage, Story, seconds_until_end
from worchflow_celery import ExecutionHandle
from worchflow_celery.clock import utcnow


@dataclass(frozen=True)
class Played:
    #: Its pool process was killed in the second step of three.
    killed: Story
    #: Seconds from then on until its end.
    seconds: float
    #: Its second step exceeded Celery's hard time limit once.
    limited: Story
    #: It ran in another process of the pool all the time.
    neighbour: Story
    #: It kills its process in its second step, each time.
    poison: Story
    effects: dict[str, int]
    #: Sent while all that happened.
    others: list[Story]


@pytest.fixture(scope="module")
def played(set_up: SetUp) -> Played:
    with set_up(TEST_LEASE="60") as stage:
        stage.worker("worker", "-P", "prefork", "-c", "4").ready()
        neighbour = hold(stage, "steps", "last")
        limited = hold(stage, "limited-steps", "limited")
        killed = hold(stage, "steps", "killed")
        poison = stage.send("poison")
        others = [stage.send("quick", number) for number in range(10)]

        killed_at = utcnow()
        os.kill(owner_of(stage, killed), signal.SIGKILL)
        stage.open("killed")
        stage.wait_for("begin", limited.id, 1, times=2)
        stage.open("limited")
        others += [stage.send("quick", number) for number in range(10)]

        ended = [stage.finished(handle) for handle in (killed, limited, poison)]
        stage.open("last")
        return Played(
            killed=ended[0],
            seconds=seconds_until_end(ended[0], killed_at),
            limited=ended[1],
            neighbour=stage.finished(neighbour),
            poison=ended[2],
            effects={
                word: stage.diary.counts()[f"{word} {poison.id}"] for word in ("harmless", "died")
            },
            others=[stage.finished(handle) for handle in others],
        )


def hold(stage: Stage, flow: str, gate: str) -> ExecutionHandle[int]:
    handle = stage.send(flow, {"count": 3, "hold": 1, "gate": gate})
    stage.wait_for("begin", handle.id, 1)
    return handle


def owner_of(stage: Stage, handle: ExecutionHandle[int]) -> int:
    pid: int = stage.documents(handle)[0]["owner"]["pid"]
    return pid


def test_a_killed_pool_process_s_execution_goes_on_within_six_seconds(played: Played) -> None:
    assert played.seconds <= 6
    assert played.killed.execution.result == 3


@pytest.mark.parametrize("which", ["killed", "limited"])
def test_only_the_step_that_was_interrupted_runs_again(played: Played, which: str) -> None:
    assert getattr(played, which).begun == [1, 2, 1]


@pytest.mark.parametrize("which", ["killed", "limited"])
def test_the_end_of_a_pool_process_is_a_crash_and_no_attempt(played: Played, which: str) -> None:
    story: Story = getattr(played, which)

    assert story.outcomes == ["lost", "completed"]
    assert (story.execution.crashes, story.execution.attempt) == (1, 1)


def test_the_end_of_a_pool_process_leaves_its_neighbours_alone(played: Played) -> None:
    assert played.neighbour.begun == [1, 1, 1]
    assert played.neighbour.execution.crashes == 0


def test_a_flow_that_kills_its_process_fails_naming_the_step(played: Played) -> None:
    execution = played.poison.execution

    assert execution.status == "failed"
    assert execution.error is not None
    assert execution.error.type == "WorkerLost"
    assert "step 'deadly'" in execution.error.message


def test_a_flow_may_kill_its_process_three_times_more_than_its_retries(played: Played) -> None:
    assert played.effects == {"harmless": 1, "died": 0 + 3 + 1}
    assert played.poison.execution.crashes == 0 + 3 + 1


def test_flows_beside_one_that_kills_its_processes_keep_running(played: Played) -> None:
    assert {story.execution.status for story in played.others} == {"completed"}
    assert {story.execution.crashes for story in played.others} == {0}
