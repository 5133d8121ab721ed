"""The primary of three MongoDB servers is killed while composed executions run and wait.

Until there is another one, signals and cancellations are sent, and children come to their end.
"""

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.acceptance.chronicle import Chronicle
from tests.acceptance.composing import FLOWS, begin, deliver, fails, finish, signals
from tests.acceptance.lives import entries
from tests.acceptance.meddling import Meddler
from tests.acceptance.replicas import Replicas, three_replicas
from tests.acceptance.stage import SetUp, Stage
from tests.support import eventually
from worchflow_celery.clock import elapsed
from worchflow_celery.errors import InvalidTransition

pytestmark = pytest.mark.slow

SEED = 17
EACH = 2
TRIPS = [f"trip-{number}" for number in range(EACH)]
GUARDIANS = [f"guardian-{number}" for number in range(EACH)]


@dataclass(frozen=True)
class FailOver:
    told: Chronicle
    sent: list[str]
    #: How many effects there were when the primary was killed.
    effects_before: int
    #: The ports of the primary that was killed, and of the one that followed it.
    killed: int
    next: int
    #: When each call was made that was to be made without a primary, and when there was one.
    called: list[float]
    elected: float
    #: The payloads of the signals that were accepted.
    accepted: list[str]


@pytest.fixture(scope="module")
def failover(set_up: SetUp, tmp_path_factory: pytest.TempPathFactory) -> FailOver:
    with ExitStack() as opened:
        replicas = opened.enter_context(three_replicas(tmp_path_factory.mktemp("replicas")))
        patient = {"TEST_COMPOSED": "yes", "TEST_STORE_TIMEOUT": "30"}
        place = set_up(database_url=replicas.url, **patient)
        return play(opened.enter_context(place), replicas)


def play(stage: Stage, replicas: Replicas) -> FailOver:
    for pool in ("prefork", "threads"):
        stage.worker(pool, "-P", pool, "-c", "4").ready()
    guardians = [str(stage.send("guardian", {}, id=one)) for one in GUARDIANS]
    for child in children_of(stage, guardians):
        stage.wait_for("begin", child, 0)
    sent = begin(stage, EACH) + guardians
    chance = random.Random(SEED)
    late = signals(chance, EACH)
    accepted = deliver(stage, late, len(late) // 2)
    wait_for_effects(stage, 20)

    killed = replicas.kill_primary()
    before = len(stage.diary.lines())
    calls = [partial(deliver, stage, [one], 1) for one in late]
    calls += [partial(cancel, stage, one) for one in TRIPS]
    calls.append(partial(stage.open, "held"))
    with ThreadPoolExecutor(len(calls)) as pool:
        made = [pool.submit(timed, call) for call in calls]
        successor, elected = replicas.primary(), elapsed()
    called = [one.result()[0] for one in made]
    accepted += [payload for one in made for payload in one.result()[1] or ()]
    finish(stage, Meddler(stage, chance, EACH, rounds=1))
    told = Chronicle.of(stage)
    return FailOver(told, sent, before, killed, successor, called, elected, accepted)


def children_of(stage: Stage, parents: list[str]) -> list[str]:
    def found() -> list[str]:
        of = {"parent.id": {"$in": parents}}
        children = [one["_id"] for one in stage.collection("executions").find(of)]
        return children if len(children) == 2 * len(parents) else []

    return eventually(found, what="the children that are held")


def wait_for_effects(stage: Stage, count: int) -> None:
    eventually(lambda: len(stage.diary.lines()) >= count, within=60, what=f"{count} effects")


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    return elapsed(), call()


def cancel(stage: Stage, execution_id: str) -> None:
    with suppress(InvalidTransition):
        stage.worchflow.cancel(execution_id)


def test_another_member_has_followed_in_the_middle_of_the_work(failover: FailOver) -> None:
    assert failover.next != failover.killed
    assert 20 <= failover.effects_before <= len(failover.told.effects) - 20


def test_there_was_no_primary_when_it_was_called(failover: FailOver) -> None:
    assert len(failover.called) >= 2 * EACH + len(TRIPS) + 1
    assert max(failover.called) < failover.elected


def test_every_execution_ends_as_its_data_says(failover: FailOver) -> None:
    ends = {one: failover.told.read[one].status.value for one in failover.sent}

    failing = [f"booking-{number}" for number in range(EACH) if fails(number)]
    expected = dict.fromkeys(failover.sent, "completed") | dict.fromkeys(failing, "failed")
    assert ends == expected | dict.fromkeys(TRIPS, "cancelled")


def test_a_signal_that_was_accepted_is_there_once(failover: FailOver) -> None:
    stored = Counter(one["data"].strip('"') for one in failover.told.signals)
    ours = {data: count for data, count in stored.items() if " of order-" in data}

    assert ours == dict.fromkeys(failover.accepted, 1)


def test_a_signal_is_taken_once(failover: FailOver) -> None:
    for number in range(EACH):
        waits = failover.told.checkpoints(f"order-{number}", "signal")
        taken = [one["ref"] for one in waits if "ref" in one]

        assert len(set(taken)) == len(taken) == 3


def test_a_signal_calls_its_execution_once(failover: FailOver) -> None:
    for number in range(EACH):
        order = f"order-{number}"
        came = [one for one in failover.accepted if one.endswith(f" of {order}")]

        # The last may have come just before the end, to which it is no call.
        calls = failover.told.executions[order]["calls"]
        assert len(came) - 1 <= calls <= len(came)


def test_what_was_cancelled_ends_once_and_is_undone_once(failover: FailOver) -> None:
    for trip in TRIPS:
        assert entries(failover.told.lives[trip], "cancelled") == 1
        assert failover.told.undone(trip) == failover.told.undoable(trip)[::-1]


def test_the_end_of_a_child_is_written_once_and_calls_its_parent_once(failover: FailOver) -> None:
    for guardian in GUARDIANS:
        document = failover.told.executions[guardian]
        children = [
            one["_id"]
            for one in failover.told.executions.values()
            if one.get("parent", {}).get("id") == guardian
        ]

        assert [entries(failover.told.lives[one], "completed") for one in children] == [1, 1]
        # The last of them calls; both do, when they end at once.
        assert 1 <= document["calls"] <= 2
        assert failover.told.read[guardian].result == {"held": [1, 1], "end": None}


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


def test_each_execution_exists_once(failover: FailOver) -> None:
    begun = Counter(one.flow for one in failover.told.read.values() if one.trigger.kind == "send")
    own = Counter(one.flow for one in failover.told.read.values() if one.trigger.kind == "retry")

    assert begun + own == {**dict.fromkeys(FLOWS, EACH), "guardian": EACH}
