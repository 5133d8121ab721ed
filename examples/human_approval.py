"""A person decides: the execution waits for days and holds no worker meanwhile.

In two terminals:

    celery -A examples.human_approval worker
    python -m examples.human_approval
"""

import time
from datetime import timedelta

from celery import Celery
from pydantic import BaseModel

from worchflow_celery import Event, ExecutionStatus, Step, Worchflow

app = Celery("examples.human_approval")
app.config_from_object("celeryconfig")
worchflow = Worchflow(app)


class Decision(BaseModel):
    approved: bool
    by: str


@worchflow.flow("expense")
def expense(event: Event[int], step: Step) -> str:
    step.run("Ask", print, f"please decide on {event.data}: {event.id}")
    # A decision that comes before this line is kept, and one that is none is refused here.
    decision = step.wait_for_signal("decision", timeout=timedelta(days=3), type=Decision)
    if decision is None:
        return "nobody has decided in three days"
    if not decision.approved:
        return f"refused by {decision.by}"
    step.run("Pay", print, f"paid {event.data}")
    return f"paid, approved by {decision.by}"


def main() -> None:
    asked = [expense.send(120), expense.send(99_000)]
    while any(one.status != ExecutionStatus.WAITING for one in asked):
        time.sleep(0.1)
    print("both wait, and no worker does")
    # From a web application, for example, which knows nothing but the id.
    worchflow.signal(asked[0].id, "decision", {"approved": True, "by": "accounting"})
    asked[1].signal("decision", {"approved": False, "by": "accounting"})
    for one in asked:
        print(one.result(timeout=30))


if __name__ == "__main__":
    main()
