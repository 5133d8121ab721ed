"""A payment in three steps, each of which runs once, whatever crashes.

In two terminals:

    celery -A examples.quickstart.flows worker
    python -m examples.quickstart.send
"""

from celery import Celery
from pydantic import BaseModel

from worchflow_celery import Event, Step, Worchflow

app = Celery("quickstart")
app.config_from_object("celeryconfig")
worchflow = Worchflow(app)


class Payment(BaseModel):
    amount: int
    customer_id: str


class Charge(BaseModel):
    id: str
    amount: int


@worchflow.flow("process-payment", retries=3)
def process_payment(event: Event[Payment], step: Step) -> Charge:
    payment = step.run("Validate payment", validate, event.data)
    charge = step.run("Charge card", lambda: charge_card(payment, step.idempotency_key))
    step.run("Send receipt", send_receipt, charge)
    return charge


def validate(payment: Payment) -> Payment:
    if payment.amount <= 0:
        raise ValueError("a payment needs an amount")
    return payment


def charge_card(payment: Payment, key: str) -> Charge:
    print(f"charging {payment.amount} to {payment.customer_id}, once for the key {key}")
    return Charge(id=f"ch_{payment.customer_id}", amount=payment.amount)


def send_receipt(charge: Charge) -> None:
    print(f"the receipt for {charge.id} is on its way")
