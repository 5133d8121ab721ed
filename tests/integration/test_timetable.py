"""What becomes of windows: fired, missed, skipped, each decided once."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from celery import Celery

from tests.integration.schedules import Clockwork, at_once
from tests.support import Bench, deliver
from worchflow_celery import Worchflow, dispatch
from worchflow_celery.models import Window

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


@pytest.fixture
def deployed(bench: Bench) -> Iterator[Clockwork]:
    """Other code over the same schedules, as after a deployment."""
    app = bench.celery()
    bound = bench.bind(app)
    yield Clockwork(bench, bound)
    bound.close()
    app.close()


def test_a_flow_that_was_never_seen_before_has_no_past(clockwork: Clockwork) -> None:
    clockwork.flow("report", cron="* * * * *", missed="all")

    clockwork.open().fire_due()

    assert clockwork.windows("report") == []


def test_windows_are_fired_one_after_the_other_each_once(clockwork: Clockwork) -> None:
    clockwork.flow("tick", cron="* * * * * *")
    timetable = clockwork.open()

    clockwork.until(timetable, lambda: len(clockwork.windows("tick")) >= 3)

    times = [window.scheduled_for for window in clockwork.windows("tick")]
    assert times == [times[0] - number * SECOND for number in range(len(times))]
    assert clockwork.executions("tick") == times
    assert set(clockwork.outcomes("tick")) == {"fired"}


def test_an_execution_knows_its_window(clockwork: Clockwork, worchflow: Worchflow) -> None:
    clockwork.flow("report", cron="0 * * * *")

    clockwork.gap("report", HOUR).fire_due()

    hour = clockwork.last_hour()
    execution = worchflow.get(f"cron:report@{hour:%Y-%m-%dT%H:%M:%SZ}")
    assert execution.scheduled_for == hour
    assert execution.data is None
    assert (execution.trigger.kind, execution.trigger.ref) == ("missed", "0 * * * *")


def test_executions_of_windows_run_like_all_others_the_oldest_first(
    clockwork: Clockwork, celery_app: Celery
) -> None:
    events = clockwork.flow("report", cron="0 * * * *", missed="all")

    clockwork.gap("report", 3 * HOUR).fire_due()
    deliver(celery_app)

    windows = clockwork.windows("report")
    assert [event.id for event in events] == [window.execution_id for window in windows][::-1]


def test_a_flow_s_queue_and_priority_are_its_windows_too(
    clockwork: Clockwork, celery_app: Celery, bench: Bench
) -> None:
    events = clockwork.flow("report", cron="0 * * * *", queue=f"{bench.prefix}.own", priority=0)

    clockwork.gap("report", HOUR).fire_due()
    deliver(celery_app, f"{bench.prefix}.own")

    assert len(events) == 1


@pytest.mark.parametrize(
    ("policy", "outcomes"),
    [
        ("latest", ["missed-ran", "missed-skipped", "missed-skipped"]),
        ("all", ["missed-ran", "missed-ran", "missed-ran"]),
        ("skip", ["missed-skipped", "missed-skipped", "missed-skipped"]),
    ],
)
def test_missed_windows_are_caught_up_by_policy(
    clockwork: Clockwork, policy: str, outcomes: list[str]
) -> None:
    clockwork.flow("report", cron="0 * * * *", missed=policy)

    clockwork.gap("report", 3 * HOUR).fire_due()

    hour, runs = clockwork.last_hour(), outcomes.count("missed-ran")
    assert clockwork.outcomes("report") == outcomes
    assert clockwork.executions("report") == [hour - number * HOUR for number in range(runs)]


def test_what_was_caught_up_is_not_caught_up_again(clockwork: Clockwork) -> None:
    clockwork.flow("report", cron="0 * * * *", missed="all")
    clockwork.gap("report", 3 * HOUR).fire_due()

    clockwork.open().fire_due()

    assert len(clockwork.executions("report")) == 3


def test_of_many_missed_windows_the_newest_hundred_run(clockwork: Clockwork) -> None:
    clockwork.flow("report", cron="0 * * * *", missed="all")

    clockwork.gap("report", 150 * HOUR).fire_due()

    hour = clockwork.last_hour()
    reason = str(clockwork.windows("report")[0].reason)
    assert clockwork.executions("report") == [hour - number * HOUR for number in range(100)]
    assert "150 missed" in reason and "only the newest 100 run" in reason


def test_a_very_long_gap_costs_no_more_than_its_newest_windows(clockwork: Clockwork) -> None:
    clockwork.flow("tick", cron="* * * * * *", missed="skip")

    clockwork.gap("tick", timedelta(days=400)).fire_due()

    windows = clockwork.windows("tick")
    assert len(windows) == 100
    assert clockwork.now() - windows[0].scheduled_for < timedelta(seconds=30)
    assert "at least 10000 missed" in str(windows[0].reason)


def test_a_window_is_skipped_while_the_last_execution_has_not_ended(clockwork: Clockwork) -> None:
    clockwork.flow("slow", cron="* * * * * *", overlap="skip")
    timetable = clockwork.open()

    clockwork.until(timetable, lambda: len(clockwork.windows("slow")) >= 3)

    assert set(clockwork.outcomes("slow")[:-1]) == {"overlap-skipped"}
    assert len(clockwork.executions("slow")) == 1


def test_a_window_runs_when_the_last_execution_has_ended(
    clockwork: Clockwork, celery_app: Celery
) -> None:
    clockwork.flow("slow", cron="* * * * * *", overlap="skip")
    timetable = clockwork.gap("slow", SECOND)
    timetable.fire_due()

    deliver(celery_app)
    clockwork.until(timetable, lambda: len(clockwork.executions("slow")) >= 2)

    assert clockwork.outcomes("slow")[0] == "fired"


def test_of_windows_that_are_due_together_the_first_runs_alone(clockwork: Clockwork) -> None:
    clockwork.flow("slow", cron="0 * * * *", overlap="skip", missed="all")

    clockwork.gap("slow", 3 * HOUR).fire_due()

    assert clockwork.outcomes("slow") == ["overlap-skipped", "overlap-skipped", "missed-ran"]


def test_a_paused_flow_is_not_fired(clockwork: Clockwork, worchflow: Worchflow) -> None:
    clockwork.flow("report", cron="0 * * * *", missed="all")
    worchflow.pause_schedule("report")

    clockwork.gap("report", 3 * HOUR).fire_due()

    assert clockwork.windows("report") == []


def test_nothing_of_a_pause_is_caught_up(clockwork: Clockwork, worchflow: Worchflow) -> None:
    clockwork.flow("report", cron="0 * * * *", missed="all")
    worchflow.pause_schedule("report")
    timetable = clockwork.gap("report", 3 * HOUR)

    worchflow.resume_schedule("report")
    timetable.fire_due()
    clockwork.open().fire_due()

    assert clockwork.windows("report") == []


def test_to_resume_what_is_not_paused_loses_nothing(
    clockwork: Clockwork, worchflow: Worchflow
) -> None:
    clockwork.flow("report", cron="0 * * * *")
    timetable = clockwork.gap("report", HOUR)

    worchflow.resume_schedule("report")
    timetable.fire_due()

    assert len(clockwork.executions("report")) == 1


@pytest.mark.parametrize("change", [{"cron": "0 */2 * * *"}, {"timezone": "Asia/Tokyo"}])
def test_a_changed_expression_starts_from_now(
    clockwork: Clockwork, deployed: Clockwork, change: dict[str, str]
) -> None:
    clockwork.flow("report", cron="0 * * * *", missed="all")
    clockwork.gap("report", 3 * HOUR)

    deployed.flow("report", **{"cron": "0 * * * *", "missed": "all", **change})
    deployed.open().fire_due()

    assert clockwork.windows("report") == []


def test_a_removed_flow_is_forgotten(clockwork: Clockwork, deployed: Clockwork) -> None:
    clockwork.flow("report", cron="0 * * * *", missed="all")
    clockwork.gap("report", 3 * HOUR)

    deployed.open()
    clockwork.open().fire_due()

    assert clockwork.windows("report") == []


def test_what_a_leader_decided_before_it_died_is_done_by_the_next_one(
    clockwork: Clockwork, worchflow: Worchflow
) -> None:
    clockwork.flow("report", cron="0 * * * *", missed="skip")
    timetable = clockwork.gap("report", HOUR)
    worchflow.runtime.store.schedules.decide([fired("report", clockwork)])

    timetable.fire_due()

    assert clockwork.outcomes("report") == ["fired"]
    assert clockwork.executions("report") == [clockwork.last_hour()]


def test_what_a_leader_started_before_it_died_is_not_started_again(
    clockwork: Clockwork, worchflow: Worchflow, bench: Bench
) -> None:
    clockwork.flow("report", cron="0 * * * *")
    timetable = clockwork.gap("report", HOUR)
    window = fired("report", clockwork)
    worchflow.runtime.store.schedules.decide([window])
    dispatch.send_many(worchflow.runtime, [request(worchflow, window)])

    timetable.fire_due()

    assert bench.messages() == 1
    assert worchflow.schedules()[0].last_run == window.scheduled_for


def test_two_timetables_at_once_double_nothing(clockwork: Clockwork, bench: Bench) -> None:
    flows = [f"flow{number}" for number in range(4)]
    for flow in flows:
        clockwork.flow(flow, cron="0 * * * *", missed="all")
    for flow in flows:
        clockwork.gap(flow, 100 * HOUR)

    at_once([clockwork.open(), clockwork.open()])

    assert [len(clockwork.executions(flow)) for flow in flows] == [100] * 4
    assert bench.messages() == 400


def test_two_timetables_with_different_policies_agree_on_each_window(
    clockwork: Clockwork, deployed: Clockwork
) -> None:
    clockwork.flow("report", cron="0 * * * *", missed="all")
    deployed.flow("report", cron="0 * * * *", missed="skip")

    at_once([clockwork.gap("report", 100 * HOUR), deployed.open()])

    run = [w.scheduled_for for w in clockwork.windows("report") if w.execution_id is not None]
    assert clockwork.executions("report") == run


def fired(flow: str, clockwork: Clockwork) -> Window:
    """What a leader would have decided on the last full hour."""
    hour = clockwork.last_hour()
    execution_id = f"cron:{flow}@{hour:%Y-%m-%dT%H:%M:%SZ}"
    return Window(
        flow=flow, scheduled_for=hour, fired_at=hour, outcome="fired", execution_id=execution_id
    )


def request(worchflow: Worchflow, window: Window) -> dispatch.Request:
    return dispatch.Request(
        flow=window.flow,
        data=worchflow.flows[window.flow].definition.encode(None, 1024),
        queue=str(worchflow.app.main),
        id=window.execution_id,
        scheduled_for=window.scheduled_for,
    )
