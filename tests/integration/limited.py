"""A flow with limits whose executions run, one inside the other, in one thread."""

from typing import Any

from celery import Celery

from tests.support import deliver
from worchflow_celery import Event, ExecutionHandle, Step, Worchflow


class Held:
    """A flow whose executions run while others are looked at: each takes the next one's message."""

    def __init__(self, worchflow: Worchflow, app: Celery, **limits: Any) -> None:
        self.worchflow, self.app = worchflow, app
        #: What to do inside an execution, by its data.
        self.inside: dict[str, Any] = {}
        self.begun: list[str] = []
        self.running = 0
        self.most = 0

        @worchflow.flow("held", retries=1, retry_delay=0, **limits)
        def held(event: Event[str], step: Step) -> str:
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                self.begun.append(event.data)
                act = self.inside.pop(event.data, None)
                if act is not None:
                    act(step)
                return event.data
            finally:
                self.running -= 1

        self.flow = held

    def send(self, *names: str) -> list[ExecutionHandle[Any]]:
        return [self.flow.send(name, id=name.replace(" ", "-")) for name in names]

    def deliver_inside(self, step: Step) -> None:
        """While this one runs, all other messages are delivered."""
        deliver(self.app)
