"""What executions cost: the commands that MongoDB and Redis get, counted.

Live events are counted apart: no execution waits for them. A thread sends what has gathered, at
most one call every tenth of a second, of which Redis makes an XADD for each event.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import takewhile
from typing import Any

import pytest
from celery import Celery

from tests.integration.commands import Commands
from tests.support import Bench, bring_forward, deliver, die, revive, take
from worchflow_celery import AsyncStep, Event, Step, Worchflow
from worchflow_celery.attempt import attempt

Watching = Callable[[], Any]


@pytest.fixture
def mongo(listener: Commands, bench: Bench, flows: None) -> Watching:
    """A block, and the commands that MongoDB got in it."""

    return partial(listener.watching, bench.prefix)


@pytest.fixture
def redis(bench: Bench, flows: None) -> Watching:
    """A block, and the commands that Redis got in it, but for the calls of live events."""
    broker = bench.broker()

    def counts() -> Counter[str]:
        stats = broker.info("commandstats")
        return Counter({name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()})

    @contextmanager
    def watching() -> Iterator[Counter[str]]:
        seen: Counter[str] = Counter()
        before, began = counts(), time.monotonic()
        yield seen
        seen.update(counts() - before)
        took = time.monotonic() - began
        del seen["info"], seen["xadd"], seen["expire"]
        assert seen.pop("eval", 0) <= 1 + took / 0.1

    return watching


@pytest.fixture
def flows(listener: Commands, worchflow: Worchflow, celery_app: Celery) -> None:
    @worchflow.flow("steps")
    def steps(event: Event[int], step: Step) -> int:
        for number in range(event.data):
            step.run("step", abs, number)
        return event.data

    @worchflow.flow("async-steps")
    async def async_steps(event: Event[int], step: AsyncStep) -> int:
        for number in range(event.data):
            await step.run("step", abs, number)
        return event.data

    @worchflow.flow("limited", timeout=60)
    def limited(event: Event[int], step: Step) -> int:
        for number in range(event.data):
            step.run("step", abs, number, timeout=60)
        return event.data

    @worchflow.flow("retried", retries=1, retry_delay=3600)
    def retried(event: Event[int], step: Step) -> int:
        for number in range(event.data):
            step.run("step", abs, number)
        if event.attempt == 1:
            raise ConnectionError
        return step.run("last", abs, 1)

    @worchflow.flow("dies")
    def dies(event: Event[int], step: Step) -> int:
        for number in range(event.data):
            step.run("step", abs, number)
        return step.run("last", die if not worchflow.get(event.id).crashes else int)

    @worchflow.flow("one-at-a-time", concurrency=1, concurrency_key=lambda data: "key")
    def one_at_a_time(event: Event[int], step: Step) -> None:
        for number in range(event.data):
            step.run("step", abs, number)

    for name, count in (("throttled", 1000), ("closed", 1)):

        @worchflow.flow(name, throttle=(count, 3600))
        def throttled(event: Event[int]) -> None: ...

    with worchflow.watch() as watch:
        worchflow.send("closed", 1)
        worchflow.send("steps", 1)  # connections are open, indexes are made
        deliver(celery_app)
        assert next(watch)


CLAIM, CHECKPOINT, SETTLE = "findAndModify executions", "insert steps", "update executions"
READ = "find steps"


def test_a_send_is_one_insert_and_one_publish(
    worchflow: Worchflow, mongo: Watching, redis: Watching
) -> None:
    with mongo() as stored, redis() as published:
        worchflow.send("steps", 1)

    assert stored == ["insert executions"]
    assert published == {"lpush": 1}


def test_a_second_send_of_an_id_is_one_read_more_and_no_publish(
    worchflow: Worchflow, mongo: Watching, redis: Watching
) -> None:
    worchflow.send("steps", 1, id="s-1")

    with mongo() as stored, redis() as published:
        worchflow.send("steps", 1, id="s-1")

    assert stored == ["insert executions", "find executions"]
    assert published == {}


@pytest.mark.parametrize("flow", ["steps", "async-steps", "limited"])
@pytest.mark.parametrize("count", [0, 1, 30])
def test_a_first_attempt_is_one_claim_one_insert_per_step_and_one_settlement(
    worchflow: Worchflow,
    celery_app: Celery,
    mongo: Watching,
    redis: Watching,
    flow: str,
    count: int,
) -> None:
    handle = worchflow.send(flow, count)
    request = take(celery_app)
    assert request is not None

    with mongo() as stored, redis() as told:
        request.execute()

    assert stored == [CLAIM, *[CHECKPOINT] * count, SETTLE]
    assert told == {}
    assert handle.result(1) == count


@pytest.mark.parametrize("count", [0, 5, 300])
def test_an_attempt_after_another_one_reads_all_checkpoints_at_once(
    bench: Bench, worchflow: Worchflow, mongo: Watching, count: int
) -> None:
    handle = worchflow.send("retried", count)
    retried = worchflow.flows["retried"].definition
    attempt(worchflow.runtime, retried, handle.id)
    bring_forward(bench, handle.id)

    with mongo() as stored:
        attempt(worchflow.runtime, retried, handle.id)

    assert stored == [CLAIM, READ, CHECKPOINT, SETTLE]
    assert handle.result(1) == 1


def test_an_attempt_after_a_crash_reads_all_checkpoints_at_once(
    worchflow: Worchflow, celery_app: Celery, mongo: Watching
) -> None:
    handle = worchflow.send("dies", 5)
    deliver(celery_app)
    revive(worchflow, handle.id)

    with mongo() as stored:
        deliver(celery_app)

    # The flow itself looks once how often it has crashed.
    assert stored == [CLAIM, READ, "find executions", CHECKPOINT, SETTLE]


def test_a_retry_is_one_settlement_and_one_publish(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, mongo: Watching, redis: Watching
) -> None:
    @worchflow.flow("soon", retries=1, retry_delay=30)
    def soon(event: Event[Any]) -> None:
        raise ConnectionError

    soon.send()
    deliver(celery_app, bench.prefix)  # its queue is known to this process from now on
    soon.send()
    request = take(celery_app, bench.prefix)
    assert request is not None

    with mongo() as stored, redis() as published:
        request.execute()

    assert stored == [CLAIM, SETTLE]
    assert published == {"lpush": 1}


def test_live_events_are_sent_together_and_by_nobody_who_works(
    bench: Bench, flows: None, worchflow: Worchflow, celery_app: Celery
) -> None:
    worchflow.send("steps", 300)
    request = take(celery_app)
    assert request is not None
    with bench.broker() as broker, worchflow.watch() as watch:
        before, began = broker.info("commandstats"), time.monotonic()

        request.execute()
        events = list(takewhile(lambda one: one.status != "completed", watch))

        took, after = time.monotonic() - began, broker.info("commandstats")
    nothing = {"calls": 0}
    calls = after["cmdstat_eval"]["calls"] - before.get("cmdstat_eval", nothing)["calls"]
    assert [one.event for one in events].count("step_completed") == 300
    assert 1 <= calls <= 1 + took / 0.1


def test_a_late_copy_of_a_message_costs_two_looks(
    worchflow: Worchflow, celery_app: Celery, mongo: Watching, redis: Watching
) -> None:
    worchflow.send("steps", 3)
    request = take(celery_app)
    assert request is not None
    request.execute()

    with mongo() as stored, redis() as told:
        request.execute()

    assert stored == [CLAIM, "find executions"]
    assert told == {}


TAKE = GIVE_BACK = GET_IN_LINE = RESERVE = "findAndModify slots"
CALL, LOOK = "findAndModify executions", "find executions"


@pytest.mark.parametrize("count", [0, 5])
def test_a_slot_is_one_write_to_take_and_one_to_give_back(
    worchflow: Worchflow, celery_app: Celery, mongo: Watching, redis: Watching, count: int
) -> None:
    worchflow.send("one-at-a-time", count)
    request = take(celery_app)
    assert request is not None

    with mongo() as stored, redis() as told:
        request.execute()

    assert stored == [CLAIM, TAKE, *[CHECKPOINT] * count, SETTLE, GIVE_BACK]
    assert told == {}


@pytest.mark.parametrize(
    ("flow", "more"),
    [("throttled", ["update executions", SETTLE]), ("closed", [SETTLE, GET_IN_LINE])],
)
def test_a_start_in_a_window_is_two_writes_and_so_is_to_wait_for_one(
    worchflow: Worchflow, celery_app: Celery, mongo: Watching, flow: str, more: list[str]
) -> None:
    worchflow.send(flow, 0)

    with mongo() as stored:
        deliver(celery_app)

    assert stored == [CLAIM, TAKE, *more]


def test_to_wait_costs_three_more_and_to_call_two_more_and_one_publish(
    worchflow: Worchflow, celery_app: Celery, mongo: Watching, redis: Watching
) -> None:
    watched = ExitStack()
    seen: list[list[str]] = []

    @worchflow.flow("busy", concurrency=1)
    def busy(event: Event[str]) -> None:
        if event.data == "first":
            with mongo() as stored:
                deliver(celery_app)
            seen.extend([stored, watched.enter_context(mongo())])

    busy.send("first")
    busy.send("second")
    with watched, redis() as published:
        deliver(celery_app, celery_app.main, most=1)

    assert seen[0] == [CLAIM, TAKE, SETTLE, GET_IN_LINE, LOOK]
    assert seen[1] == [SETTLE, GIVE_BACK, CALL, RESERVE]
    assert published["lpush"] == 1
