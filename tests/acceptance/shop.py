"""The app that acceptance tests run in real workers; its flows write down what they do."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celery import Celery

from tests.acceptance import composed, meddled
from worchflow_celery import AsyncStep, Event, Step, Worchflow
from worchflow_celery.models import ErrorInfo


class Diary:
    """A side-effect log: one appended line per effect, whole also under kills."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "effects.log"

    def write(self, *words: object) -> None:
        line = " ".join(map(str, words)) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def counts(self) -> Counter[str]:
        return Counter(self.lines())


class Effects:
    """What the steps do: write, and wait where a test holds them open."""

    def __init__(self, directory: Path) -> None:
        self.diary = Diary(directory)
        self._directory = directory

    def step(self, execution_id: str, number: int, data: Mapping[str, Any]) -> int:
        """Step ``hold`` waits until the test has opened the gate; each takes ``pace`` seconds."""
        self.diary.write("begin", execution_id, number)
        if number == data.get("hold"):
            gate = self._directory / data.get("gate", "gate")
            while not gate.exists():
                time.sleep(0.02)
        time.sleep(data.get("pace", 0))
        self.diary.write("end", execution_id, number)
        return number

    def undo(self, execution_id: str, number: int, data: Mapping[str, Any]) -> None:
        """Compensation ``hold_undo`` waits until the test has opened the gate."""
        self.diary.write("undoing", execution_id, number)
        gate = self._directory / data.get("gate", "gate")
        while number == data.get("hold_undo") and not gate.exists():
            time.sleep(0.02)
        self.diary.write("undone", execution_id, number)

    def die(self, execution_id: str) -> None:
        self.diary.write("died", execution_id)
        os.kill(os.getpid(), signal.SIGKILL)


def build(environment: Mapping[str, str]) -> tuple[Celery, Worchflow, Diary]:
    """The app for a test's place; ``TEST_…`` variables say where and how."""
    prefix = environment["TEST_PREFIX"]
    app = Celery("shop", broker=environment["TEST_REDIS_URL"], set_as_current=False)
    app.conf.update(
        task_default_queue=prefix,
        broker_connection_retry_on_startup=True,
        worker_prefetch_multiplier=1,
        task_ignore_result=True,
        broker_transport_options={
            "visibility_timeout": int(environment.get("TEST_VISIBILITY", "3600")),
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
        },
    )
    worchflow = Worchflow(
        app,
        database_url=environment["TEST_DATABASE_URL"],
        prefix=prefix,
        lease_ttl=float(environment.get("TEST_LEASE", "8")),
        store_timeout=float(environment.get("TEST_STORE_TIMEOUT", "5")),
    )
    effects = Effects(Path(environment["TEST_DIRECTORY"]))
    define_long(worchflow, effects)
    define_parallel(worchflow, effects)
    define_harmful(worchflow, effects)
    define_failing(worchflow, effects, environment)
    define_saga(worchflow, effects)
    define_limited(worchflow, effects)
    if environment.get("TEST_COMPOSED"):
        app.conf.result_backend = environment["TEST_REDIS_URL"]  # chords need one
        actor = composed.Actor(effects.diary.write)
        composed.define(worchflow, actor)
        meddled.define(worchflow, actor, Path(environment["TEST_DIRECTORY"]) / "repaired")
    if environment.get("TEST_VERSION") != "old":
        define_new(worchflow, effects)
    return app, worchflow, effects.diary


def define_long(worchflow: Worchflow, effects: Effects) -> None:
    """Flows of ``count`` steps; see ``Effects.step`` for what else their data says."""

    @worchflow.flow("steps")
    def steps(event: Event[dict[str, Any]], step: Step) -> int:
        for number in range(event.data["count"]):
            step.run("step", effects.step, event.id, number, event.data)
        return int(event.data["count"])

    @worchflow.flow("async-steps")
    async def async_steps(event: Event[dict[str, Any]], step: AsyncStep) -> int:
        for number in range(event.data["count"]):
            await step.run("step", effects.step, event.id, number, event.data)
        return int(event.data["count"])

    worchflow.flow("late-steps", acks_late=True)(steps.definition.function)
    worchflow.flow("limited-steps", time_limit=2)(steps.definition.function)


