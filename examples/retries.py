"""Retries: of a flow, of a single step, no sooner than told, and none where they are useless.

In two terminals:

    celery -A examples.retries worker
    python -m examples.retries
"""

from celery import Celery

from worchflow_celery import Event, Step, Worchflow
from worchflow_celery.errors import ExecutionFailed, NonRetriableError, RetryAfter

app = Celery("examples.retries")
app.config_from_object("celeryconfig")
worchflow = Worchflow(app)


# At most four attempts, 0.2 s, 0.4 s and 0.8 s after one another.
@worchflow.flow(
    "deliver-parcel", retries=3, retry_delay=0.2, retry_backoff=True, retry_jitter=False
)
def deliver(event: Event[str], step: Step) -> str:
    label = step.run("Print label", print_label, event.data)  # printed in the first attempt only
    if event.attempt == 1:
        raise ConnectionError("the carrier does not answer")
    if event.attempt == 2:
        raise RetryAfter(0.5, "the carrier asks to wait half a second")
    # The retries of a step are made inside its attempt.
    pickup = step.run("Book pickup", book_pickup, step, retries=2, retry_delay=0.1)
    return f"{label}, {pickup}"


def print_label(address: str) -> str:
    if address == "nowhere":
        raise NonRetriableError("no such address")  # another attempt would not find it either
    return f"parcel for {address}"


def book_pickup(step: Step) -> str:
    if step.attempt < 3:
        raise ConnectionError("the line is busy")
    return f"pickup booked in run {step.attempt} of the step"


def main() -> None:
    parcel = deliver.send("1 Main Street")
    print(f"result: {parcel.result(timeout=30)}")
    for attempt in parcel.get().attempts:
        reason = f", {attempt.error.message}" if attempt.error else ""
        print(f"attempt {attempt.number}: {attempt.outcome}{reason}")
    try:
        deliver.send("nowhere").result(timeout=30)
    except ExecutionFailed as error:
        print(f"failed: {error}")


if __name__ == "__main__":
    main()
