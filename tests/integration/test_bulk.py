"""What is done to many executions at once."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, deliver, dispatcher
from worchflow_celery import Event, ExecutionStatus, Worchflow, signals
from worchflow_celery.errors import InvalidOption
from worchflow_celery.store import bulk

FAILED, QUEUED = ExecutionStatus.FAILED, ExecutionStatus.QUEUED


@pytest.fixture
def mended() -> threading.Event:
    return threading.Event()


@pytest.fixture(autouse=True)
def flows(worchflow: Worchflow, mended: threading.Event) -> None:
    @worchflow.flow("breaks", search=("customer",))
    def breaks(event: Event[Any]) -> str:
        if not mended.is_set():
            raise ConnectionError
        return "mended"

    @worchflow.flow("also-breaks")
    def also_breaks(event: Event[Any]) -> None:
        raise ValueError

    @worchflow.flow("works")
    def works(event: Event[Any]) -> None: ...


@pytest.fixture
def ids(worchflow: Worchflow, celery_app: Celery) -> dict[str, list[str]]:
    """Three failed executions of one flow, one of another, and one that has completed."""
    sent = {
        "breaks": [worchflow.send("breaks", {"customer": f"c{n % 2}"}).id for n in range(3)],
        "also-breaks": [worchflow.send("also-breaks").id],
        "works": [worchflow.send("works").id],
    }
    deliver(celery_app)
    return sent


def statuses(worchflow: Worchflow) -> dict[str, ExecutionStatus]:
    return {execution.id: execution.status for execution in worchflow.find()}


def test_retry_all_puts_all_back_in_line_that_it_finds_and_no_others(
    worchflow: Worchflow, celery_app: Celery, ids: dict[str, list[str]], mended: threading.Event
) -> None:
    mended.set()

    changed = worchflow.retry_all(flow="breaks")
    deliver(celery_app)

    assert changed == 3
    assert {worchflow.handle(id).result(1) for id in ids["breaks"]} == {"mended"}
    assert worchflow.get(ids["also-breaks"][0]).status == FAILED


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"flow": "breaks"}, 3),
        ({"flow": "works"}, 0),
        ({"status": "failed"}, 4),
        ({"status": ["failed", "cancelled"]}, 4),
        ({"status": "cancelled"}, 0),
        ({"search": {"customer": "c0"}}, 2),
        ({"after": datetime(2000, 1, 1, tzinfo=UTC)}, 4),
        ({"before": datetime(2000, 1, 1, tzinfo=UTC)}, 0),
        ({"flow": "breaks", "status": "failed", "search": {"customer": "c1"}}, 1),
    ],
)
def test_a_dry_run_tells_the_number_and_changes_nothing(
    worchflow: Worchflow, ids: dict[str, list[str]], filters: dict[str, Any], count: int
) -> None:
    before = statuses(worchflow)

    told = worchflow.retry_all(**filters, dry_run=True)
    after = statuses(worchflow)
    changed = worchflow.retry_all(**filters)

    assert told == changed == count
    assert after == before
    assert list(statuses(worchflow).values()).count(QUEUED) == count


def test_many_are_changed_in_batches(
    worchflow: Worchflow, celery_app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 3)
    for _ in range(8):
        worchflow.send("breaks")
    deliver(celery_app)

    changed = worchflow.retry_all(flow="breaks")

    assert changed == 8
    assert set(statuses(worchflow).values()) == {QUEUED}


def test_two_who_retry_all_at_once_retry_each_execution_once(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 5)
    for _ in range(40):
        worchflow.send("breaks")
    deliver(celery_app)
    changed: list[int] = []
    threads = [
        threading.Thread(target=lambda: changed.append(worchflow.retry_all(flow="breaks")))
        for _ in range(3)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(changed) == 40
    assert bench.collection("executions").distinct("epoch") == [2]


def test_each_retried_execution_is_told_of(worchflow: Worchflow, ids: dict[str, list[str]]) -> None:
    told: list[tuple[str, str]] = []

    def tell(execution_id: str, status: str, **_: Any) -> None:
        told.append((execution_id, status))

    signals.execution_updated.connect(tell, weak=False)
    worchflow.retry_all(flow="breaks")
    signals.execution_updated.disconnect(tell)

    assert sorted(told) == sorted((id, "queued") for id in ids["breaks"])


def test_what_was_retried_while_the_broker_was_away_is_published_by_the_dispatcher(
    bench: Bench,
    worchflow: Worchflow,
    celery_app: Celery,
    ids: dict[str, list[str]],
    mended: threading.Event,
) -> None:
    mended.set()
    worchflow.retry_all(flow="breaks")
    with bench.broker() as broker:
        broker.delete(bench.prefix, f"{bench.prefix}.worchflow")

    past = {"$set": {"due_at": datetime.now(UTC) - timedelta(seconds=1)}}
    bench.collection("executions").update_many({"status": "queued"}, past)
    dispatcher(worchflow).sweep()
    deliver(celery_app)

    assert {worchflow.handle(id).result(1) for id in ids["breaks"]} == {"mended"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "no filter"),
        ({"dry_run": True}, "no filter"),
        ({"status": "completed"}, "status is completed"),
        ({"status": ["failed", "queued"]}, "status is queued"),
        ({"status": "over"}, "status is 'over'"),
        ({"flow": {"$ne": 1}}, "flow is"),
        ({"flow": "breaks", "dry_run": "no"}, "dry_run is 'no'"),
        ({"after": datetime(2000, 1, 1)}, "after is"),
        ({"search": 5}, "search is 5"),
    ],
)
def test_filters_that_cannot_be_are_refused_and_change_nothing(
    worchflow: Worchflow, ids: dict[str, list[str]], given: dict[str, Any], words: str
) -> None:
    before = statuses(worchflow)

    with pytest.raises(InvalidOption, match=words):
        worchflow.retry_all(**given)

    assert statuses(worchflow) == before


# -- cancel_all --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"flow": "breaks"}, 3),
        ({"status": "queued"}, 5),
        ({"status": ["queued", "waiting"], "flow": "works"}, 1),
        ({"status": "retrying"}, 0),
        ({"search": {"customer": "c1"}}, 1),
    ],
)
def test_cancel_all_cancels_what_it_finds_and_tells_how_many_before(
    worchflow: Worchflow, filters: dict[str, Any], count: int
) -> None:
    for flow, data in [*[("breaks", {"customer": f"c{n % 2}"}) for n in range(3)], ("works", None)]:
        worchflow.send(flow, data)
    worchflow.send("also-breaks", delay=3600)

    told = worchflow.cancel_all(**filters, dry_run=True)
    before = statuses(worchflow)
    changed = worchflow.cancel_all(**filters)

    assert told == changed == count
    assert set(before.values()) == {QUEUED}
    assert list(statuses(worchflow).values()).count(ExecutionStatus.CANCELLED) == count
    assert worchflow.cancel_all(**filters) == 0


def test_cancel_all_cancels_paused_ones_and_leaves_what_has_ended(
    worchflow: Worchflow, ids: dict[str, list[str]]
) -> None:
    paused = worchflow.send("breaks")
    paused.pause()

    assert worchflow.cancel_all(flow="breaks") == 1

    assert (paused.status, paused.get().paused) == (ExecutionStatus.CANCELLED, False)
    assert {worchflow.get(id).status for id in ids["breaks"]} == {FAILED}


def test_many_are_cancelled_in_batches(
    worchflow: Worchflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 3)
    for _ in range(8):
        worchflow.send("breaks")

    assert worchflow.cancel_all(flow="breaks") == 8
    assert set(statuses(worchflow).values()) == {ExecutionStatus.CANCELLED}


@pytest.mark.parametrize(
    ("given", "words"),
    [({}, "no filter"), ({"status": "failed"}, "status is failed"), ({"dry_run": 1}, "no filter")],
)
def test_filters_of_cancel_all_that_cannot_be_are_refused(
    worchflow: Worchflow, given: dict[str, Any], words: str
) -> None:
    handle = worchflow.send("breaks")

    with pytest.raises(InvalidOption, match=words):
        worchflow.cancel_all(**given)

    assert handle.status == QUEUED
