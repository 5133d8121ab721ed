"""Workers are told to end in the middle of a flow, and hand it over at the next step boundary."""

import signal
from dataclasses import dataclass

import pytest

from tests.acceptance.stage import SetUp, Stage, Story
from tests.support import Worker, eventually
from worchflow_celery import ExecutionHandle
from worchflow_celery.clock import utcnow

#: So long that nothing here goes on because a lease has run out.
LEASE = 120.0
#: Each worker: its pool, and the flow that it is in.
LEAVING = {
    "prefork": ("prefork", "steps"),
    "threads": ("threads", "steps"),
    "solo": ("solo", "steps"),
    "asyncio": ("threads", "async-steps"),
}


@dataclass(frozen=True)
class Played:
    #: Each was in its second step of four when its worker was told to end.
    stories: dict[str, Story]
    #: Seconds from the end of that step to the start of the next attempt.
    seconds: dict[str, float]
    exit_codes: dict[str, int]
    #: Received by a worker that had no process free for it.
    prefetched: Story
    #: Its worker was told to end at once, by SIGQUIT.
    cold: Story


@pytest.fixture(scope="module")
def played(set_up: SetUp) -> Played:
    with set_up(TEST_LEASE=str(LEASE)) as stage:
        leaving = {name: start(stage, name, pool) for name, (pool, _) in LEAVING.items()}
        quitting = start(stage, "cold", "prefork")
        held = {name: hold(stage, name, flow) for name, (_, flow) in LEAVING.items()}
        cold = hold(stage, "cold", "steps")
        prefetched = prefetch(stage, "prefork")
        queues = ",".join(map(stage.queue, [*leaving, "cold"]))
        stage.worker("next", "-P", "threads", "-c", "6", "-Q", queues).ready()

        for name, worker in leaving.items():
            worker.signal(signal.SIGTERM)
            wait_for_log(worker, "Warm shutdown", name)
        quitting.signal(signal.SIGQUIT)
        wait_for_log(quitting, "Cold shutdown", "cold")
        opened_at = utcnow()
        stage.open()

        stories = {name: stage.finished(handle) for name, handle in held.items()}
        return Played(
            stories,
            {
                name: (story.execution.attempts[-1].started_at - opened_at).total_seconds()
                for name, story in stories.items()
            },
            {name: worker.process.wait(20) for name, worker in leaving.items()},
            stage.finished(prefetched),
            stage.finished(cold),
        )


def start(stage: Stage, name: str, pool: str) -> Worker:
    return stage.worker(name, "-P", pool, "-c", "1", "-Q", stage.queue(name))


def hold(stage: Stage, name: str, flow: str) -> ExecutionHandle[int]:
    handle = stage.send(flow, {"count": 4, "hold": 1}, queue=stage.queue(name))
    stage.wait_for("begin", handle.id, 1)
    return handle


def prefetch(stage: Stage, name: str) -> ExecutionHandle[int]:
    handle = stage.send("steps", {"count": 1}, queue=stage.queue(name))
    eventually(lambda: f"{handle.id}] received" in stage.log(), what="the message is received")
    return handle


def wait_for_log(worker: Worker, text: str, name: str) -> None:
    eventually(lambda: text in worker.text(), what=f"{text!r} in the log of {name}")


each_leaving = pytest.mark.parametrize("name", LEAVING)


@each_leaving
def test_a_flow_is_handed_over_at_its_next_step_boundary(played: Played, name: str) -> None:
    story = played.stories[name]

    assert story.outcomes == ["handed-over", "completed"]
    assert story.places == [name, "next"]


@each_leaving
def test_a_hand_over_repeats_no_step(played: Played, name: str) -> None:
    assert played.stories[name].begun == [1, 1, 1, 1]


@each_leaving
def test_a_hand_over_is_neither_an_attempt_nor_a_crash(played: Played, name: str) -> None:
    execution = played.stories[name].execution

    assert (execution.attempt, execution.crashes) == (1, 0)


@each_leaving
def test_what_was_handed_over_goes_on_at_once(played: Played, name: str) -> None:
    assert played.seconds[name] < 5


@each_leaving
def test_a_worker_with_a_long_flow_ends_cleanly(played: Played, name: str) -> None:
    assert played.exit_codes[name] == 0


def test_what_a_leaving_worker_had_received_but_not_begun_runs_elsewhere(played: Played) -> None:
    assert played.prefetched.places == ["next"]
    assert played.prefetched.execution.attempt == 1


def test_a_cold_shutdown_costs_no_attempt(played: Played) -> None:
    assert played.cold.execution.attempt == 1
    assert played.cold.execution.status == "completed"
    assert played.cold.places == ["cold", "next"]
