"""A flow to try things with. Development mode adds it to an app; nothing else ever does."""

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celery import Celery
from pydantic import BaseModel, Field

from worchflow_celery.app import Worchflow
from worchflow_celery.errors import NonRetriableError
from worchflow_celery.models import Event
from worchflow_celery.step import Step

DEMO = "worchflow-demo"
#: The id of the execution with which a new place begins.
FIRST = "worchflow-demo-1"
_NO_PROCESS = (
    "this worker has no pool processes that could be killed: send one without it, and press k in "
    "the terminal of dev while it runs"
)


class Order(BaseModel):
    """What is ordered, and what goes wrong with it."""

    item: str = "coffee"
    cents: int = Field(350, gt=0)
    fails: int = Field(0, ge=0, le=3, description="Attempts in which the charge fails.")
    killed: bool = Field(False, description="Kill the process inside the charge, once.")


@dataclass(frozen=True, slots=True)
class Trial:
    """Something to do with the demo, and to see."""

    title: str
    about: str
    order: Order

    def is_of(self, data: Any) -> bool:
        """Whether an execution with this data was one."""
        given = data if isinstance(data, Mapping) else {}
        wrong = (bool(given.get("fails")), bool(given.get("killed")))
        return wrong == (self.order.fails > 0, self.order.killed)


TRIALS = (
    Trial("Send one", "Three steps. What each returns is stored before the next begins.", Order()),
    Trial(
        "Make a step fail",
        "The charge fails once. Two seconds later another attempt goes on there: what was reserved "
        "is not reserved again.",
        Order(fails=1),
    ),
    Trial(
        "Kill the worker",
        "Its process is killed inside the charge, as by a machine that runs out of memory. In six "
        "seconds another one goes on, and no finished step runs again.",
        Order(killed=True),
    ),
)


def add(app: Celery) -> None:
    """Give an app the demo, if it has none yet and is bound."""
    worchflow = getattr(app, "worchflow", None)
    if not isinstance(worchflow, Worchflow) or DEMO in worchflow.flows:
        return
    parent = os.getpid()

    @worchflow.flow(DEMO, retries=3, retry_delay=2.0, retry_jitter=False)
    def demo(event: Event[Order], step: Step) -> str:
        """Reserve, charge and ship an order. It is here in development mode only."""
        order = event.data
        step.run("Reserve", _work, 0.3, f"{order.item} is reserved")
        step.run("Charge", _charge, worchflow, event, parent)
        return step.run("Ship", _work, 0.4, f"{order.item} is on its way")


def _charge(worchflow: Worchflow, event: Event[Order], parent: int) -> int:
    order = event.data
    if order.killed and worchflow.get(event.id).crashes == 0:
        time.sleep(1.0)
        if os.getpid() == parent:
            raise NonRetriableError(_NO_PROCESS)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.6)
    if event.attempt <= order.fails:
        raise ConnectionError("the payment provider does not answer")
    return order.cents


def _work(seconds: float, result: str) -> str:
    time.sleep(seconds)
    return result
