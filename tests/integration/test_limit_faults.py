"""Slots outlive crashes, pauses, lost messages, new code and bad keys."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from celery import Celery

from tests.integration.limited import Held
from tests.support import Bench, deliver, die, dispatcher, eventually, revive, take
from worchflow_celery import Event, Step, Worchflow
from worchflow_celery.allowance import Limit
from worchflow_celery.clock import EPOCH, utcnow
from worchflow_celery.errors import ExecutionFailed


def test_the_slot_of_a_crashed_execution_is_its_own_when_it_goes_on(one_at_a_time: Held) -> None:
    def crash(step: Step) -> None:
        one_at_a_time.deliver_inside(step)
        die()

    one_at_a_time.inside["a"] = crash
    one_at_a_time.send("a", "b")
    deliver(one_at_a_time.app)
    revive(one_at_a_time.worchflow, "a")

    deliver(one_at_a_time.app)

    assert one_at_a_time.begun == ["a", "a", "b"]


def test_a_crashed_execution_keeps_its_slot_while_it_is_on_its_way_back(
    bench: Bench, one_at_a_time: Held
) -> None:
    def crash(step: Step) -> None:
        deliver(one_at_a_time.app)
        die()

    one_at_a_time.inside["a"] = crash
    one_at_a_time.send("a", "b")
    deliver(one_at_a_time.app)
    revive(one_at_a_time.worchflow, "a")
    bench.collection("slots").update_one({}, {"$set": {"look_at": EPOCH}})

    dispatcher(one_at_a_time.worchflow).sweep()
    deliver(one_at_a_time.app)

    assert one_at_a_time.begun == ["a", "a", "b"]


def die_after_settling(bench: Bench, held: Held, *others: str) -> None:
    """Leave it as a worker does that is killed between the end of ``a`` and its giving back."""

    def crash(step: Step) -> None:
        deliver(held.app)
        die()

    held.inside["a"] = crash
    held.send("a", *others)
    deliver(held.app, most=1)
    settled = {"$set": {"status": "completed"}, "$unset": {"due_at": ""}}
    bench.collection("executions").update_one({"_id": "a"}, settled)


def test_a_slot_that_a_crash_left_behind_is_found_by_who_needs_it(
    bench: Bench, one_at_a_time: Held
) -> None:
    die_after_settling(bench, one_at_a_time)

    one_at_a_time.send("b")
    deliver(one_at_a_time.app)

    assert one_at_a_time.begun == ["a", "b"]


def test_a_slot_that_a_crash_left_behind_is_found_by_a_dispatcher_within_a_lease(
    bench: Bench, one_at_a_time: Held
) -> None:
    die_after_settling(bench, one_at_a_time, "b")
    slots = bench.collection("slots")
    (slot,) = slots.find()
    lease = one_at_a_time.worchflow.settings.lease_ttl

    slots.update_one({"_id": slot["_id"]}, {"$set": {"look_at": EPOCH}})
    dispatcher(one_at_a_time.worchflow).sweep()
    deliver(one_at_a_time.app)

    assert slot["look_at"] - utcnow() <= timedelta(seconds=lease)
    assert one_at_a_time.begun == ["a", "b"]


def test_a_slot_is_kept_a_minute_for_one_that_was_called_and_does_not_come(
    bench: Bench, one_at_a_time: Held
) -> None:
    one_at_a_time.inside["a"] = one_at_a_time.deliver_inside
    one_at_a_time.send("a", "b", "c")
    deliver(one_at_a_time.app, most=1)
    lost = take(one_at_a_time.app)  # the message of b, which was called
    assert lost is not None
    slots = bench.collection("slots")
    (kept,) = slots.find()

    slots.update_one({}, {"$set": {"holders.0.until": EPOCH, "look_at": EPOCH}})
    dispatcher(one_at_a_time.worchflow).sweep()
    deliver(one_at_a_time.app)

    assert [one["execution"] for one in kept["holders"]] == ["b"]
    assert kept["holders"][0]["until"] - utcnow() <= timedelta(minutes=1)
    assert one_at_a_time.begun == ["a", "c"]


def test_a_paused_execution_keeps_nobody_from_the_slot(one_at_a_time: Held) -> None:
    worchflow = one_at_a_time.worchflow

    def pause(step: Step) -> None:
        deliver(one_at_a_time.app)
        worchflow.pause("b")

    one_at_a_time.inside["a"] = pause
    one_at_a_time.send("a", "b", "c")

    deliver(one_at_a_time.app)
    without_it = list(one_at_a_time.begun)
    worchflow.resume("b")
    deliver(one_at_a_time.app)

    assert without_it == ["a", "c"]
    assert one_at_a_time.begun == ["a", "c", "b"]


def test_an_execution_that_is_paused_while_it_runs_gives_its_slot_back(
    one_at_a_time: Held,
) -> None:
    worchflow = one_at_a_time.worchflow

    def pause(step: Step) -> None:
        deliver(one_at_a_time.app)
        worchflow.pause("a")
        eventually(lambda: step.run("Look", int))

    one_at_a_time.inside["a"] = pause
    one_at_a_time.send("a", "b")
    deliver(one_at_a_time.app)
    without_it = list(one_at_a_time.begun)
    worchflow.resume("a")
    deliver(one_at_a_time.app)

    assert without_it == ["a", "b"]
    assert one_at_a_time.begun == ["a", "b", "a"]


def test_a_late_claim_that_was_taken_over_gets_no_slot(bench: Bench, one_at_a_time: Held) -> None:
    slots = one_at_a_time.worchflow.runtime.store.slots
    limit = Limit("held", "held", None, 1)

    later = slots.take(limit, "a", 3, start=False)
    earlier = slots.take(limit, "a", 2, start=False)
    slots.give_back(limit, "a", 2)

    assert (later.granted, earlier.granted) == (True, False)
    (slot,) = bench.collection("slots").find()
    assert slot["holders"] == [{"execution": "a", "epoch": 3}]


def test_a_document_of_slots_that_holds_nothing_is_removed(
    bench: Bench, one_at_a_time: Held
) -> None:
    one_at_a_time.send("a")
    deliver(one_at_a_time.app)
    slots = bench.collection("slots")
    (slot,) = slots.find()

    slots.update_one({}, {"$set": {"expires_at": EPOCH}})
    dispatcher(one_at_a_time.worchflow).sweep()

    assert slot["holders"] == slot["lines"] == []
    assert slots.count_documents({}) == 0


def test_more_slots_in_new_code_are_filled_from_the_line(bench: Bench, one_at_a_time: Held) -> None:
    def deploy(step: Step) -> None:
        deliver(one_at_a_time.app)
        definition = one_at_a_time.flow.definition
        definition.options = replace(definition.options, concurrency=3)
        one_at_a_time.send("e")
        deliver(one_at_a_time.app)

    one_at_a_time.inside["a"] = deploy
    one_at_a_time.inside |= dict.fromkeys("bcd", one_at_a_time.deliver_inside)
    one_at_a_time.send(*"abcd")

    deliver(one_at_a_time.app)

    assert one_at_a_time.most == 3
    assert one_at_a_time.begun == list("abcde")


def test_an_eager_execution_waits_for_no_slot(bench: Bench) -> None:
    worchflow = bench.bind(bench.celery(task_always_eager=True))
    held = Held(worchflow, worchflow.app, concurrency=1, throttle=(1, 3600))
    held.inside["a"] = lambda step: held.send("b", "c") and None

    held.send("a")

    assert held.begun == ["a", "b", "c"]
    worchflow.close()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (lambda data: data["customer"], "concurrency_key raised TypeError"),
        (lambda data: 7, "concurrency_key returned 7: it must return a string"),
        (lambda data: None, "concurrency_key returned None: it must return a string"),
    ],
)
def test_a_key_that_cannot_be_ends_the_execution_without_a_retry(
    worchflow: Worchflow, celery_app: Celery, key: Any, said: str
) -> None:
    held = Held(worchflow, celery_app, concurrency=1, concurrency_key=key)
    (handle,) = held.send("a")

    deliver(celery_app)

    assert held.begun == []
    with pytest.raises(ExecutionFailed, match=f"InvalidOption: flow 'held': {said}"):
        handle.result(1)
    assert [one.outcome for one in handle.get().attempts] == ["failed"]


def test_the_key_is_made_of_the_data_as_the_handler_gets_it(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    @worchflow.flow("dated", concurrency=1, concurrency_key=lambda day: day.isoformat())
    def dated(event: Event[date]) -> int:
        return event.data.year

    handle = dated.send(date(2026, 1, 2))
    deliver(celery_app)

    assert handle.result(1) == 2026
    assert [slot["key"] for slot in bench.collection("slots").find()] == ["2026-01-02"]


def test_what_is_to_expire_does_so_in_line(one_at_a_time: Held) -> None:
    def look(step: Step) -> None:
        one_at_a_time.flow.apply_async(("b",), task_id="b", expires=1)
        deliver(one_at_a_time.app)
        sweeper = dispatcher(one_at_a_time.worchflow)

        def cancelled() -> bool:
            sweeper.sweep()
            deliver(one_at_a_time.app)
            return one_at_a_time.worchflow.get("b").status == "cancelled"

        eventually(cancelled)

    one_at_a_time.inside["a"] = look
    one_at_a_time.send("a")

    deliver(one_at_a_time.app)

    assert one_at_a_time.begun == ["a"]


@pytest.mark.parametrize("document", [{"holders": "x"}, {"holders": [{"a": 1}]}, {"starts": 1}])
def test_a_document_of_slots_that_is_none_of_ours_is_named(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, document: dict[str, Any]
) -> None:
    held = Held(worchflow, celery_app, concurrency=1, throttle=(1, 1))
    bench.collection("slots").insert_one({"_id": "held", **document})
    (handle,) = held.send("a")

    deliver(celery_app)

    with pytest.raises(ExecutionFailed, match=r"CorruptDocument.*'held'.*remove"):
        handle.result(1)
