"""A silent owner's execution is taken over: not before its lease is over and it was observed."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest

from tests.support import Bench
from worchflow_celery import Worchflow
from worchflow_celery.clock import utcnow
from worchflow_celery.store.records import Owner


class Silence:
    """An execution whose owner has been silent, as a dispatcher sees it; the lease is 30 s."""

    def __init__(self, bench: Bench, worchflow: Worchflow) -> None:
        self.executions = bench.collection("executions")
        self.store = worchflow.runtime.store
        self.id = worchflow.send("flow").id
        claim = self.store.attempts.claim(self.id, "flow", "token", Owner("w1@test", "h", 1, 1))
        assert claim is not None
        self.claim = claim

    def set(self, *, lease_over: float, suspected_for: float | None, beat: int = 0) -> None:
        now = utcnow()
        change: dict[str, Any] = {"due_at": now - timedelta(seconds=lease_over)}
        if suspected_for is not None:
            change["suspect"] = {"beat": beat, "at": now - timedelta(seconds=suspected_for)}
        self.executions.update_one({"_id": self.id}, {"$set": change})

    def suspect(self) -> dict[str, Any] | None:
        found = self.executions.find_one({"_id": self.id})
        return found.get("suspect") if found else None


@pytest.fixture
def silence(bench: Bench, worchflow: Worchflow) -> Silence:
    return Silence(bench, worchflow)


@pytest.mark.parametrize(
    ("lease_over", "suspected_for", "beat", "taken"),
    [
        (1, 13, 0, True),
        (3600, 13, 0, True),
        (1, 11, 0, False),  # observed for less than ttl / 4 + 5 s
        (-5, 13, 0, False),  # the lease is not over
        (1, 13, 7, False),  # renewed since
        (3600, None, 0, False),  # seen by nobody
    ],
)
def test_a_take_over_needs_a_lease_that_is_over_and_an_observed_silence(
    silence: Silence, lease_over: float, suspected_for: float | None, beat: int, taken: bool
) -> None:
    silence.set(lease_over=lease_over, suspected_for=suspected_for, beat=beat)

    due = silence.store.sweep.take_back(silence.id)

    assert (due is not None) is taken
    assert silence.store.attempts.holds(silence.claim) is not taken


@pytest.mark.parametrize(
    ("lease_left", "suspected"), [(29, False), (18, False), (14, True), (-100, True)]
)
def test_a_lease_is_suspected_when_half_of_it_is_gone(
    silence: Silence, lease_left: float, suspected: bool
) -> None:
    silence.set(lease_over=-lease_left, suspected_for=None)

    silence.store.sweep.suspect([silence.id])

    assert (silence.suspect() is not None) is suspected


def test_a_second_look_does_not_make_the_suspicion_younger(silence: Silence) -> None:
    silence.set(lease_over=1, suspected_for=5)
    before = silence.suspect()

    silence.store.sweep.suspect([silence.id])

    assert silence.suspect() == before


def test_a_renewal_voids_a_suspicion_that_was_ripe(silence: Silence) -> None:
    silence.set(lease_over=1, suspected_for=60)

    silence.store.attempts.renew([silence.claim])
    silence.set(lease_over=1, suspected_for=None)

    assert silence.store.sweep.take_back(silence.id) is None


def test_of_eight_dispatchers_one_takes_an_execution_back(silence: Silence) -> None:
    silence.set(lease_over=1, suspected_for=60)
    together = Barrier(8)

    def take_back(_: int) -> object:
        together.wait()
        return silence.store.sweep.take_back(silence.id)

    with ThreadPoolExecutor(8) as threads:
        taken = [one for one in threads.map(take_back, range(8)) if one is not None]

    assert len(taken) == 1
