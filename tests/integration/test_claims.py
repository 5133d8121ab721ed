"""Who may work on an execution: one at a time, fenced by its epoch."""

import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, bring_forward, deliver
from worchflow_celery import Event, Worchflow
from worchflow_celery.attempt import attempt
from worchflow_celery.clock import utcnow
from worchflow_celery.runtime import host
from worchflow_celery.store import Store
from worchflow_celery.store.records import Claim, Owner
from worchflow_celery.store.settlements import Settlement

OWNER = Owner("w1@test", host(), 4_194_305, os.getppid())
COMPLETED = Settlement("completed", "completed", result='"done"')


@pytest.fixture
def store(worchflow: Worchflow) -> Store:
    return worchflow.runtime.store


@pytest.fixture(autouse=True)
def flow(worchflow: Worchflow) -> None:
    @worchflow.flow("flow")
    def flow(event: Event[Any]) -> str:
        return "done"


def claim(store: Store, execution_id: str, **given: Any) -> Claim | None:
    return store.attempts.claim(execution_id, "flow", secrets.token_hex(12), OWNER, **given)


def claimed(store: Store, execution_id: str) -> Claim:
    mine = claim(store, execution_id)
    assert mine is not None
    return mine


def release(store: Store, execution_id: str) -> None:
    """The pool process that had the execution has died."""
    assert store.sweep.release_orphan(execution_id, host(), os.getppid(), living=[])


def test_of_sixteen_claims_at_once_one_wins(worchflow: Worchflow, store: Store) -> None:
    id = worchflow.send("flow").id
    together = Barrier(16)

    def compete(_: int) -> Claim | None:
        together.wait()
        return claim(store, id)

    with ThreadPoolExecutor(16) as threads:
        won = [one for one in threads.map(compete, range(16)) if one is not None]

    assert [(one.epoch, one.attempt) for one in won] == [(1, 1)]


def test_of_sixteen_attempts_at_once_one_runs_the_handler(worchflow: Worchflow) -> None:
    together = Barrier(16)
    ran: list[str] = []

    @worchflow.flow("wait")
    def wait(event: Event[Any]) -> None:
        ran.append(event.id)

    id = wait.send().id

    def compete(_: int) -> object:
        together.wait()
        return attempt(worchflow.runtime, wait.definition, id)

    with ThreadPoolExecutor(16) as threads:
        ended = [one for one in threads.map(compete, range(16)) if one is not None]

    assert ran == [id]
    assert len(ended) == 1


def queued(worchflow: Worchflow) -> str:
    return worchflow.send("flow").id


def delayed(worchflow: Worchflow) -> str:
    return worchflow.send("flow", delay=60).id


def processing(worchflow: Worchflow) -> str:
    id = queued(worchflow)
    claimed(worchflow.runtime.store, id)
    return id


def settled(**settlement: Any) -> Callable[[Worchflow], str]:
    def settle(worchflow: Worchflow) -> str:
        id, store = queued(worchflow), worchflow.runtime.store
        assert store.attempts.settle(claimed(store, id), Settlement(outcome="", **settlement))
        return id

    return settle


@pytest.mark.parametrize(
    ("prepare", "claimable"),
    [
        (queued, True),
        (delayed, False),
        (processing, False),
        (settled(status="completed"), False),
        (settled(status="failed"), False),
        (settled(status="cancelled"), False),
        (settled(status="retrying", delay=60, held=True), False),
        (settled(status="waiting", delay=60, held=True), False),
        (settled(status="retrying", delay=0, held=True), True),
        (settled(status="queued", delay=60), True),
        (lambda _: "nobody", False),
    ],
)
def test_what_is_due_can_be_claimed_and_nothing_else(
    worchflow: Worchflow, store: Store, prepare: Callable[[Worchflow], str], claimable: bool
) -> None:
    id = prepare(worchflow)

    assert (claim(store, id) is not None) is claimable


