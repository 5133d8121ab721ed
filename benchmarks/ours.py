"""The flow that is measured."""

from typing import Any

from benchmarks.place import Place
from benchmarks.work import effect, order
from worchflow_celery import Event, Step, Worchflow


class Ours:
    """An app with Worchflow, and its one flow."""

    name = "ours"

    def __init__(self, place: Place) -> None:
        self.queue = f"{place.name}.ours"
        self.prefix = place.name
        self.app = place.celery(self.queue)
        self.worchflow = Worchflow(self.app, database_url=place.database_url, prefix=place.name)

        @self.worchflow.flow("ours", retries=1, retry_delay=0)
        def flow(event: Event[dict[str, Any]], step: Step) -> dict[str, Any]:
            for number in range(event.data["steps"]):
                step.run("step", effect, number)
            if event.data["fails"] and event.attempt == 1:
                raise ConnectionError("as it was asked to")
            return {"steps": event.data["steps"]}

        self.flow = flow

    def send(self, steps: int, *, fails: bool = False) -> str:
        """Start an execution; return its id."""
        return self.flow.send(order(steps, fails=fails)).id
