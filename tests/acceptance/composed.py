"""Flows that are composed of all that a flow can wait for; each tells what its steps gave it."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from celery import chain, chord, group

from worchflow_celery import AsyncStep, Event, Step, Worchflow
from worchflow_celery.errors import ChildFailed, NonRetriableError, StepTimeout
from worchflow_celery.models import ErrorInfo

Data = dict[str, Any]
#: Of flows with limits.
CUSTOMERS = 2
#: What an effect takes, in seconds: there must be time to be killed in it.
PACE = 0.04
#: More crashes than a test makes: nothing is to be given up.
OPTIONS: dict[str, Any] = {"retries": 8}


class Actor:
    """What the steps do: a line in the side-effect log, by their idempotency keys."""

    def __init__(self, write: Callable[..., None]) -> None:
        self._write = write

    def act(self, event: Event[Any], step: Step | AsyncStep, value: Any = None) -> Any:
        key = step.idempotency_key.removeprefix(f"{event.id}:")
        self._write("effect", event.id, key, f"{time.time():.6f}")
        time.sleep(PACE)
        return value

    def book(self, event: Event[Any], step: Step, name: str) -> Any:
        """A step that can be undone."""
        return step.run(
            name, self.act, event, step, name, compensate=lambda _: self.act(event, step)
        )

    def tell(self, event: Event[Any], error: ErrorInfo, step: Step) -> None:
        """What a flow's ``on_failure`` does."""
        step.run("tell", self.act, event, step, error.message)


def define(worchflow: Worchflow, actor: Actor) -> None:
    """All of them, but for those that people change."""
    define_child(worchflow, actor)
    define_order(worchflow, actor)
    define_family(worchflow, actor)
    define_bulk(worchflow, actor)
    define_tasks(worchflow, actor)
    define_booking(worchflow, actor)
    define_limited(worchflow, actor)
    define_swarm(worchflow, actor)


def define_child(worchflow: Worchflow, actor: Actor) -> None:
    @worchflow.flow("child", **OPTIONS)
    def child(event: Event[Data], step: Step) -> Data:
        got = {"make": step.run("make", actor.act, event, step, event.data["number"] * 10)}
        if event.data.get("fails"):
            raise NonRetriableError("no such child")
        got["rest"] = step.sleep("rest", 0.1)
        got["check"] = step.run("check", actor.act, event, step, got["make"] + 1)
        return got


def define_order(worchflow: Worchflow, actor: Actor) -> None:
    """Two approvals, and between them one choice; nobody sends ``never``."""

    @worchflow.flow("order", **OPTIONS)
    def order(event: Event[Data], step: Step) -> Data:
        got = {"open": step.run("open", actor.act, event, step, event.data["number"])}
        got["approve"] = step.wait_for_signal("approve")
        choice = step.wait_for_any("choice", signals=["pay", "drop"])
        got["choice"] = choice and choice[1]
        got["never"] = step.wait_for_signal("never", timeout=1.2)
        got["between"] = step.run("between", actor.act, event, step, choice)
        got["approve#2"] = step.wait_for_signal("approve")
        got["close"] = step.run("close", actor.act, event, step)
        return got


def define_family(worchflow: Worchflow, actor: Actor) -> None:
    @worchflow.flow("family", **OPTIONS)
    def family(event: Event[Data], step: Step) -> Data:
        number = event.data["number"]
        got = {"aside": step.send("aside", "child", {"number": number})}
        got["one"] = step.invoke("one", "child", {"number": number})
        got["count"] = step.run("count", actor.act, event, step, len(got["one"]))
        items = [{"number": number + more} for more in range(3)]
        got["many"] = step.invoke_all("many", "child", items)
        got["end"] = step.run("end", actor.act, event, step, len(got["many"]))
        return got

    @worchflow.flow("guardian", **OPTIONS)
    def guardian(event: Event[Data], step: Step) -> Data:
        """Waits for children that end when a test lets them."""
        held = {"count": 1, "hold": 0, "gate": "held"}
        got = {"held": step.invoke_all("held", "steps", [held, held])}
        got["end"] = step.run("end", actor.act, event, step)
        return got


