"""A flow in a project that has tasks: in chains between them, and called by name.

In two terminals:

    celery -A examples.existing_project worker
    python -m examples.existing_project
"""

from celery import Celery, chain

from worchflow_celery import Event, Step, Worchflow

app = Celery("examples.existing_project")
app.config_from_object("celeryconfig")
app.conf.update(result_backend=app.conf.broker_url)  # as the project has it for its tasks
worchflow = Worchflow(app)


@app.task
def load_order(number: int) -> dict[str, int]:
    return {"number": number, "amount": number * 10}


@worchflow.flow("fulfil-order", ignore_result=False)
def fulfil_order(event: Event[dict[str, int]], step: Step) -> str:
    number, amount = event.data["number"], event.data["amount"]
    step.run("Reserve stock", print, f"reserved for order {number}")
    step.run("Charge", print, f"charged {amount}")
    return f"order {number} is paid"


@app.task(ignore_result=False)
def notify(text: str) -> str:
    return f"dear customer, {text}"


def main() -> None:
    # The flow is durable inside the chain, too: after a crash the chain goes on from there.
    chained = chain(load_order.s(7), fulfil_order.s(), notify.s()).delay()
    print(f"chain: {chained.get(timeout=30)}")
    (execution,) = worchflow.find(flow="fulfil-order", limit=1)
    print(f"execution in the chain: {execution.status}")

    # A project without the library needs the flow's name only; the task id is the execution's.
    elsewhere = Celery("elsewhere", broker=app.conf.broker_url, backend=app.conf.broker_url)
    sent = elsewhere.send_task("fulfil-order", args=[{"number": 8, "amount": 80}])
    print(f"send_task: {sent.get(timeout=30)}")
    print(f"execution by name: {worchflow.get(sent.id).status}")


if __name__ == "__main__":
    main()
