"""Time limits: of one run of a step, and of one attempt of a flow; in sync code as well.

In two terminals:

    celery -A examples.timeouts worker
    python -m examples.timeouts
"""

import time

from celery import Celery

from worchflow_celery import Event, Step, Worchflow

app = Celery("examples.timeouts")
app.config_from_object("celeryconfig")
worchflow = Worchflow(app)


@worchflow.flow("make-report", timeout=2, retries=1, retry_delay=0.1)
def make_report(event: Event[None], step: Step) -> str:
    # A run that takes longer than half a second is ended with StepTimeout, and tried again.
    rows = step.run("Download", download, step, timeout=0.5, retries=1, retry_delay=0.1)
    if event.attempt == 1:
        work_for(60)  # ended with ExecutionTimeout two seconds after the attempt began
    return f"{rows} rows, in attempt {event.attempt}"


def download(step: Step) -> int:
    if step.attempt == 1:
        work_for(60)
    return 42


def work_for(seconds: float) -> None:
    """Python code is ended where it is; a call into C, such as a sleep, when it returns."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)


def main() -> None:
    report = make_report.send()
    print(f"result: {report.result(timeout=30)}")
    for attempt in report.get().attempts:
        reason = f", {attempt.error.message}" if attempt.error else ""
        print(f"attempt {attempt.number}: {attempt.outcome}{reason}")
    for step in worchflow.steps(report.id):
        print(f"step {step.name}: {step.status} in run {step.attempt}")


if __name__ == "__main__":
    main()
