"""Pool processes that live for one task, in an app that was connected before they were forked."""

from dataclasses import dataclass

import pytest

from tests.acceptance.stage import SetUp, Story
from tests.support import eventually

COUNT = 6


@dataclass(frozen=True)
class Played:
    #: Sent from here; each sends a child from inside a step.
    parents: list[Story]
    #: Sent from inside those steps, and from inside an ordinary task.
    children: list[Story]
    log: str


@pytest.fixture(scope="module")
def played(set_up: SetUp) -> Played:
    with set_up(TEST_LEASE="60", TEST_TOUCH="yes") as stage:
        stage.worker("worker", "-P", "prefork", "-c", "2", "--max-tasks-per-child=1").ready()
        parents = [stage.send("parent", f"of-flow-{number}") for number in range(COUNT)]
        for number in range(COUNT):
            stage.app.send_task("send-quick", args=[f"of-task-{number}"])

        ids = [f"of-{kind}-{number}" for kind in ("flow", "task") for number in range(COUNT)]
        for child in ids:
            stage.wait_for("quick", child, within=60)
        ended = [stage.finished(handle) for handle in parents]
        children = [stage.finished(stage.worchflow.handle(child)) for child in ids]
        eventually(lambda: stage.log().count("succeeded") >= 4 * COUNT, what="all tasks end")
        return Played(ended, children, stage.log())


def test_a_flow_sent_from_inside_a_step_runs(played: Played) -> None:
    assert [parent.execution.result for parent in played.parents] == [
        f"of-flow-{number}" for number in range(COUNT)
    ]
    assert {child.execution.status for child in played.children[:COUNT]} == {"completed"}


def test_a_flow_sent_from_inside_a_task_runs(played: Played) -> None:
    assert {child.execution.status for child in played.children[COUNT:]} == {"completed"}


def test_a_pool_process_that_ends_after_its_task_is_no_crash(played: Played) -> None:
    stories = played.parents + played.children

    assert {tuple(story.outcomes) for story in stories} == {("completed",)}
    assert {story.execution.crashes for story in stories} == {0}


def test_no_connection_crosses_the_fork(played: Played) -> None:
    assert "opened before fork" not in played.log
    assert "Traceback" not in played.log
