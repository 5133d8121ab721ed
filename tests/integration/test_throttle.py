"""Executions of a throttled flow start no faster than it says, on MongoDB's clock."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import ROOT, Bench, deliver, dispatcher, eventually
from worchflow_celery import Event, Step, Worchflow
from worchflow_celery.allowance import Holder, Limit, Slot, free_slots, free_starts
from worchflow_celery.store.taking import entered

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW = timedelta(seconds=10)


def run_all(worchflow: Worchflow, count: int, within: float = 20.0) -> list[datetime]:
    """Deliver and sweep until so many executions have completed; when each started."""
    sweeper = dispatcher(worchflow)

    def done() -> bool:
        deliver(worchflow.app)
        sweeper.sweep()
        return len(worchflow.find(status="completed")) == count

    eventually(done, within=within)
    started = [one.started_at for one in worchflow.find()]
    return sorted(moment for moment in started if moment is not None)


def most_in_a_window(starts: list[datetime], seconds: float) -> int:
    window = timedelta(seconds=seconds)
    return max(sum(first <= one < first + window for one in starts) for first in starts)


def define(worchflow: Worchflow, **limits: Any) -> Any:
    @worchflow.flow("throttled", retries=1, retry_delay=0, **limits)
    def throttled(event: Event[str], step: Step) -> int:
        if event.data.startswith("fails") and event.attempt == 1:
            raise ConnectionError
        if event.data.startswith("waits"):
            step.wait_for_signal("go")
        return event.attempt

    return throttled


def test_no_window_has_more_starts_than_allowed_and_none_is_wasted(worchflow: Worchflow) -> None:
    flow = define(worchflow, throttle=(2, 0.6))
    for number in range(7):
        flow.send(str(number))

    starts = run_all(worchflow, 7)

    assert most_in_a_window(starts, 0.6) == 2
    # Three windows are waited for, each seen within some sweeps of this test.
    assert timedelta(seconds=1.8) <= starts[-1] - starts[0] <= timedelta(seconds=4)


def test_windows_are_one_per_key(worchflow: Worchflow) -> None:
    flow = define(worchflow, throttle=(1, 3600), concurrency_key=str.upper)
    for name in "abcA":
        flow.send(name, id=f"{name}-{name.isupper()}")

    deliver(worchflow.app)

    waiting = [one.id for one in worchflow.find(status="waiting")]
    assert waiting == ["A-True"]
    assert len(worchflow.find(status="completed")) == 3


def test_only_the_first_start_of_an_execution_counts(worchflow: Worchflow) -> None:
    flow = define(worchflow, throttle=(2, 3600))
    fails, waits = flow.send("fails"), flow.send("waits")
    deliver(worchflow.app)
    waits.signal("go")
    deliver(worchflow.app)

    assert (fails.status, waits.status) == ("completed", "completed")
    assert flow.send("third").status == "queued"


def test_a_manual_retry_is_a_start(worchflow: Worchflow, bench: Bench) -> None:
    flow = define(worchflow, throttle=(1, 3600))
    handle = flow.send("once")
    deliver(worchflow.app)
    bench.collection("executions").update_one({}, {"$set": {"status": "failed"}})

    handle.retry()
    deliver(worchflow.app)

    assert handle.status == "waiting"


def test_the_dispatcher_looks_at_the_line_when_the_window_opens(
    worchflow: Worchflow, bench: Bench
) -> None:
    flow = define(worchflow, throttle=(1, 3600))
    first = flow.send("first")
    flow.send("second")
    deliver(worchflow.app)

    (slot,) = bench.collection("slots").find()

    started = first.get().started_at
    assert started is not None
    assert slot["look_at"] == started + timedelta(hours=1)


def test_a_start_is_counted_again_when_its_worker_died_before_it_was_noted(
    worchflow: Worchflow, bench: Bench
) -> None:
    flow = define(worchflow, throttle=(1, 3600))
    flow.send("a", id="a")
    slots = worchflow.runtime.store.slots
    slots.take(
        Limit("throttled", "throttled", None, None, 1, timedelta(hours=1)), "a", 1, start=True
    )
    bench.collection("executions").update_one({"_id": "a"}, {"$set": {"epoch": 2}})

    deliver(worchflow.app)

    assert worchflow.get("a").status == "waiting"


def test_a_claim_that_died_before_its_start_was_counted_is_no_start(
    worchflow: Worchflow, bench: Bench
) -> None:
    flow = define(worchflow, throttle=(1, 3600))
    handle = flow.send("a")
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    crashed = {"epoch": 2, "attempt": 1, "attempt_epoch": 1, "started_at": long_ago}
    bench.collection("executions").update_one({}, {"$set": crashed})

    deliver(worchflow.app)

    (slot,) = bench.collection("slots").find()
    assert handle.get().started_at == slot["starts"][0]["at"]


def test_a_slot_and_a_start_are_both_needed(worchflow: Worchflow) -> None:
    flow = define(worchflow, throttle=(2, 0.5), concurrency=1)
    waits = flow.send("waits")
    deliver(worchflow.app)
    for number in range(5):
        flow.send(str(number))

    waits_start = waits.get().started_at
    eventually(lambda: worchflow.find(status="completed") or deliver(worchflow.app))
    waits.signal("go")
    starts = run_all(worchflow, 6)

    assert waits_start == starts[0]
    assert most_in_a_window(starts, 0.5) <= 2


def test_one_that_has_started_needs_no_window_to_go_on(worchflow: Worchflow) -> None:
    flow = define(worchflow, throttle=(1, 3600), concurrency=1)
    waits = flow.send("waits")
    flow.send("behind")
    deliver(worchflow.app)

    waits.signal("go")
    deliver(worchflow.app)

    assert waits.status == "completed"
    assert [one.data for one in worchflow.find(status="waiting")] == ["behind"]


def test_fewer_starts_in_new_code_count_from_the_next_start_on(worchflow: Worchflow) -> None:
    flow = define(worchflow, throttle=(3, 3600))
    flow.send("a")
    flow.send("b")
    deliver(worchflow.app)
    flow.definition.options = replace(flow.definition.options, throttle=(2, 3600))

    third = flow.send("c")
    deliver(worchflow.app)

    assert third.status == "waiting"


def test_a_clock_that_was_set_back_does_not_close_the_window_for_long(
    worchflow: Worchflow, bench: Bench
) -> None:
    flow = define(worchflow, throttle=(1, 3600))
    flow.send("a")
    deliver(worchflow.app)
    ahead = {"$set": {"starts.0.at": datetime(2090, 1, 1, tzinfo=UTC)}}
    bench.collection("slots").update_one({}, ahead)

    handle = flow.send("b")
    deliver(worchflow.app)

    assert handle.status == "completed"


def test_every_stored_field_of_slots_is_in_the_documents_page(
    worchflow: Worchflow, bench: Bench
) -> None:
    flow = define(worchflow, throttle=(1, 3600), concurrency=1)
    flow.send("a")
    flow.send("b")
    deliver(worchflow.app)
    limit = Limit("throttled", "throttled", None, 2, 5, WINDOW)
    worchflow.runtime.store.slots.reserve(limit, "c", 1, start=True)
    page = (ROOT / "docs" / "reference" / "documents.md").read_text()

    (slot,) = bench.collection("slots").find()

    inner = {name for field in ("holders", "starts") for one in slot[field] for name in one}
    assert [field for field in {*slot, *inner, "expires_at"} if f"`{field}`" not in page] == []
    indexes = set(bench.collection("slots").index_information()) - {"_id_"}
    assert [index for index in indexes if f"`{index}`" not in page] == []


# -- the rule, as MongoDB evaluates it and as dispatchers do --------------------------------------


moments = st.integers(-12_000, 4_000).map(lambda ms: NOW + timedelta(milliseconds=ms))
slots = st.builds(
    Slot,
    st.just(NOW),
    st.lists(
        st.builds(Holder, st.sampled_from("abcde"), st.just(1), st.booleans()),
        max_size=4,
        unique_by=lambda holder: holder.execution,
    ).map(tuple),
    st.lists(moments, max_size=6).map(tuple),
)


@given(
    slot=slots, at_once=st.none() | st.integers(1, 4), count=st.integers(1, 4), start=st.booleans()
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_mongodb_decides_as_the_rule_does(
    bench: Bench, slot: Slot, at_once: int | None, count: int, start: bool
) -> None:
    limit = Limit("rule", "rule", None, at_once, count, WINDOW)
    document = {
        "_id": "rule",
        "holders": [{"execution": h.execution, "epoch": 1, "start": h.start} for h in slot.holders],
        "starts": [{"execution": "x", "epoch": 1, "at": at} for at in slot.starts],
    }
    bench.collection("rule").replace_one({"_id": "rule"}, document, upsert=True)

    entry = {"execution": "new", "epoch": 1}
    after = bench.collection("rule").find_one_and_update(
        {}, entered(limit, entry, start=start, patient=False, now=NOW), return_document=True
    )

    allowed = free_slots(limit, slot) > 0 and (not start or free_starts(limit, slot) > 0)
    assert any(one["execution"] == "new" for one in after["holders"]) == allowed
