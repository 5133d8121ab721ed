"""The payments of the demo: a Celery app with one flow in it."""

import time
from dataclasses import dataclass

from celery import Celery

from examples.demo import effects
from worchflow_celery import Event, Step, Worchflow, errors

app = Celery("demo")
app.config_from_object("celeryconfig")
# Short, so that the demo is: so long does a dead worker keep its executions, 30 s by default.
worchflow = Worchflow(app, lease_ttl=5)


@dataclass
class Payment:
    amount: int
    customer: str


@worchflow.flow("process-payment")
def process_payment(event: Event[Payment], step: Step) -> str:
    step.run("Validate payment", validate, event.data, step)
    charge = step.run("Charge card", charge_card, event.data, step)
    step.run("Send receipt", send_receipt, charge, step)
    return charge


def validate(payment: Payment, step: Step) -> None:
    work(step, seconds=0.5)
    if payment.amount <= 0:
        raise errors.NonRetriableError("there is nothing to pay")


def charge_card(payment: Payment, step: Step) -> str:
    # A payment provider is handed the key, and charges once for all calls that carry it.
    work(step, seconds=1.5)
    return f"charge of {payment.amount} for {payment.customer} ({step.idempotency_key})"


def send_receipt(charge: str, step: Step) -> None:
    work(step, seconds=1.0)


def work(step: Step, *, seconds: float) -> None:
    """Stands for a side effect that takes its time: the log tells whenever it happens."""
    effects.write("begin", step.idempotency_key)
    time.sleep(seconds)
