"""A saga: money that was taken goes back when it cannot arrive; on_failure tells of it.

In two terminals:

    celery -A examples.money_transfer worker
    python -m examples.money_transfer
"""

from celery import Celery

from worchflow_celery import Event, Step, Worchflow
from worchflow_celery.errors import ExecutionFailed
from worchflow_celery.models import ErrorInfo

app = Celery("examples.money_transfer")
app.config_from_object("celeryconfig")
worchflow = Worchflow(app)


def withdraw(account: str, amount: int) -> str:
    return f"{amount} from {account}"


def deposit(account: str, amount: int) -> str:
    if account == "closed":
        raise ValueError("the account is closed")
    return f"{amount} to {account}"


def give_back(receipt: str) -> None:
    print(f"gave back {receipt}")


def apologise(event: Event[tuple[str, str, int]], error: ErrorInfo, step: Step) -> None:
    step.run("Apologise", print, f"dear {event.data[0]}, {error.message}")


# The newest step is undone first; a step that has not completed is not undone.
@worchflow.flow("transfer", on_failure=apologise)
def transfer(event: Event[tuple[str, str, int]], step: Step) -> None:
    giver, taker, amount = event.data
    step.run("Withdraw", withdraw, giver, amount, compensate=give_back)
    step.run("Charge fee", withdraw, giver, 1, compensate=give_back)
    step.run("Deposit", deposit, taker, amount)


def main() -> None:
    transfer.send(("ada", "ben", 50)).result(timeout=30)
    failed = transfer.send(("ada", "closed", 70))
    try:
        failed.result(timeout=30)
    except ExecutionFailed as error:
        print(f"failed: {error.error.message if error.error else ''}")
    print(f"compensated: {failed.get().compensated}")
    for record in worchflow.steps(failed.id):
        print(f"{record.kind} {record.name}: {record.status}")


if __name__ == "__main__":
    main()