def define_bulk(worchflow: Worchflow, actor: Actor) -> None:
    @worchflow.flow("bulk", **OPTIONS)
    def bulk(event: Event[Data], step: Step) -> Data:
        def item(number: int) -> int:
            return int(actor.act(event, step, number * 2))

        values = step.map("item", item, range(5), concurrency=2)
        got = {f"item[{number}]": value for number, value in enumerate(values)}
        step.progress(0.5, "half of it")
        got["pause"] = step.sleep("pause", 1.1)
        got |= step.gather(left=lambda: item(10), right=lambda: item(20))
        step.progress(1.0, "all of it")
        got["last"] = step.run("last", item, sum(values))
        return got


def define_tasks(worchflow: Worchflow, actor: Actor) -> None:
    """Ordinary tasks are lost with their workers; then the step sends them again."""

    @worchflow.app.task(name="label", shared=False)
    def label(value: Any) -> str:
        time.sleep(PACE)
        return f"<{value}>"

    @worchflow.app.task(name="join", shared=False)
    def join(values: list[str]) -> str:
        return "".join(values)

    @worchflow.flow("tasks", **OPTIONS)
    def tasks(event: Event[Data], step: Step) -> Data:
        number, again = event.data["number"], {"timeout": 4, "retries": 20}
        got = {"single": step.apply("single", label.s(number), **again)}
        got["seen"] = step.run("seen", actor.act, event, step, got["single"])
        several = group(label.s(value) for value in ("a", "b"))
        got["several"] = step.apply("several", several, **again)
        got["chained"] = step.apply("chained", chain(label.s(number), label.s()), **again)
        both = chord([label.s(value) for value in ("c", "d")], join.s())
        got["both"] = step.apply("both", both, **again)
        got["last"] = step.run("last", actor.act, event, step, got["several"])
        return got


def define_booking(worchflow: Worchflow, actor: Actor) -> None:
    """A saga; ``fails`` says whether the handler fails, or its child, or nothing."""

    @worchflow.flow("booking", on_failure=actor.tell, **OPTIONS)
    def booking(event: Event[Data], step: Step) -> Data:
        def book(name: str) -> Any:
            return actor.book(event, step, name)

        got = {"train": book("train"), "hotel": book("hotel")}
        got["pause"] = step.sleep("pause", 1.1)
        got["museum"] = book("museum")
        number, fails = event.data["number"], event.data["fails"]
        try:
            got["ask"] = step.invoke("ask", "child", {"number": number, "fails": fails == "child"})
        except ChildFailed as failure:
            raise NonRetriableError("the child has failed") from failure
        got["train#2"] = book("train")
        if fails == "handler":
            raise NonRetriableError("the handler has failed")
        return got


def define_limited(worchflow: Worchflow, actor: Actor) -> None:
    def customer(data: Mapping[str, Any]) -> str:
        return str(data["number"] % CUSTOMERS)

    @worchflow.flow("limited", concurrency=1, concurrency_key=customer, **OPTIONS)
    def limited(event: Event[Data], step: Step) -> Data:
        got = {"one": step.run("one", actor.act, event, step, event.data["number"])}
        got["pause"] = step.sleep("pause", 0.4)
        got["two"] = step.run("two", actor.act, event, step, [])
        return got

    @worchflow.flow("paced", throttle=(2, 2), concurrency_key=customer, **OPTIONS)
    def paced(event: Event[Data], step: Step) -> Data:
        return {"one": step.run("one", actor.act, event, step, event.data["number"])}


def define_swarm(worchflow: Worchflow, actor: Actor) -> None:
    """An async flow whose first attempt fails, and one of whose children comes to no end."""

    @worchflow.flow("swarm", retry_delay=0.2, **OPTIONS)
    async def swarm(event: Event[Data], step: AsyncStep) -> Data:
        async def item(number: int) -> int:
            return int(await asyncio.to_thread(actor.act, event, step, number * 2))

        values = await step.map("item", item, range(4), concurrency=2)
        got: Data = {f"item[{number}]": value for number, value in enumerate(values)}
        got |= await step.gather(left=lambda: item(10), right=lambda: item(20))
        if event.attempt == 1:
            raise ConnectionError("another attempt is needed")
        got["one"] = await step.invoke("one", "child", {"number": event.data["number"]})
        try:
            await step.invoke("late", "idle", {"number": 0}, timeout=0.5)
        except StepTimeout:
            got["late"] = None
        got["last"] = await step.run("last", item, sum(values))
        return got
