"""Apps and versions of an app, side by side on the same servers."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.acceptance.stage import SetUp, Stage, Story
from tests.support import Worker, eventually
from worchflow_celery import ExecutionHandle

LEASE = "1"
ID = "order-1"


@dataclass(frozen=True)
class Apps:
    #: Their executions of one id, each of whose workers was killed.
    ours: Story
    theirs: Story
    #: Ours, when it was left, and when the other app had recovered its own.
    left: list[dict[str, Any]]
    untouched: list[dict[str, Any]]


@pytest.fixture(scope="module")
def apps(set_up: SetUp) -> Apps:
    with set_up(TEST_LEASE=LEASE) as our_stage, set_up(TEST_LEASE=LEASE) as their_stage:
        our_worker, their_worker = start(our_stage, "our-1"), start(their_stage, "their-1")
        ours, theirs = hold(our_stage, count=3), hold(their_stage, count=5)
        start(their_stage, "their-2").ready()

        our_worker.kill()
        their_worker.kill()
        left = our_stage.documents(ours)
        for stage in (our_stage, their_stage):
            stage.open()
        recovered = their_stage.finished(theirs)
        untouched = our_stage.documents(ours)
        start(our_stage, "our-2")

        return Apps(our_stage.finished(ours), recovered, left, untouched)


def start(stage: Stage, name: str) -> Worker:
    return stage.worker(name, "-P", "threads", "-c", "2")


def hold(stage: Stage, *, count: int) -> ExecutionHandle[int]:
    handle = stage.send("steps", {"count": count, "hold": 1}, id=ID)
    stage.wait_for("begin", ID, 1)
    return handle


def test_apps_of_different_prefixes_have_different_executions_of_one_id(apps: Apps) -> None:
    assert (apps.ours.execution.result, apps.theirs.execution.result) == (3, 5)


def test_an_app_takes_over_nothing_from_another_prefix(apps: Apps) -> None:
    assert apps.untouched == apps.left
    assert apps.ours.places == ["our-1", "our-2"]
    assert apps.theirs.places == ["their-1", "their-2"]


@dataclass(frozen=True)
class Deployment:
    #: When a worker that does not know the flow had its message.
    before: Story
    after: Story


@pytest.fixture(scope="module")
def deployment(set_up: SetUp) -> Deployment:
    """A flow is sent while all workers are of a version without it."""
    with set_up() as stage:
        old = stage.worker("old", "-P", "solo", TEST_VERSION="old").ready()
        handle = stage.send("quick", "data")
        eventually(lambda: "'quick' is not known here" in old.text(), what="it meets the flow")
        known_to_none = stage.story(handle)

        stage.worker("new", "-P", "solo").ready()
        old.stop()

        return Deployment(known_to_none, stage.finished(handle))


def test_a_flow_that_a_worker_does_not_know_stays_queued(deployment: Deployment) -> None:
    assert deployment.before.execution.status == "queued"
    assert deployment.before.outcomes == []


def test_a_flow_that_a_worker_does_not_know_runs_on_one_that_does(deployment: Deployment) -> None:
    assert deployment.after.execution.result == "data"
    assert deployment.after.places == ["new"]
    assert deployment.after.execution.attempt == 1
