"""Workers are killed, told to end, and executions paused, while steps run at once in them."""

import signal
from dataclasses import dataclass

import pytest

from tests.acceptance.stage import SetUp, Stage, Story
from tests.support import Worker, eventually
from worchflow_celery import Execution, ExecutionHandle

LEASE = 4.0
#: Pools, and the flow that each has.
PLACES = {
    "prefork": ("prefork", "mapped"),
    "threads": ("threads", "mapped"),
    "solo": ("solo", "mapped"),
    "asyncio": ("prefork", "async-mapped"),
}
COUNT, HELD = 6, 2


@dataclass(frozen=True)
class Played:
    #: By place; item 2 was held when its worker was killed.
    killed: dict[str, Story]
    #: The same, and its worker was told to end.
    left: dict[str, Story]
    exit_codes: dict[str, int]
    #: Its worker was told to end at once.
    cold: Story
    cold_exit: int
    #: It was paused while item 2 was held, and looked at when its worker had stopped.
    paused: Execution
    begun_when_paused: list[int]
    resumed: Story


@pytest.fixture(scope="module")
def played(set_up: SetUp) -> Played:
    with set_up(TEST_LEASE=str(LEASE)) as stage:
        victims = {name: start(stage, f"{name}-k", pool) for name, (pool, _) in PLACES.items()}
        leaving = {name: start(stage, f"{name}-l", pool) for name, (pool, _) in PLACES.items()}
        quitting = start(stage, "cold", "prefork")
        killed = {name: hold(stage, f"{name}-k", flow) for name, (_, flow) in PLACES.items()}
        left = {name: hold(stage, f"{name}-l", flow) for name, (_, flow) in PLACES.items()}
        cold = hold(stage, "cold", "mapped")

        for worker in victims.values():
            worker.kill()
        for worker in leaving.values():
            worker.signal(signal.SIGTERM)
            eventually(lambda worker=worker: "Warm shutdown" in worker.text())
        quitting.signal(signal.SIGQUIT)
        eventually(lambda: "Cold shutdown" in quitting.text())
        names = ["cold", *[f"{name}-{how}" for name in PLACES for how in "kl"]]
        queues = ",".join([*map(stage.queue, names), stage.queue("next")])
        stage.worker("next", "-c", "3", "-Q", queues).ready()
        stage.open()

        exit_codes = {name: worker.process.wait(30) for name, worker in leaving.items()}
        return Played(
            {name: stage.finished(handle) for name, handle in killed.items()},
            {name: stage.finished(handle) for name, handle in left.items()},
            exit_codes,
            stage.finished(cold),
            quitting.process.wait(30),
            *play_pause(stage),
        )


def start(stage: Stage, name: str, pool: str) -> Worker:
    return stage.worker(name, "-P", pool, "-c", "1", "-Q", stage.queue(name))


def hold(stage: Stage, name: str, flow: str, **data: object) -> ExecutionHandle[int]:
    """An execution whose other items have ended while one is held."""
    given = {"count": COUNT, "hold": HELD, **data}
    handle = stage.send(flow, given, queue=stage.queue(name))
    for number in range(COUNT - 1):
        stage.wait_for("begin" if number == HELD else "end", handle.id, number, within=30)
    return handle


def play_pause(stage: Stage) -> tuple[Execution, list[int], Story]:
    handle = hold(stage, "next", "mapped", gate="gate-of-the-paused", pace=0.5)
    handle.pause()
    # Whoever holds leases looks twice a second; the item goes on for as long, and so once more.
    stage.wait_for("begin", hold(stage, "next", "mapped", pace=0.5).id, COUNT - 1)
    stage.open("gate-of-the-paused")
    eventually(lambda: handle.get().worker and handle.status == "queued", within=20)
    paused = stage.story(handle)
    handle.resume()
    return paused.execution, paused.begun, stage.finished(handle)


each_place = pytest.mark.parametrize("name", PLACES)


@each_place
def test_after_a_kill_only_the_item_that_ran_runs_again(played: Played, name: str) -> None:
    story = played.killed[name]

    assert story.begun == [1, 1, 2, 1, 1, 1]
    assert (story.execution.status, story.execution.result) == ("completed", COUNT - 1)
    assert (story.execution.attempt, story.execution.crashes) == (1, 1)


@each_place
def test_a_hand_over_lets_the_item_that_runs_end_and_repeats_none(
    played: Played, name: str
) -> None:
    story = played.left[name]

    assert story.begun == [1] * COUNT
    assert story.outcomes == ["handed-over", "completed"]
    assert (story.execution.attempt, story.execution.crashes) == (1, 0)
    assert played.exit_codes[name] == 0


def test_a_cold_shutdown_does_not_wait_for_items_and_costs_no_attempt(played: Played) -> None:
    assert played.cold.execution.status == "completed"
    assert played.cold.execution.attempt == 1
    assert played.cold.begun == [1, 1, 2, 1, 1, 1]
    assert played.cold_exit == 0


def test_a_paused_map_lets_the_item_that_runs_end_and_begins_nothing(played: Played) -> None:
    assert (played.paused.status, played.paused.paused) == ("queued", True)
    assert [one.outcome for one in played.paused.attempts] == ["paused"]
    assert played.begun_when_paused == [1, 1, 1, 1, 1, 0]


def test_a_resumed_map_goes_on_and_repeats_nothing(played: Played) -> None:
    assert played.resumed.begun == [1] * COUNT
    assert (played.resumed.execution.status, played.resumed.execution.attempt) == ("completed", 1)
