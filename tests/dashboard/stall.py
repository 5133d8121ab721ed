"""An app for the browser tests: flows that end at once, fail, and wait to be told."""

import os
from typing import Any

from celery import Celery
from pydantic import BaseModel, Field

from worchflow_celery import Event, Step, Worchflow

prefix = os.environ["TEST_PREFIX"]
app = Celery(prefix, broker=os.environ["TEST_REDIS_URL"])
app.conf.update(
    task_default_queue=prefix,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)
worchflow = Worchflow(app, database_url=os.environ["TEST_DATABASE_URL"], prefix=prefix)


class Payment(BaseModel):
    amount: int = Field(gt=0)
    customer: str


@worchflow.flow("pay")
def pay(event: Event[Payment], step: Step) -> int:
    """Charge a customer; the first attempt of an unlucky one fails."""
    step.run("Check", lambda: None)
    if event.data.amount == 13:
        raise ConnectionError("no answer")
    return event.data.amount


@worchflow.flow("approve")
def approve(event: Event[Any], step: Step) -> Any:
    """Goes on when it is told to."""
    step.run("Ask", lambda: None)
    return step.wait_for_signal("answer")
