"""Schedules as a user declares, reads, pauses and triggers them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import pytest
from celery import Celery
from pydantic import BaseModel, BeforeValidator

from tests.integration.schedules import Clockwork
from tests.support import Bench, deliver
from worchflow_celery import Event, Worchflow, cron
from worchflow_celery.errors import CorruptDocument, InvalidOption, ScheduleNotFound

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"cron": "61 * * * *"}, "61 * * * *"),
        ({"cron": "* * * *"}, "* * * *"),
        ({"cron": ""}, "''"),
        ({"cron": "0 0 31 2 *"}, "0 0 31 2 *"),
        ({"cron": "@reboot"}, "@reboot"),
        ({"cron": 5}, "5"),
        ({"cron": "* * * * *", "timezone": "Mars/Base"}, "Mars/Base"),
        ({"cron": "* * * * *", "timezone": None}, "None"),
        ({"cron": "* * * * *", "missed": "some"}, "some"),
        ({"cron": "* * * * *", "overlap": "queue"}, "queue"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_at_decoration(
    worchflow: Worchflow, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError) as refused:
        worchflow.flow("report", **options)(lambda event: None)

    assert isinstance(refused.value, InvalidOption)
    assert named in str(refused.value)
    assert "report" not in worchflow.flows


@pytest.mark.parametrize(
    "options",
    [{"cron": "61 * * * *"}, {"cron": "0 0 31 2 *"}, {"cron": "@daily", "timezone": "Mars/Base"}],
)
def test_a_refusal_names_the_flow(worchflow: Worchflow, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="report"):
        worchflow.flow("report", **options)(lambda event: None)


def test_an_expression_that_looks_like_a_slip_is_told_at_decoration_with_its_next_runs(
    worchflow: Worchflow, caplog: pytest.LogCaptureFixture
) -> None:
    worchflow.flow("report", cron="0 0 1 1/12 *")(lambda event: None)

    assert "Flow 'report': cron is '0 0 1 1/12 *': the step of '1/12' in the month" in caplog.text
    assert f"the next runs are {cron.next_run('@yearly'):%Y-%m-%dT%H:%M:%SZ}, " in caplog.text


def test_a_scheduler_logs_what_a_new_schedule_means(
    clockwork: Clockwork, caplog: pytest.LogCaptureFixture
) -> None:
    clockwork.flow("report", cron="0 30 4 * * *", timezone="Europe/Berlin")

    with caplog.at_level("INFO", logger="worchflow_celery"):
        clockwork.open()

    next_run = cron.next_run("30 4 * * *", clockwork.now(), "Europe/Berlin")
    line = f"Flow report is due at '0 30 4 * * *' in Europe/Berlin: next at {next_run}"
    assert caplog.messages.count(line) == 1


class Order(BaseModel):
    amount: int


def fastidious(data: object) -> object:
    raise ConnectionError("this validator asks a server")


def handler(annotation: object) -> Callable[[Any], None]:
    def handle(event: Any) -> None: ...

    handle.__annotations__["event"] = annotation
    return handle


@pytest.mark.parametrize(
    "annotation", [Event[int], Event[Order], Event[dict[str, Any]], "Event[int]"]
)
def test_a_scheduled_flow_whose_event_refuses_none_is_refused_at_decoration(
    worchflow: Worchflow, annotation: object
) -> None:
    with pytest.raises(InvalidOption, match=r"'report'.*annotate Event\[None\]"):
        worchflow.flow("report", cron="@daily")(handler(annotation))

    assert "report" not in worchflow.flows


@pytest.mark.parametrize(
    "annotation",
    [
        Event[None],
        Event[Order | None],
        Event[Any],
        Event,
        Any,
        "Event[DefinedLater]",
        Event[Annotated[Order, BeforeValidator(lambda data: data or Order(amount=0))]],
        Event[Annotated[int, BeforeValidator(fastidious)]],
    ],
)
def test_a_scheduled_flow_whose_event_takes_none_or_is_not_known_yet_is_taken(
    worchflow: Worchflow, annotation: object
) -> None:
    worchflow.flow("report", cron="@daily")(handler(annotation))

    assert "report" in worchflow.flows


def test_a_flow_without_a_schedule_may_refuse_none(worchflow: Worchflow) -> None:
    worchflow.flow("report")(handler(Event[int]))

    assert "report" in worchflow.flows


def test_a_scheduled_flow_s_id_leaves_room_for_the_window(worchflow: Worchflow) -> None:
    worchflow.flow("f" * 200)(lambda event: None)
    worchflow.flow("g" * 174, cron="@daily")(lambda event: None)

    with pytest.raises(InvalidOption, match="174"):
        worchflow.flow("h" * 175, cron="@daily")(lambda event: None)


def test_schedules_are_listed_by_id_before_any_scheduler_has_seen_them(
    clockwork: Clockwork, worchflow: Worchflow
) -> None:
    clockwork.flow("report", cron="30 4 * * *", timezone="Europe/Berlin")
    clockwork.flow("backup", cron="@hourly")
    clockwork.flow("by-hand")

    backup, report = worchflow.schedules()

    now = clockwork.now()
    assert (backup.id, backup.cron, backup.timezone) == ("backup", "@hourly", "UTC")
    assert report.next_run == cron.next_run("30 4 * * *", now, "Europe/Berlin")
    assert (report.last_run, report.paused) == (None, False)


def test_the_last_run_of_a_schedule_is_the_last_window_that_ran(
    clockwork: Clockwork, worchflow: Worchflow
) -> None:
    clockwork.flow("report", cron="0 * * * *", missed="latest")
    clockwork.flow("skipped", cron="0 * * * *", missed="skip")

    clockwork.gap("report", 3 * HOUR).fire_due()
    clockwork.gap("skipped", 3 * HOUR).fire_due()

    report, skipped = worchflow.schedules()
    assert report.last_run == clockwork.last_hour()
    assert skipped.last_run is None


def test_a_paused_schedule_has_no_next_run(clockwork: Clockwork, worchflow: Worchflow) -> None:
    clockwork.flow("report", cron="0 * * * *")

    worchflow.pause_schedule("report")

    (report,) = worchflow.schedules()
    assert (report.paused, report.next_run) == (True, None)


def test_a_pause_survives_a_new_expression_and_a_new_scheduler(
    clockwork: Clockwork, worchflow: Worchflow, bench: Bench
) -> None:
    clockwork.flow("report", cron="0 * * * *")
    clockwork.open()
    worchflow.pause_schedule("report")
    app = bench.celery()
    changed = Clockwork(bench, bench.bind(app))
    changed.flow("report", cron="30 * * * *")

    changed.open()

    (report,) = changed.worchflow.schedules()
    assert report.paused
    changed.worchflow.close()
    app.close()


def test_a_resumed_schedule_goes_on(clockwork: Clockwork, worchflow: Worchflow) -> None:
    clockwork.flow("tick", cron="* * * * * *")
    worchflow.pause_schedule("tick")
    timetable = clockwork.open()

    worchflow.resume_schedule("tick")
    clockwork.until(timetable, lambda: clockwork.executions("tick"))

    assert clockwork.outcomes("tick")[0] == "fired"


def test_a_triggered_flow_runs_now_and_beside_its_windows(
    clockwork: Clockwork, worchflow: Worchflow, celery_app: Celery
) -> None:
    events = clockwork.flow("report", cron="@yearly")

    handle = worchflow.trigger_schedule("report")
    deliver(celery_app)

    assert [event.id for event in events] == [handle.id]
    assert handle.get().scheduled_for is None
    assert clockwork.windows("report") == []


def test_a_paused_flow_can_be_triggered(
    clockwork: Clockwork, worchflow: Worchflow, celery_app: Celery
) -> None:
    events = clockwork.flow("report", cron="@yearly")
    worchflow.pause_schedule("report")

    worchflow.trigger_schedule("report")
    deliver(celery_app)

    assert len(events) == 1


@pytest.mark.parametrize("call", ["pause_schedule", "resume_schedule", "trigger_schedule"])
@pytest.mark.parametrize("flow", ["by-hand", "unknown"])
def test_a_flow_without_a_schedule_is_not_found(
    clockwork: Clockwork, worchflow: Worchflow, call: str, flow: str
) -> None:
    clockwork.flow("by-hand")

    with pytest.raises(LookupError, match=flow) as missing:
        getattr(worchflow, call)(flow)

    assert isinstance(missing.value, ScheduleNotFound)


def test_windows_come_newest_first_and_no_more_than_asked_for(
    clockwork: Clockwork, worchflow: Worchflow
) -> None:
    clockwork.flow("report", cron="0 * * * *", missed="all")
    clockwork.gap("report", 5 * HOUR).fire_due()

    windows = worchflow.windows("report", limit=2)

    hour = clockwork.last_hour()
    assert [window.scheduled_for for window in windows] == [hour, hour - HOUR]


def test_a_window_tells_what_became_of_it_and_why(
    clockwork: Clockwork, worchflow: Worchflow
) -> None:
    clockwork.flow("report", cron="0 * * * *")
    before = clockwork.now()
    clockwork.gap("report", 2 * HOUR).fire_due()

    newest, older = worchflow.windows("report")

    assert newest.execution_id == f"cron:report@{clockwork.last_hour():%Y-%m-%dT%H:%M:%SZ}"
    assert (newest.flow, newest.outcome) == ("report", "missed-ran")
    assert before <= newest.fired_at <= clockwork.now()
    assert (older.outcome, older.execution_id) == ("missed-skipped", None)
    assert "no leader fired it; 2 missed since" in str(older.reason)


@pytest.mark.parametrize("limit", [0, -1, 1001, True, "5", None])
def test_a_number_of_windows_that_cannot_be_is_refused(worchflow: Worchflow, limit: Any) -> None:
    with pytest.raises(InvalidOption, match="limit"):
        worchflow.windows("report", limit)


@pytest.mark.parametrize("flow", ["", {"$gt": ""}, "a b", None])
def test_a_flow_id_that_cannot_be_has_no_windows(worchflow: Worchflow, flow: Any) -> None:
    with pytest.raises(InvalidOption, match="flow id"):
        worchflow.windows(flow)


def test_a_window_that_cannot_be_read_is_named(
    clockwork: Clockwork, worchflow: Worchflow, bench: Bench
) -> None:
    clockwork.flow("report", cron="0 * * * *")
    clockwork.gap("report", HOUR).fire_due()
    bench.collection("windows").update_one({}, {"$set": {"fired_at": "noon"}})

    with pytest.raises(CorruptDocument, match="report@"):
        worchflow.windows("report")


def test_the_id_of_a_window_cannot_be_sent_by_hand(
    clockwork: Clockwork, worchflow: Worchflow
) -> None:
    clockwork.flow("report", cron="0 * * * *")

    with pytest.raises(InvalidOption, match="reserved"):
        worchflow.send("report", id=f"cron:report@{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
