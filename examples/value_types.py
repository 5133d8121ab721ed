"""What steps can return: whatever it is, a later attempt reads the same value of the same type.

In two terminals:

    celery -A examples.value_types worker
    python -m examples.value_types
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from celery import Celery
from pydantic import BaseModel

from worchflow_celery import Event, Step, Worchflow

app = Celery("examples.value_types")
app.config_from_object("celeryconfig")
worchflow = Worchflow(app)


class Customer(BaseModel):
    id: UUID
    born: date


@dataclass
class Invoice:
    total: Decimal
    due: datetime
    customer: Customer


def make_invoice() -> Invoice:
    customer = Customer(id=uuid4(), born=date(1815, 12, 10))
    return Invoice(Decimal("19.90"), datetime.now(UTC), customer)


@worchflow.flow("make-invoice", retries=1, retry_delay=0)
def invoice(event: Event[None], step: Step) -> list[str]:
    bill = step.run("Make invoice", make_invoice)
    plain = step.run("Plain", lambda: {"number": 2**70, "pages": (1, 2), "tags": {"new"}})
    other = step.run("Other", lambda: [b"\x00\xff", timedelta(days=30), None])
    if event.attempt == 1:
        raise ConnectionError("from here on all of them are read from their checkpoints")
    return [repr(value) for value in (bill, plain, other)]


def main() -> None:
    for line in invoice.send().result(timeout=30):
        print(line)


if __name__ == "__main__":
    main()
