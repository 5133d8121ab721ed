"""The app that acceptance tests run in real workers; its flows write down what they do."""

import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celery import Celery

from worchflow_celery import AsyncStep, Event, Step, Worchflow


class Diary:
    """A side-effect log: one appended line per effect, whole also under kills."""

    def __init__(self, directory: str) -> None:
        self.path = Path(directory) / "effects.log"

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


def build(environment: Mapping[str, str]) -> tuple[Celery, Worchflow, Diary]:
    """The app for a test's place; ``TEST_…`` variables say where and how."""
    prefix = environment["TEST_PREFIX"]
    app = Celery("shop", broker=environment["TEST_REDIS_URL"], set_as_current=False)
    app.conf.update(
        task_default_queue=prefix,
        broker_connection_retry_on_startup=True,
        worker_prefetch_multiplier=1,
        task_ignore_result=True,
        result_backend=environment.get("TEST_BACKEND"),
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
    )
    diary = Diary(environment["TEST_DIRECTORY"])
    define(worchflow, diary, environment)
    return app, worchflow, diary


def wait_for(path: Path) -> None:
    """Hold a step open until the test says so."""
    while not path.exists():
        time.sleep(0.02)


def define(worchflow: Worchflow, diary: Diary, environment: Mapping[str, str]) -> None:
    directory = Path(environment["TEST_DIRECTORY"])

    @worchflow.flow("steps")
    def steps(event: Event[dict[str, Any]], step: Step) -> int:
        """``count`` steps; the one named ``hold`` waits for the file ``go``."""
        for number in range(event.data["count"]):
            step.run("step", effect, event.id, number, event.data.get("hold"))
        return int(event.data["count"])

    def effect(execution_id: str, number: int, hold: int | None) -> int:
        diary.write("begin", execution_id, number)
        if number == hold:
            wait_for(directory / "go")
        diary.write("end", execution_id, number)
        return number

    @worchflow.flow("async-steps")
    async def async_steps(event: Event[dict[str, Any]], step: AsyncStep) -> int:
        for number in range(event.data["count"]):
            await step.run("step", effect, event.id, number, event.data.get("hold"))
        return int(event.data["count"])

    @worchflow.flow("poison")
    def poison(event: Event[None], step: Step) -> None:
        step.run("harmless", diary.write, "harmless", event.id)
        step.run("deadly", die, event.id)

    def die(execution_id: str) -> None:
        diary.write("died", execution_id)
        os.kill(os.getpid(), signal.SIGKILL)

    @worchflow.flow("flaky", retries=5, retry_delay=float(environment.get("TEST_DELAY", "1")))
    def flaky(event: Event[int], step: Step) -> int:
        """Fails until its attempt number is the data."""
        step.run("first", diary.write, "first", event.id)
        diary.write("attempt", event.id, event.attempt)
        if event.attempt < event.data:
            raise ConnectionError("not yet")
        return event.attempt

    @worchflow.flow("quick")
    def quick(event: Event[Any], step: Step) -> Any:
        step.run("one", diary.write, "quick", event.id)
        return event.data

    @worchflow.app.task(name="note", ignore_result=False)
    def note(*words: object) -> object:
        diary.write("note", *words)
        return words[0] if words else None


if "TEST_PREFIX" in os.environ:
    app, worchflow, diary = build(os.environ)
