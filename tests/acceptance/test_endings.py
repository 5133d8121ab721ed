"""Executions are cancelled and undone by real workers, which are killed in the middle of it."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.acceptance.stage import SetUp, Stage, Story, seconds_until_end
from worchflow_celery import Execution, ExecutionHandle
from worchflow_celery.clock import utcnow

#: Two ways of running flows beside each other: in processes, in threads.
POOLS = ("prefork", "threads")


@dataclass(frozen=True)
class Cancelled:
    story: Story
    #: From the call to the end.
    seconds: float
    #: How often each of its steps was undone.
    undone: dict[int, int]


def undone(stage: Stage, handle: ExecutionHandle[None], word: str = "undone") -> dict[int, int]:
    """How often each compensation ended, or, as "undoing", began; in the order of the first."""
    begins = f"{word} {handle.id} "
    lines = [line for line in stage.diary.lines() if line.startswith(begins)]
    return dict(Counter(int(line.removeprefix(begins)) for line in lines))


def owner_of(stage: Stage, handle: ExecutionHandle[None]) -> int:
    pid: int = stage.documents(handle)[0]["owner"]["pid"]
    return pid


# -- cancel ------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=POOLS)
def cancelled(set_up: SetUp, request: pytest.FixtureRequest) -> Cancelled:
    """A flow of many short steps is cancelled in the middle."""
    with set_up() as stage:
        stage.worker("worker", "-P", request.param, "-c", "2").ready()
        handle = stage.send("saga", {"count": 200, "pace": 0.1})
        stage.wait_for("begin", handle.id, 3)

        moment = utcnow()
        handle.cancel()

        story = stage.finished(handle)
        return Cancelled(story, seconds_until_end(story, moment), undone(stage, handle))


def test_a_running_flow_stops_at_its_next_boundary_within_about_a_second(
    cancelled: Cancelled,
) -> None:
    assert cancelled.story.execution.status == "cancelled"
    assert cancelled.seconds < 1.5
    assert sum(cancelled.story.begun) < 20


def test_what_it_has_done_is_undone_once(cancelled: Cancelled) -> None:
    done = [number for number, times in enumerate(cancelled.story.begun) if times]

    assert cancelled.undone == dict.fromkeys(reversed(done), 1)
    assert cancelled.story.execution.compensated is True


# -- terminate ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Terminated:
    story: Story
    #: From the call to the end.
    seconds: float
    #: How often its step has run to its end.
    ended: int
    neighbour: Story
    #: After it was retried: the same worker took it.
    retried: Execution


@pytest.fixture(scope="module")
def terminated(set_up: SetUp) -> Terminated:
    """A step that would never end, and one beside it in another process of the pool."""
    with set_up() as stage:
        stage.worker("worker", "-P", "prefork", "-c", "2").ready()
        neighbour = stage.send("steps", {"count": 2, "hold": 1, "gate": "neighbour"})
        handle = stage.send("steps", {"count": 2, "hold": 1, "gate": "retried"})
        for one in (handle, neighbour):
            stage.wait_for("begin", one.id, 1)

        moment = utcnow()
        handle.cancel(terminate=True)

        story = stage.finished(handle)
        ended = stage.diary.counts()[f"end {handle.id} 1"]
        stage.open("neighbour")
        stage.open("retried")
        handle.retry()
        return Terminated(
            story,
            seconds_until_end(story, moment),
            ended,
            stage.finished(neighbour),
            stage.finished(handle).execution,
        )


def test_to_terminate_ends_a_step_that_would_not_end(terminated: Terminated) -> None:
    assert terminated.story.execution.status == "cancelled"
    assert terminated.ended == 0
    assert terminated.seconds < 6


def test_to_terminate_leaves_its_neighbours_alone(terminated: Terminated) -> None:
    assert terminated.neighbour.execution.status == "completed"
    assert terminated.neighbour.execution.crashes == 0


def test_what_was_terminated_can_be_retried_by_the_same_worker(terminated: Terminated) -> None:
    assert (terminated.retried.status, terminated.retried.result) == ("completed", 2)


def test_to_terminate_in_a_thread_waits_for_the_next_boundary(set_up: SetUp) -> None:
    with set_up() as stage:
        worker = stage.worker("worker", "-P", "threads", "-c", "2").ready()
        handle = stage.send("steps", {"count": 3, "hold": 1, "pace": 0.8})
        stage.wait_for("begin", handle.id, 1)

        asked = handle.cancel(terminate=True)
        stage.open()

        story = stage.finished(handle)
        assert asked.status == "processing"
        assert (story.execution.status, story.begun) == ("cancelled", [1, 1, 0])
        assert worker.process.poll() is None


# -- killed in the middle of it ----------------------------------------------------------------


@dataclass(frozen=True)
class Killed:
    story: Story
    #: How often each compensation began, and ended.
    undoing: dict[int, int]
    undone: dict[int, int]
    told: int


@pytest.fixture(scope="module", params=POOLS)
def killed(set_up: SetUp, request: pytest.FixtureRequest) -> Iterator[Killed]:
    """SIGKILL in the third of five compensations: to the pool process, or to the whole worker."""
    with set_up() as stage:
        worker = stage.worker("first", "-P", request.param, "-c", "2").ready()
        handle = stage.send("saga", {"count": 5, "hold_undo": 2})
        stage.wait_for("undoing", handle.id, 2)

        if request.param == "prefork":
            os.kill(owner_of(stage, handle), signal.SIGKILL)
        else:
            worker.kill()
            stage.worker("second", "-P", request.param, "-c", "2")
        stage.wait_for("undoing", handle.id, 2, times=2, within=40)
        stage.open()

        story = stage.finished(handle)
        told = stage.diary.counts()[f"told {handle.id} no"]
        undoing = undone(stage, handle, "undoing")
        yield Killed(story, undoing, undone(stage, handle), told)


def test_each_compensation_with_a_checkpoint_has_run_once(killed: Killed) -> None:
    assert killed.undone == {4: 1, 3: 1, 2: 1, 1: 1, 0: 1}
    assert killed.undoing == {4: 1, 3: 1, 2: 2, 1: 1, 0: 1}


def test_no_step_runs_again_when_it_is_undone(killed: Killed) -> None:
    assert killed.story.begun == [1] * 5


def test_it_ends_as_it_was_to_end(killed: Killed) -> None:
    execution = killed.story.execution

    assert (execution.status, execution.compensated, execution.crashes) == ("failed", True, 1)
    assert execution.error is not None
    assert execution.error.message == "no"
    assert killed.told == 1
