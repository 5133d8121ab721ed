"""`schedules …`: what runs by the clock, and what did not."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from worchflow_celery import cron
from worchflow_celery.cli import wording
from worchflow_celery.cli.changing import audit
from worchflow_celery.cli.group import Commands, Session, with_session, worchflow
from worchflow_celery.cli.listing import short
from worchflow_celery.cli.options import Moment, limit
from worchflow_celery.cli.output import Column
from worchflow_celery.clock import utcnow
from worchflow_celery.errors import ScheduleNotFound
from worchflow_celery.models import Schedule, Window

_MISSED = {"missed-ran", "missed-skipped"}
_NEXT = 10
#: A colour for each thing that can become of a window.
_COLOURS = {"fired": "green", "missed-ran": "yellow", "missed-skipped": "red"}


@worchflow.group("schedules", cls=Commands, invoke_without_command=True)
@click.pass_context
def schedules(ctx: click.Context) -> None:
    """See and steer the schedules of this app's flows."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(ls, as_json=False)


@schedules.command("ls")
@with_session
def ls(session: Session) -> None:
    """List the schedules."""
    now = utcnow()
    session.out.list(
        session.worchflow.schedules(),
        [
            Column("FLOW", lambda one: one.id),
            Column("CRON", lambda one: one.cron),
            Column("ZONE", lambda one: one.timezone),
            Column("NEXT", lambda s: _next(s, now), lambda s: wording.moment(s.next_run)),
            Column("LAST", lambda s: _last(s.last_run, now), lambda s: wording.moment(s.last_run)),
            Column("STATE", _state, colour=lambda one: "yellow" if one.paused else None),
        ],
        empty="no flow of this app has a schedule",
    )


@schedules.command("show")
@click.argument("flow")
@limit
@with_session
def show(session: Session, flow: str, limit: int) -> None:
    """Show a schedule: its next times, and what became of its last windows."""
    schedule = _schedule(session, flow)
    windows = session.worchflow.windows(flow, limit)
    times = _times(schedule)
    out = session.out
    if out.as_json:
        out.value({"schedule": schedule, "next_runs": times, "windows": windows})
        return
    out.line(f"{schedule.id}  {schedule.cron}  {schedule.timezone}  {_state(schedule)}")
    for one in times:
        out.line(f"next  {wording.moment(one)}")
    if windows:
        out.line()
        out.list(windows, _window_columns(), empty="")


@schedules.command("missed")
@click.argument("flow", required=False)
@click.option("--since", type=Moment(), default="7d", show_default=True, help="Due since.")
@limit
@with_session
def missed(session: Session, flow: str | None, since: datetime, limit: int) -> None:
    """List missed windows with what became of them, and why."""
    known = [_schedule(session, flow)] if flow else session.worchflow.schedules()
    found = [
        window
        for schedule in known
        for window in session.worchflow.windows(schedule.id, 1000)
        if window.outcome in _MISSED and window.scheduled_for >= since
    ]
    found.sort(key=lambda window: window.scheduled_for, reverse=True)
    columns = [Column[Window]("FLOW", lambda window: window.flow), *_window_columns()]
    session.out.list(found[:limit], columns, empty="no window was missed")


@schedules.command("pause")
@click.argument("flow")
@with_session
def pause(session: Session, flow: str) -> None:
    """Stop firing a flow, until it is resumed."""
    session.worchflow.pause_schedule(flow)
    audit(session, "pause-schedule", flow)
    _tell(session, flow)


@schedules.command("resume")
@click.argument("flow")
@with_session
def resume(session: Session, flow: str) -> None:
    """Fire a flow again, from now on."""
    session.worchflow.resume_schedule(flow)
    audit(session, "resume-schedule", flow)
    _tell(session, flow)


@schedules.command("trigger")
@click.argument("flow")
@with_session
def trigger(session: Session, flow: str) -> None:
    """Start a scheduled flow now, beside its windows."""
    handle = session.worchflow.trigger_schedule(flow)
    audit(session, "trigger-schedule", flow)
    if session.out.as_json:
        session.out.value({"id": handle.id, "flow": flow, "status": handle.status})
    else:
        session.out.line(handle.id)


def _tell(session: Session, flow: str) -> None:
    schedule = _schedule(session, flow)
    if session.out.as_json:
        session.out.value(schedule)
    else:
        session.out.line(f"{schedule.id}\t{_state(schedule)}")


def _schedule(session: Session, flow: str) -> Schedule:
    for schedule in session.worchflow.schedules():
        if schedule.id == flow:
            return schedule
    raise ScheduleNotFound(f"flow {flow!r:.80} has no schedule in this app")


def _times(schedule: Schedule) -> list[datetime]:
    if schedule.paused:
        return []
    times: list[datetime] = []
    while len(times) < _NEXT:
        after = times[-1] if times else utcnow()
        times.append(cron.next_run(schedule.cron, after, schedule.timezone))
    return times


def _next(schedule: Schedule, now: datetime) -> str:
    return "" if schedule.next_run is None else wording.age(schedule.next_run, now)


def _last(moment: datetime | None, now: datetime) -> str:
    age = wording.age(moment, now)
    return f"{age} ago" if age and age != "now" else age


def _state(schedule: Schedule) -> str:
    return "paused" if schedule.paused else "active"


def _window_columns() -> list[Column[Window]]:
    full: Callable[[Window], Any] = lambda window: window.execution_id or ""  # noqa: E731
    return [
        Column("WINDOW", lambda window: wording.moment(window.scheduled_for)),
        Column("LATE", _late, right=True),
        Column("OUTCOME", lambda w: w.outcome, colour=lambda w: _COLOURS.get(w.outcome)),
        Column("EXECUTION", lambda window: short(window.execution_id or ""), full),
        Column("REASON", lambda window: window.reason or ""),
    ]


def _late(window: Window) -> str:
    return wording.duration(max(0.0, (window.fired_at - window.scheduled_for).total_seconds()))
