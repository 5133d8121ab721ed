"""`ls`, `flows`, `workers`, `errors`: what there is."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from worchflow_celery import dispatch
from worchflow_celery.cli import wording
from worchflow_celery.cli.group import Session, with_session, worchflow
from worchflow_celery.cli.options import Filters, Moment, filters, filters_of, limit
from worchflow_celery.cli.output import Column
from worchflow_celery.clock import utcnow
from worchflow_celery.flow import Flow
from worchflow_celery.models import Execution, Page
from worchflow_celery.observed import WorkerInfo


@worchflow.command("ls")
@filters
@limit
@click.option("--cursor", help="Where the page before ended.")
@with_session
def ls(session: Session, limit: int, cursor: str | None, **given: Any) -> None:
    """List executions, newest first."""
    wanted = filters_of(given)
    page = find(session, wanted, limit=limit, cursor=cursor)
    out, names = session.out, {}
    if not out.as_json:
        ids = [execution.id for execution in page if execution.attempt]
        names = session.worchflow.runtime.store.lookups.last_steps(ids)
    empty = "no execution matches" if wanted.given else "there are no executions"
    out.list(page, columns(session, names, utcnow()), empty=empty)
    if page.cursor:
        out.note(f"older ones: --cursor {page.cursor}")


def find(session: Session, wanted: Filters, *, limit: int, cursor: str | None = None) -> Page:
    """A page of executions.

    ``--where n=7`` finds the number; if there is none, the text.
    """
    page = session.find(**wanted.arguments(), limit=limit, cursor=cursor)
    if not page and wanted.where and wanted.arguments() != wanted.arguments(literal=True):
        page = session.find(**wanted.arguments(literal=True), limit=limit, cursor=cursor)
    return page


def columns(session: Session, steps: Mapping[str, str], now: datetime) -> list[Column[Execution]]:
    """How executions are listed; ``steps`` names the last one of each."""
    return [
        Column(
            "STATUS",
            lambda e: wording.status(wording.state(e)),
            lambda e: e.status,
            _colour,
            rigid=True,
        ),
        Column("FLOW", lambda e: e.flow),
        Column("STEP", lambda e: steps.get(e.id, "")),
        Column("TRY", lambda e: tries(session, e), lambda e: e.attempt, right=True, rigid=True),
        Column("AGE", lambda e: wording.age(e.created_at, now), _created, right=True, rigid=True),
        Column(
            "DURATION", lambda e: _ran(e, now), lambda e: _seconds(e, now), right=True, rigid=True
        ),
        Column("ID", lambda e: short(e.id), lambda e: e.id, rigid=True),
        Column("ERROR", lambda e: wording.error(e.error)),
    ]


def short(execution_id: str) -> str:
    """Random ids are cut to what names them; others say what they are for, and stay."""
    random = len(execution_id) == 36 and execution_id.count("-") == 4
    return execution_id[:8] if random else execution_id


def tries(session: Session, execution: Execution) -> str:
    """The attempt, and how many there may be."""
    known = session.worchflow.flows.get(execution.flow)
    most = f"/{known.definition.options.retries + 1}" if known else ""
    return f"{execution.attempt}{most}"


@worchflow.command()
@with_session
def flows(session: Session) -> None:
    """List the flows of this app."""
    found = [session.worchflow.flows[name] for name in sorted(session.worchflow.flows)]
    living = [worker.flows for worker in session.worchflow.workers()]
    rows = [
        {**described(flow), "workers": sum(flow.definition.id in known for known in living)}
        for flow in found
    ]
    session.out.list(
        rows,
        [
            Column("FLOW", lambda row: row["flow"]),
            Column("RETRIES", lambda row: str(row["retries"]), right=True),
            Column(
                "TIMEOUT", lambda row: _shown_seconds(row["timeout"]), lambda r: r["timeout"] or ""
            ),
            Column("QUEUE", lambda row: row["queue"]),
            Column("SCHEDULE", lambda row: _line(row)),
            Column("WORKERS", lambda row: str(row["workers"]), right=True),
            Column("ABOUT", lambda row: row["about"]),
        ],
        empty="this app has no flows",
    )


def described(flow: Flow[Any, Any]) -> dict[str, Any]:
    """What a flow's decorator says."""
    options = flow.definition.options
    words = (flow.definition.function.__doc__ or "").strip().splitlines()
    return {
        "flow": flow.definition.id,
        "retries": options.retries,
        "timeout": options.timeout,
        "queue": dispatch.queue_of(flow.app, flow.definition.id, getattr(flow, "queue", None)),
        "cron": options.cron,
        "timezone": options.timezone if options.cron else None,
        "about": words[0] if words else "",
    }


