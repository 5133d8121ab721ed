"""MongoDB does what it was asked to do, but its answer does not arrive: it is frozen meanwhile."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.stage import SetUp, Stage, Story, own_mongod
from tests.support import Worker, eventually
from worchflow_celery import ExecutionHandle
from worchflow_celery.servers import MongoServer


@dataclass(frozen=True)
class Played:
    #: The answer to its checkpoint was lost.
    recorded: Story
    #: The answer to its claim was lost.
    claimed: Story


@pytest.fixture(scope="module")
def played(set_up: SetUp, tmp_path_factory: pytest.TempPathFactory) -> Played:
    directory: Path = tmp_path_factory.mktemp("mongod")
    with (
        own_mongod(directory) as mongod,
        set_up(database_url=mongod.url, TEST_LEASE="6", TEST_STORE_TIMEOUT="0.5") as stage,
    ):
        worker = stage.worker("worker", "-P", "threads", "-c", "2").ready()
        recorded = stage.send("steps", {"count": 3, "hold": 1})
        stage.wait_for("begin", recorded.id, 1)

        claimed = freeze_before_the_claim(stage, worker, mongod)
        stage.open()
        stage.wait_for("end", recorded.id, 1)
        wait_until_the_claim_is_given_up(worker, claimed)
        mongod.resume()

        return Played(stage.finished(recorded), stage.finished(claimed))


def freeze_before_the_claim(
    stage: Stage, worker: Worker, mongod: MongoServer
) -> ExecutionHandle[int]:
    worker.pause()
    handle = stage.send("steps", {"count": 3})
    mongod.pause()
    worker.resume()
    return handle


def wait_until_the_claim_is_given_up(worker: Worker, handle: ExecutionHandle[int]) -> None:
    line = f"Execution {handle.id} waits for MongoDB"
    eventually(lambda: line in worker.text(), what=line)


@pytest.mark.parametrize("which", ["recorded", "claimed"])
def test_a_lost_answer_repeats_no_step(played: Played, which: str) -> None:
    story: Story = getattr(played, which)

    assert story.begun == [1, 1, 1]


@pytest.mark.parametrize("which", ["recorded", "claimed"])
def test_a_lost_answer_is_not_a_lost_worker(played: Played, which: str) -> None:
    story: Story = getattr(played, which)

    assert story.outcomes[-1] == "completed"
    assert (story.execution.attempt, story.execution.crashes) == (1, 0)