@pytest.mark.parametrize("prepare", [delayed, settled(status="retrying", delay=60, held=True)])
def test_what_is_not_due_can_be_claimed_early_or_when_its_time_has_come(
    bench: Bench, worchflow: Worchflow, store: Store, prepare: Callable[[Worchflow], str]
) -> None:
    early, later = prepare(worchflow), prepare(worchflow)
    bring_forward(bench, later)

    assert claim(store, early, early=True) is not None
    assert claim(store, later) is not None


def test_a_message_for_another_flow_claims_nothing(worchflow: Worchflow, store: Store) -> None:
    id = worchflow.send("flow").id

    assert store.attempts.claim(id, "other", "token", OWNER) is None


def test_a_stray_message_takes_nothing_even_when_the_lease_is_over(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, store: Store
) -> None:
    id = worchflow.send("flow").id
    mine = claimed(store, id)
    bring_forward(bench, id)

    assert deliver(celery_app) == [id]
    assert store.attempts.holds(mine)


STALE: dict[str, Callable[[Store, Claim], object]] = {
    "settle": lambda store, old: store.attempts.settle(old, COMPLETED),
    "settle again": lambda store, old: store.attempts.settle(old, COMPLETED, again=True),
    "renew": lambda store, old: old.token not in store.attempts.renew([old]),
    "hold": lambda store, old: store.attempts.holds(old),
    "note a step": lambda store, old: store.attempts.note_step(old, "step"),
    "find its claim": lambda store, old: store.attempts.claimed(old.id, old.token),
}


@pytest.mark.parametrize("act", STALE.values(), ids=STALE)
@pytest.mark.parametrize("then", ["released", "claimed", "completed", "retried"])
def test_a_stale_claim_changes_nothing(
    bench: Bench, worchflow: Worchflow, store: Store, act: Callable[..., object], then: str
) -> None:
    id = worchflow.send("flow").id
    old = claimed(store, id)
    release(store, id)
    if then != "released":
        new = claimed(store, id)
        outcome = "failed" if then == "retried" else "completed"
        if then != "claimed":
            assert store.attempts.settle(new, Settlement(outcome, outcome))
        if then == "retried":
            store.executions.retry(id)
    before = bench.collection("executions").find_one({"_id": id})

    assert not act(store, old)
    assert bench.collection("executions").find_one({"_id": id}) == before


def test_each_claim_and_each_release_raises_the_epoch_by_one(
    worchflow: Worchflow, store: Store
) -> None:
    id = worchflow.send("flow").id
    epochs = []

    for _ in range(3):
        epochs.append(claimed(store, id).epoch)
        release(store, id)

    assert epochs == [1, 3, 5]


def test_a_claim_whose_answer_was_lost_is_found_by_its_token(
    worchflow: Worchflow, store: Store
) -> None:
    id = worchflow.send("flow").id
    mine = claimed(store, id)

    assert store.attempts.claimed(id, mine.token) == mine
    assert store.attempts.claimed(id, "another token") is None


def test_a_settlement_whose_answer_was_lost_is_recognised(
    worchflow: Worchflow, store: Store
) -> None:
    mine = claimed(store, worchflow.send("flow").id)
    assert store.attempts.settle(mine, COMPLETED)

    assert not store.attempts.settle(mine, COMPLETED)
    assert store.attempts.settle(mine, COMPLETED, again=True)
    assert len(worchflow.get(mine.id).attempts) == 1


def test_a_lease_that_ran_out_can_be_renewed_while_nobody_took_it(
    bench: Bench, worchflow: Worchflow, store: Store
) -> None:
    mine, other = (claimed(store, worchflow.send("flow").id) for _ in range(2))
    bring_forward(bench, mine.id)
    release(store, other.id)

    lost = store.attempts.renew([mine, other])

    due_at = worchflow.get(mine.id).due_at
    assert lost == {other.token}
    assert due_at is not None and due_at > utcnow() + timedelta(seconds=25)
