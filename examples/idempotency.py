"""Nothing happens twice: ids for who sends, `step.idempotency_key` for who is called.

In two terminals:

    celery -A examples.idempotency worker
    python -m examples.idempotency
"""

from uuid import uuid4

from celery import Celery

from worchflow_celery import Event, Step, Worchflow
from worchflow_celery.errors import ExecutionConflict

app = Celery("examples.idempotency")
app.config_from_object("celeryconfig")
worchflow = Worchflow(app)

#: A payment provider as they are: for a key that it knows it gives the answer of the first call.
PROVIDER: dict[str, int] = {}


@worchflow.flow("charge-order")
def charge_order(event: Event[int], step: Step) -> str:
    return step.run("Charge", charge, event.data, step, retries=1, retry_delay=0.1)


def charge(amount: int, step: Step) -> str:
    key = step.idempotency_key  # of this step in this execution, the same in each of its runs
    PROVIDER.setdefault(key, amount)
    if step.attempt == 1:
        raise ConnectionError("charged, but the answer was lost")
    charges = [known for known in PROVIDER if known == key]
    return f"called {step.attempt} times, charged {len(charges)} time, key {key}"


def main() -> None:
    order = f"order-{uuid4().hex[:6]}"
    first = charge_order.send(1990, id=order)
    again = charge_order.send(1990, id=order)  # a double click, a repeated request, a retry
    print(f"the same execution: {first == again}")
    try:
        charge_order.send(2, id=order)
    except ExecutionConflict as error:
        print(f"refused: {error}")
    print(f"result: {first.result(timeout=30)}")


if __name__ == "__main__":
    main()