def define_parallel(worchflow: Worchflow, effects: Effects) -> None:
    """Flows of ``count`` steps, all but the last at once, two at a time."""

    @worchflow.flow("mapped")
    def mapped(event: Event[dict[str, Any]], step: Step) -> int:
        def item(number: int) -> int:
            return effects.step(event.id, number, event.data)

        last = event.data["count"] - 1
        done = step.map("item", item, range(last), concurrency=2)
        return step.run("last", item, last) + len(done) - last

    @worchflow.flow("async-mapped")
    async def async_mapped(event: Event[dict[str, Any]], step: AsyncStep) -> int:
        async def item(number: int) -> int:
            return await asyncio.to_thread(effects.step, event.id, number, event.data)

        last = event.data["count"] - 1
        done = await step.map("item", item, range(last), concurrency=2)
        return await step.run("last", item, last) + len(done) - last


def define_harmful(worchflow: Worchflow, effects: Effects) -> None:
    """Flows that kill their process, or swallow what stops them."""

    @worchflow.flow("poison")
    def poison(event: Event[None], step: Step) -> None:
        step.run("harmless", effects.diary.write, "harmless", event.id)
        step.run("deadly", effects.die, event.id)

    @worchflow.flow("stubborn-steps")
    def stubborn_steps(event: Event[dict[str, Any]], step: Step) -> int:
        for number in range(event.data["count"]):
            try:
                step.run("step", effects.step, event.id, number, event.data)
            except BaseException as error:
                effects.diary.write("swallowed", event.id, type(error).__name__)
        return int(event.data["count"])


def define_failing(worchflow: Worchflow, effects: Effects, environment: Mapping[str, str]) -> None:
    """A flow that fails until its attempt number is its data."""

    @worchflow.flow("flaky", retries=5, retry_delay=float(environment.get("TEST_DELAY", "1")))
    def flaky(event: Event[int], step: Step) -> int:
        step.run("first", effects.diary.write, "first", event.id)
        if event.attempt < event.data:
            raise ConnectionError("not yet")
        return event.attempt


def define_saga(worchflow: Worchflow, effects: Effects) -> None:
    """A flow of ``count`` steps that can be undone; it fails unless it is cancelled before."""

    def tell(event: Event[Any], error: ErrorInfo, step: Step) -> None:
        step.run("tell", effects.diary.write, "told", event.id, error.message)

    @worchflow.flow("saga", on_failure=tell)
    def saga(event: Event[dict[str, Any]], step: Step) -> None:
        for number in range(event.data["count"]):
            step.run(
                "step",
                effects.step,
                event.id,
                number,
                event.data,
                compensate=lambda done: effects.undo(event.id, done, event.data),
            )
        raise ConnectionError("no")


def define_limited(worchflow: Worchflow, effects: Effects) -> None:
    """Flows with limits per customer: two at once, one at once, four starts in a second."""

    def work(event: Event[dict[str, Any]], step: Step) -> int:
        for number in range(event.data["count"]):
            step.run("step", effects.step, event.id, number, event.data)
        return int(event.data["count"])

    def customer(data: Mapping[str, Any]) -> str:
        return str(data["customer"])

    flow = worchflow.flow
    flow("two-at-once", concurrency=2, concurrency_key=customer)(work)
    flow("one-at-once", concurrency=1, concurrency_key=customer)(work)
    flow("throttled", throttle=(4, 1), concurrency_key=customer)(work)


def define_new(worchflow: Worchflow, effects: Effects) -> None:
    """What the old version of the shop does not know."""

    @worchflow.flow("quick")
    def quick(event: Event[Any], step: Step) -> Any:
        step.run("one", effects.diary.write, "quick", event.id)
        return event.data

    @worchflow.flow("parent")
    def parent(event: Event[str], step: Step) -> str:
        return step.run("send", lambda: str(quick.send("child", id=event.data)))

    @worchflow.app.task(name="send-quick", shared=False)
    def send_quick(execution_id: str) -> None:
        quick.send("child", id=execution_id)


if "TEST_PREFIX" in os.environ:
    app, worchflow, diary = build(os.environ)
    if "TEST_TOUCH" in os.environ:
        worchflow.ping()  # as a careless app does: a client is open before the pool forks
