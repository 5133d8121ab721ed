"""What a scheduler tells of schedules: which signals, once each, with which arguments."""

from datetime import timedelta

from tests.integration.schedules import Clockwork, heard
from worchflow_celery import Worchflow, cron, signals

HOUR = timedelta(hours=1)


def test_a_new_schedule_is_told_with_its_next_run(
    clockwork: Clockwork, worchflow: Worchflow
) -> None:
    clockwork.flow("report", cron="30 4 * * *", timezone="Europe/Berlin")

    with heard(signals.schedule_registered, worchflow) as calls:
        clockwork.open()
        clockwork.open()

    next_run = cron.next_run("30 4 * * *", clockwork.now(), "Europe/Berlin")
    assert calls == [
        {"sender": worchflow, "flow": "report", "cron": "30 4 * * *", "next_run": next_run}
    ]


def test_missed_windows_are_told_once_with_the_newest_and_their_number(
    clockwork: Clockwork, worchflow: Worchflow
) -> None:
    clockwork.flow("report", cron="0 * * * *")
    timetable = clockwork.gap("report", 3 * HOUR)

    with heard(signals.schedule_missed, worchflow) as calls:
        timetable.fire_due()
        timetable.fire_due()

    (window, *_) = clockwork.windows("report")
    assert calls == [
        {
            "sender": worchflow,
            "flow": "report",
            "scheduled_for": clockwork.last_hour(),
            "missed_count": 3,
            "triggered_at": window.fired_at,
        }
    ]


def test_skipped_windows_are_told_as_missed_and_not_as_triggered(
    clockwork: Clockwork, worchflow: Worchflow
) -> None:
    clockwork.flow("report", cron="0 * * * *", missed="skip")
    timetable = clockwork.gap("report", 3 * HOUR)

    with (
        heard(signals.schedule_missed, worchflow) as missed,
        heard(signals.schedule_triggered, worchflow) as triggered,
    ):
        timetable.fire_due()

    assert [call["missed_count"] for call in missed] == [3]
    assert triggered == []


def test_a_missed_window_that_runs_is_told_with_its_execution(
    clockwork: Clockwork, worchflow: Worchflow
) -> None:
    clockwork.flow("report", cron="0 * * * *")
    timetable = clockwork.gap("report", 3 * HOUR)

    with heard(signals.schedule_triggered, worchflow) as calls:
        timetable.fire_due()

    hour = clockwork.last_hour()
    assert calls == [
        {
            "sender": worchflow,
            "flow": "report",
            "execution_id": f"cron:report@{hour:%Y-%m-%dT%H:%M:%SZ}",
            "scheduled_for": hour,
            "is_missed": True,
        }
    ]


def test_a_window_that_is_fired_in_time_is_not_told_as_missed(
    clockwork: Clockwork, worchflow: Worchflow
) -> None:
    clockwork.flow("tick", cron="* * * * * *")
    timetable = clockwork.open()

    with (
        heard(signals.schedule_missed, worchflow) as missed,
        heard(signals.schedule_triggered, worchflow) as triggered,
    ):
        clockwork.until(timetable, lambda: len(triggered) >= 2)

    assert {call["is_missed"] for call in triggered} == {False}
    assert missed == []


def test_an_execution_that_another_leader_started_is_not_told(
    clockwork: Clockwork, worchflow: Worchflow
) -> None:
    clockwork.flow("report", cron="0 * * * *")
    timetable = clockwork.gap("report", HOUR)
    clockwork.open().fire_due()

    with heard(signals.schedule_triggered, worchflow) as calls:
        timetable.fire_due()

    assert calls == []


def test_a_receiver_that_raises_changes_nothing(clockwork: Clockwork, worchflow: Worchflow) -> None:
    clockwork.flow("report", cron="0 * * * *")
    timetable = clockwork.gap("report", HOUR)

    def fail(**_: object) -> None:
        raise RuntimeError("not my day")

    signals.schedule_missed.connect(fail, weak=False)
    try:
        timetable.fire_due()
    finally:
        signals.schedule_missed.disconnect(fail)

    assert len(clockwork.executions("report")) == 1
