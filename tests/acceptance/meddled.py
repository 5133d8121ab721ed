"""Flows that come to no good end by themselves: people cancel them, or put them back in line."""

from pathlib import Path

from tests.acceptance.composed import OPTIONS, Actor, Data
from worchflow_celery import Event, Step, Worchflow
from worchflow_celery.errors import NonRetriableError


def define(worchflow: Worchflow, actor: Actor, repaired: Path) -> None:
    """All of them; some fail until a file is there."""
    define_trip(worchflow, actor)
    define_race(worchflow, actor)
    define_repair(worchflow, actor, repaired)


def define_trip(worchflow: Worchflow, actor: Actor) -> None:
    """A saga that waits for a child, which waits for a child, which waits for nothing."""

    @worchflow.flow("idle", on_failure=actor.tell, **OPTIONS)
    def idle(event: Event[Data], step: Step) -> None:
        actor.book(event, step, "begin")
        if event.data.get("deeper"):
            step.invoke("ask", "idle", {"number": event.data["number"]})
        step.wait_for_signal("never")

    @worchflow.flow("trip", on_failure=actor.tell, **OPTIONS)
    def trip(event: Event[Data], step: Step) -> None:
        number = event.data["number"]
        actor.book(event, step, "pack")
        step.send("aside", "child", {"number": number})
        for _ in range(number % 3 * 8):
            actor.book(event, step, "walk")
        step.invoke("ask", "idle", {"number": number, "deeper": True})


def define_race(worchflow: Worchflow, actor: Actor) -> None:
    """A flow that is cancelled just when it ends."""

    @worchflow.flow("race", **OPTIONS)
    def race(event: Event[Data], step: Step) -> Data:
        got = {"start": step.run("start", actor.act, event, step, event.data["number"])}
        got["finish"] = step.run("finish", actor.act, event, step)
        return got


def define_repair(worchflow: Worchflow, actor: Actor, repaired: Path) -> None:
    """A saga that fails until somebody has repaired what it needs."""

    @worchflow.flow("repair", on_failure=actor.tell, **OPTIONS)
    def repair(event: Event[Data], step: Step) -> Data:
        got = {"train": actor.book(event, step, "train")}
        got["count"] = step.run("count", actor.act, event, step, event.data["number"])
        got["hotel"] = actor.book(event, step, "hotel")
        if not repaired.exists():
            raise NonRetriableError("nothing is repaired yet")
        got["close"] = step.run("close", actor.act, event, step)
        return got
