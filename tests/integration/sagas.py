"""A flow whose steps can be undone, and a bank that writes down what was done and undone."""

from collections.abc import Callable
from typing import Any

from celery import Celery

from tests.support import deliver
from worchflow_celery import Event, Execution, Step, Worchflow


class Bank:
    """What was done and undone, and where it is to go wrong."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.broken: dict[str, Callable[[], Any]] = {}

    def do(self, name: str) -> str:
        self._act(name)
        return f"{name} 1"

    def undo(self, result: str) -> None:
        self._act(f"undo {result.removesuffix(' 1')}")

    async def undo_later(self, result: str) -> None:
        self.undo(result)

    def _act(self, what: str) -> None:
        if what in self.broken:
            self.broken.pop(what)()
        self.log.append(what)


def fail() -> None:
    raise ConnectionError("broken")


def define_saga(worchflow: Worchflow, bank: Bank) -> None:
    """Three steps that can be undone and one that cannot, then the end that its data names."""

    @worchflow.flow("saga")
    def saga(event: Event[str], step: Step) -> str:
        bank.log.append("handler")
        step.run("a", bank.do, "a", compensate=bank.undo)
        step.run("plain", bank.do, "plain")
        step.run("b", bank.do, "b", compensate=bank.undo)
        step.run("c", bank.do, "c", compensate=bank.undo)
        if event.data == "wait":
            step.wait_for_signal("go")
        bank.log.append("last")
        return step.run("last", fail if event.data == "fail" else lambda: "done")


def ran(worchflow: Worchflow, app: Celery, data: str = "fail", flow: str = "saga") -> Execution:
    handle = worchflow.send(flow, data)
    deliver(app)
    return handle.get()


def kinds(worchflow: Worchflow, execution_id: str) -> dict[str, tuple[str, str]]:
    return {one.key: (one.kind, one.status) for one in worchflow.steps(execution_id)}


FORWARD = ["handler", "a", "plain", "b", "c", "last"]
UNDONE = ["handler", "undo c", "undo b", "undo a"]
