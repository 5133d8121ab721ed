"""What executions cost: the commands that MongoDB and Redis get, counted."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery
from pymongo import monitoring

from tests.support import Bench, bring_forward, deliver, die, revive, take
from worchflow_celery import AsyncStep, Event, Step, Worchflow
from worchflow_celery.attempt import attempt


class Commands(monitoring.CommandListener):
    """Writes down all commands, while a test wants it, with one prefix's collections."""

    def __init__(self) -> None:
        self.prefix: str | None = None
        self.seen: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if self.prefix is not None:
            collection = str(event.command.get(event.command_name))
            self.seen.append(f"{event.command_name} {collection.removeprefix(self.prefix + '_')}")

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


@pytest.fixture(scope="module")
def listener() -> Commands:
    """Known to all clients from now on: pymongo has no way to leave it out again."""
    commands = Commands()
    monitoring.register(commands)
    return commands


Watching = Callable[[], Any]


@pytest.fixture
def mongo(listener: Commands, bench: Bench, flows: None) -> Watching:
    """A block, and the commands that MongoDB got in it."""

    @contextmanager
    def watching() -> Iterator[list[str]]:
        listener.prefix, listener.seen = bench.prefix, []
        seen = listener.seen
        try:
            yield seen
        finally:
            listener.prefix = None

    return watching


@pytest.fixture
def redis(bench: Bench, flows: None) -> Watching:
    """A block, and the commands that Redis got in it."""
    broker = bench.broker()

    def counts() -> Counter[str]:
        stats = broker.info("commandstats")
        return Counter({name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()})

    @contextmanager
    def watching() -> Iterator[Counter[str]]:
        seen: Counter[str] = Counter()
        before = counts()
        yield seen
        seen.update(counts() - before)
        del seen["info"]

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

    worchflow.send("steps", 1)  # connections are open, indexes are made
    deliver(celery_app)


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


def test_a_step_that_can_be_undone_costs_what_any_step_costs(
    worchflow: Worchflow, celery_app: Celery, mongo: Watching
) -> None:
    @worchflow.flow("undoable", on_failure=lambda event, error, step: None)
    def undoable(event: Event[Any], step: Step) -> int:
        return step.run("step", abs, 1, compensate=print)

    undoable.send()

    with mongo() as stored:
        deliver(celery_app)

    assert stored == [CLAIM, CHECKPOINT, SETTLE]


@pytest.mark.parametrize("steps", [0, 3])
def test_a_failure_with_nothing_to_undo_costs_what_a_success_costs(
    worchflow: Worchflow, celery_app: Celery, mongo: Watching, steps: int
) -> None:
    @worchflow.flow("failing")
    def failing(event: Event[Any], step: Step) -> None:
        for number in range(steps):
            step.run("step", abs, number)
        raise ConnectionError

    failing.send()

    with mongo() as stored:
        deliver(celery_app)

    assert stored == [CLAIM, *[CHECKPOINT] * steps, SETTLE]


def test_to_undo_is_one_write_one_read_and_one_insert_per_compensation(
    worchflow: Worchflow, celery_app: Celery, mongo: Watching
) -> None:
    @worchflow.flow("undone")
    def undone(event: Event[Any], step: Step) -> None:
        for number in range(3):
            step.run("step", abs, number, compensate=lambda _: None)
        raise ConnectionError

    undone.send()

    with mongo() as stored:
        deliver(celery_app)

    decided = "update executions"
    assert stored == [CLAIM, *[CHECKPOINT] * 3, decided, READ, *[CHECKPOINT] * 3, SETTLE]
