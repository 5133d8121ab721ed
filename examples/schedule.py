"""Schedules: a flow that is due every two seconds, paused, triggered, and what became of it.

In three terminals:

    celery -A examples.schedule beat -S worchflow
    celery -A examples.schedule worker
    python -m examples.schedule

Start several beats: one of them leads, and each window still starts once.
"""

import time

from celery import Celery

from worchflow_celery import Event, Step, Worchflow, signals

app = Celery("examples.schedule")
app.config_from_object("celeryconfig")
worchflow = Worchflow(app)

EVERY_TWO_SECONDS = "*/2 * * * * *"  # six fields: the first one is the second


@worchflow.flow("take-reading", cron=EVERY_TWO_SECONDS, missed="skip", overlap="skip")
def take_reading(event: Event[None], step: Step) -> int:
    return step.run("Read", lambda: 21)


@worchflow.flow("daily-report", cron="0 6 * * MON-FRI", timezone="Europe/Berlin")
def daily_report(event: Event[None], step: Step) -> str:
    return step.run("Write", lambda: "all is well")


@signals.schedule_missed.connect  # in beat: after a time without any
def tell(flow: str = "", missed_count: int = 0, **_: object) -> None:
    print(f"{flow}: {missed_count} windows missed")


def main() -> None:
    for schedule in worchflow.schedules():
        print(f"{schedule.id}: {schedule.cron} in {schedule.timezone}")
    while not (ran := [w for w in worchflow.windows("take-reading") if w.execution_id]):
        time.sleep(0.2)  # until the next even second, if a beat runs
    print(
        f"{ran[0].flow} {ran[0].outcome} on an even second: {ran[0].scheduled_for.second % 2 == 0}"
    )
    print("read", worchflow.handle(str(ran[0].execution_id)).result(timeout=30))
    worchflow.pause_schedule("take-reading")
    print("paused:", [one.id for one in worchflow.schedules() if one.paused])
    worchflow.resume_schedule("take-reading")
    print(worchflow.trigger_schedule("daily-report").result(timeout=30))


if __name__ == "__main__":
    main()
