"""The primary of three MongoDB servers is killed while composed executions run and wait."""

import random
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.acceptance.chronicle import Chronicle
from tests.acceptance.composing import FLOWS, begin, deliver, fails, finish, signals
from tests.acceptance.replicas import Replicas, three_replicas
from tests.acceptance.stage import SetUp, Stage
from tests.support import eventually

pytestmark = pytest.mark.slow

SEED = 17
EACH = 2


@dataclass(frozen=True)
class FailOver:
    told: Chronicle
    sent: list[str]
    #: How many effects there were when the primary was killed.
    effects_before: int
    #: The ports of the primary that was killed, and of the one that followed it.
    killed: int
    next: int


@pytest.fixture(scope="module")
def failover(set_up: SetUp, tmp_path_factory: pytest.TempPathFactory) -> FailOver:
    with ExitStack() as opened:
        replicas = opened.enter_context(three_replicas(tmp_path_factory.mktemp("replicas")))
        place = set_up(TEST_COMPOSED="yes", database_url=replicas.url)
        return play(opened.enter_context(place), replicas)


def play(stage: Stage, replicas: Replicas) -> FailOver:
    for pool in ("prefork", "threads"):
        stage.worker(pool, "-P", pool, "-c", "2").ready()
    sent = begin(stage, EACH)
    late = signals(random.Random(SEED), EACH)
    deliver(stage, late, len(late) // 2)
    wait_for_effects(stage, 20)
    killed = replicas.kill_primary()
    before = len(stage.diary.lines())
    successor = replicas.primary()
    deliver(stage, late, len(late))
    finish(stage)
    return FailOver(Chronicle.of(stage), sent, before, killed, successor)


def wait_for_effects(stage: Stage, count: int) -> None:
    eventually(lambda: len(stage.diary.lines()) >= count, within=60, what=f"{count} effects")


def test_another_member_has_followed_in_the_middle_of_the_work(failover: FailOver) -> None:
    assert failover.next != failover.killed
    assert 20 <= failover.effects_before <= len(failover.told.effects) - 20


def test_every_execution_ends_as_its_data_says(failover: FailOver) -> None:
    ends = {one: failover.told.read[one].status.value for one in failover.sent}

    failing = [f"booking-{number}" for number in range(EACH) if fails(number)]
    assert ends == dict.fromkeys(failover.sent, "completed") | dict.fromkeys(failing, "failed")


def test_each_run_of_a_step_has_one_checkpoint_that_is_never_written_again(
    failover: FailOver,
) -> None:
    assert set(failover.told.identities.values()) == {1}
    assert failover.told.rewritten == 0


def test_every_step_that_had_an_effect_has_its_checkpoint(failover: FailOver) -> None:
    assert set(failover.told.runs) <= set(failover.told.identities)


def test_no_step_runs_again_for_it(failover: FailOver) -> None:
    assert set(failover.told.runs.values()) == {1}


def test_no_execution_is_taken_from_its_living_worker(failover: FailOver) -> None:
    crashes = {one.id: one.crashes for one in failover.told.read.values() if one.crashes}

    assert crashes == {}


def test_each_child_exists_once(failover: FailOver) -> None:
    flows = Counter(one.flow for one in failover.told.read.values())

    assert flows == {**dict.fromkeys(FLOWS, EACH), "child": 6 * EACH}