@worchflow.command()
@click.option("--gone", is_flag=True, help="Also those that ended within a day.")
@with_session
def workers(session: Session, gone: bool) -> None:
    """List the workers."""
    now = utcnow()
    session.out.list(
        session.worchflow.workers(gone=gone),
        [
            Column("WORKER", lambda one: one.name),
            Column("STATE", _state, colour=lambda one: None if one.alive else "bright_black"),
            Column("POOL", lambda one: one.pool),
            Column("BUSY", lambda one: f"{one.busy}/{one.concurrency}", right=True),
            Column(
                "SEEN", lambda o: wording.age(o.seen_at, now), lambda o: wording.moment(o.seen_at)
            ),
            Column("QUEUES", lambda one: ", ".join(one.queues)),
            Column("FLOWS", lambda one: str(len(one.flows)), lambda one: ", ".join(one.flows)),
            Column("VERSION", lambda one: one.code_version or one.version),
        ],
        empty="no worker is seen",
    )


def _state(worker: WorkerInfo) -> str:
    if worker.alive:
        return "alive"
    return "stopped" if worker.stopping_at else "gone"


@worchflow.command()
@click.option("--since", type=Moment(), default="24h", show_default=True, help="Sent since.")
@click.option("--flow", help="Only of this flow.")
@limit
@with_session
def errors(session: Session, since: datetime, flow: str | None, limit: int) -> None:
    """Group failed executions by flow, error and beginning of the message."""
    now = utcnow()
    found = session.worchflow.runtime.store.lookups.failures(since, flow, limit)
    redact = session.redactor.text
    rows = [{**one, "message": redact(str(one["flow"]), one["message"])} for one in found]
    session.out.list(
        rows,
        [
            Column("COUNT", lambda row: str(row["count"]), right=True),
            Column("FLOW", lambda row: str(row["flow"])),
            Column("ERROR", lambda row: str(row["type"])),
            Column(
                "LAST", lambda r: wording.age(r["last"], now), lambda r: wording.moment(r["last"])
            ),
            Column("NEWEST", lambda row: short(str(row["id"])), lambda row: row["id"]),
            Column("MESSAGE", lambda row: str(row["message"])),
        ],
        empty="nothing failed",
    )


def _colour(execution: Execution) -> str | None:
    return wording.colour(wording.state(execution))


def _created(execution: Execution) -> str:
    return wording.moment(execution.created_at)


def _ran(execution: Execution, now: datetime) -> str:
    ran = wording.ran(execution, now)
    return "" if ran is None else wording.duration(ran.total_seconds())


def _seconds(execution: Execution, now: datetime) -> str:
    ran = wording.ran(execution, now)
    return "" if ran is None else f"{ran.total_seconds():.3f}"


def _shown_seconds(seconds: float | None) -> str:
    return "" if seconds is None else wording.duration(seconds)


def _line(row: Mapping[str, Any]) -> str:
    if not row["cron"]:
        return ""
    return str(row["cron"]) if row["timezone"] == "UTC" else f"{row['cron']} {row['timezone']}"


def _seen(worker: WorkerInfo) -> str:
    return wording.moment(worker.seen_at)
