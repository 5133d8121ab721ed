"""Limits: one export at a time per customer, four mails in any second, over all workers.

In two terminals:

    celery -A examples.limit_per_customer worker
    python -m examples.limit_per_customer
"""

import time
from itertools import pairwise

from celery import Celery

from worchflow_celery import Event, Execution, Step, Worchflow

app = Celery("examples.limit_per_customer")
app.config_from_object("celeryconfig")
worchflow = Worchflow(app)


@worchflow.flow("export", concurrency=1, concurrency_key=lambda data: data["customer"])
def export(event: Event[dict[str, str]], step: Step) -> None:
    step.run("Write file", time.sleep, 0.3)


@worchflow.flow("send-mail", throttle=(4, 1))
def send_mail(event: Event[int], step: Step) -> None:
    step.run("Send", print, "mail", event.data)


def main() -> None:
    customers = ["ann", "ann", "ann", "bob"]
    exports = [export.send({"customer": customer}) for customer in customers]
    mails = [send_mail.send(number) for number in range(6)]
    for handle in [*exports, *mails]:
        handle.result(timeout=30)

    of_ann = [handle.get() for handle in exports[:3]]
    print("ann's exports ran one after the other:", not overlap(of_ann))
    print("bob did not wait for ann:", exports[3].get().finished_at < of_ann[2].started_at)
    begun = sorted(handle.get().started_at for handle in mails)
    print(f"the fifth mail began {(begun[4] - begun[0]).total_seconds():.0f} s after the first")


def overlap(executions: list[Execution]) -> bool:
    ordered = sorted(executions, key=lambda one: one.started_at)
    return any(two.started_at < one.finished_at for one, two in pairwise(ordered))


if __name__ == "__main__":
    main()
