"""Messages come more than once: from a sender, from the broker, from an app without the library."""

from dataclasses import dataclass

import pytest
from celery import Celery

from tests.acceptance.stage import SetUp, Stage, Story
from tests.support import eventually
from worchflow_celery import ExecutionHandle
from worchflow_celery.errors import ExecutionNotFound
from worchflow_celery.publisher import HEADER

#: Seconds after which the broker delivers again what is not acknowledged.
VISIBILITY = 1


@dataclass(frozen=True)
class Played:
    #: Copies of its message came while it ran, and after its end.
    copied: Story
    #: Acknowledged late: the broker delivered its message again while its step ran.
    redelivered: Story
    #: Published five times by an app without the library, data and all.
    adopted: Story


@pytest.fixture(scope="module")
def played(set_up: SetUp) -> Played:
    with set_up(TEST_LEASE="30", TEST_VISIBILITY=str(VISIBILITY)) as stage:
        for worker in [stage.worker(name, "-P", "threads", "-c", "4") for name in ("one", "two")]:
            worker.ready()
        copied, late = hold(stage, "steps", "copied"), hold(stage, "late-steps", "late")

        publish(stage.app, stage, copied.id, headers={HEADER: 1})
        wait_for_deliveries(stage, copied.id, 1 + 5)
        stage.open("copied")
        stage.finished(copied)
        publish(stage.app, stage, copied.id, headers={HEADER: 1})
        wait_for_deliveries(stage, copied.id, 1 + 5 + 5)
        with Celery("outsider", broker=stage.bench.redis_url, set_as_current=False) as outsider:
            publish(outsider, stage, "adopted", args=[{"count": 3}])
        wait_for_deliveries(stage, "adopted", 5)
        wait_for_deliveries(stage, late.id, 2)
        stage.open("late")

        redelivered = stage.finished(late)
        adopted = stage.finished(eventually(lambda: known(stage, "adopted")))
        dropped = 5 + 5 + 4 + 1
        eventually(lambda: stage.log().count("] ignored") >= dropped, what="copies are dropped")
        return Played(stage.story(copied), redelivered, adopted)


def hold(stage: Stage, flow: str, gate: str) -> ExecutionHandle[int]:
    handle = stage.send(flow, {"count": 3, "hold": 1, "gate": gate})
    stage.wait_for("begin", handle.id, 1)
    return handle


def publish(app: Celery, stage: Stage, execution_id: str, **message: object) -> None:
    for _ in range(5):
        app.send_task("steps", task_id=execution_id, queue=stage.bench.prefix, **message)


def wait_for_deliveries(stage: Stage, execution_id: str, times: int) -> None:
    line = f"[{execution_id}] received"
    eventually(lambda: stage.log().count(line) >= times, what=f"{times} times {line!r}")


def known(stage: Stage, execution_id: str) -> ExecutionHandle[int] | None:
    try:
        return stage.worchflow.handle(execution_id)
    except ExecutionNotFound:
        return None


each_repeated = pytest.mark.parametrize("which", ["copied", "redelivered", "adopted"])


@each_repeated
def test_an_execution_runs_once_however_often_its_message_comes(played: Played, which: str) -> None:
    story: Story = getattr(played, which)

    assert story.execution.result == 3
    assert story.begun == [1, 1, 1]


@each_repeated
def test_a_repeated_message_starts_no_attempt(played: Played, which: str) -> None:
    story: Story = getattr(played, which)

    assert story.outcomes == ["completed"]
    assert (story.execution.attempt, story.execution.crashes) == (1, 0)
