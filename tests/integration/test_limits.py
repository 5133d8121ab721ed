"""Executions of a flow with limits: who runs, who waits, who is next."""

from typing import Any

from celery import Celery

from tests.integration.limited import Held
from tests.support import Bench, deliver, dispatcher
from worchflow_celery import Step, Worchflow, signals


def test_what_finds_no_slot_waits_and_runs_when_there_is_one(one_at_a_time: Held) -> None:
    one_at_a_time.inside["a"] = one_at_a_time.deliver_inside
    handles = one_at_a_time.send("a", "b", "c")

    deliver(one_at_a_time.app)

    assert one_at_a_time.most == 1
    assert one_at_a_time.begun == ["a", "b", "c"]
    assert [handle.status for handle in handles] == ["completed"] * 3


def test_waiting_for_a_slot_counts_nothing(one_at_a_time: Held) -> None:
    seen: list[Any] = []

    def look(step: Step) -> None:
        deliver(one_at_a_time.app)
        seen.append(one_at_a_time.worchflow.get("b"))

    one_at_a_time.inside["a"] = look
    one_at_a_time.send("a", "b")

    deliver(one_at_a_time.app)

    (waiting,) = seen
    assert waiting.status == "waiting"
    assert (waiting.attempt, waiting.crashes, waiting.attempts) == (0, 0, [])
    assert waiting.started_at is None
    done = one_at_a_time.worchflow.get("b")
    assert [(one.number, one.outcome) for one in done.attempts] == [(1, "completed")]
    assert done.attempt == 1


def test_a_start_is_told_once_and_not_while_it_waits(one_at_a_time: Held) -> None:
    told: list[tuple[str, str]] = []

    def started(execution_id: str, **_: Any) -> None:
        told.append((execution_id, "started"))

    def updated(execution_id: str, status: str, **_: Any) -> None:
        told.append((execution_id, status))

    signals.execution_started.connect(started)
    signals.execution_updated.connect(updated)
    one_at_a_time.inside["a"] = one_at_a_time.deliver_inside
    one_at_a_time.send("a", "b")

    deliver(one_at_a_time.app)

    of_b = [what for execution, what in told if execution == "b"]
    assert of_b == ["queued", "waiting", "started", "processing", "completed"]


def test_slots_are_one_per_key(one_per_customer: Held) -> None:
    seen: list[list[str]] = []

    def look(step: Step) -> None:
        deliver(one_per_customer.app)
        seen.append(list(one_per_customer.begun))

    one_per_customer.inside["ann 1"] = look
    one_per_customer.send("ann 1", "ann 2", "bob 1", "cid 1", "ann 3")

    deliver(one_per_customer.app)

    assert seen == [["ann 1", "bob 1", "cid 1"]]
    assert one_per_customer.begun[3:] == ["ann 2", "ann 3"]


def test_so_many_run_at_once_as_the_limit_says(worchflow: Worchflow, celery_app: Celery) -> None:
    held = Held(worchflow, celery_app, concurrency=3)
    held.inside = dict.fromkeys("abcdef", held.deliver_inside)
    held.send(*"abcdef")

    deliver(celery_app)

    assert held.most == 3
    assert sorted(held.begun) == list("abcdef")


def test_who_was_created_first_runs_first_and_nobody_passes(one_at_a_time: Held) -> None:
    def later(step: Step) -> None:
        one_at_a_time.deliver_inside(step)
        one_at_a_time.send("newcomer")

    one_at_a_time.inside["a"] = later
    one_at_a_time.send(*"abcd")

    # The newcomer's message comes before those of the called ones, once the slot is free.
    deliver(one_at_a_time.app, one_at_a_time.app.main, most=1)
    deliver(one_at_a_time.app, one_at_a_time.app.main)
    deliver(one_at_a_time.app)

    assert one_at_a_time.begun == ["a", "b", "c", "d", "newcomer"]


def test_a_free_slot_calls_one_of_many(bench: Bench, one_at_a_time: Held) -> None:
    def claims() -> int:
        return sum(one["epoch"] for one in bench.collection("executions").find())

    names = [f"n{number:03}" for number in range(60)]
    one_at_a_time.inside[names[0]] = one_at_a_time.deliver_inside
    one_at_a_time.send(*names)

    deliver(one_at_a_time.app, most=1000)

    assert one_at_a_time.begun == names
    assert claims() == 2 * 60 - 1


def test_who_is_called_is_found_by_an_index(bench: Bench, one_at_a_time: Held) -> None:
    one_at_a_time.send("a")
    query = {"awaits": {"$in": ["slot:a", "start:a"]}, "status": "waiting", "paused": {"$ne": True}}

    found = bench.collection("executions").find(query).sort("created_at", 1).limit(1)
    plan = str(found.explain()["queryPlanner"]["winningPlan"])

    assert "'awaited'" in plan
    assert "'stage': 'SORT'" not in plan


def test_waiting_executions_are_left_alone_while_their_slot_is_held(
    bench: Bench, one_at_a_time: Held
) -> None:
    published: list[int] = []

    def look(step: Step) -> None:
        deliver(one_at_a_time.app)
        sweeper = dispatcher(one_at_a_time.worchflow)
        for _ in range(20):
            sweeper.sweep()
        published.append(bench.messages())

    one_at_a_time.inside["a"] = look
    one_at_a_time.send(*"abcdefgh")

    deliver(one_at_a_time.app)

    assert published == [0]


def test_an_execution_that_waits_for_something_gives_its_slot_back_and_needs_one_again(
    one_at_a_time: Held,
) -> None:
    one_at_a_time.inside["a"] = lambda step: step.wait_for_signal("go")
    (handle,) = one_at_a_time.send("a")
    deliver(one_at_a_time.app)
    seen: list[str] = []

    def call(step: Step) -> None:
        handle.signal("go")
        deliver(one_at_a_time.app)
        seen.append(handle.status)

    one_at_a_time.inside["b"] = call
    one_at_a_time.send("b")
    deliver(one_at_a_time.app)

    assert seen == ["waiting"]
    assert one_at_a_time.begun == ["a", "b", "a"]
    assert handle.result(1) == "a"


def test_an_execution_that_waits_for_its_retry_has_no_slot(one_at_a_time: Held) -> None:
    def fail(step: Step) -> None:
        one_at_a_time.deliver_inside(step)
        raise ConnectionError

    one_at_a_time.inside["a"] = fail
    handle, _ = one_at_a_time.send("a", "b")

    deliver(one_at_a_time.app)

    assert one_at_a_time.begun == ["a", "b", "a"]
    assert [one.outcome for one in handle.get().attempts] == ["retrying", "completed"]
    assert [one.number for one in handle.get().attempts] == [1, 2]
