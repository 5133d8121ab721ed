"""`show`: one execution in full."""

from datetime import datetime
from typing import Any

import click

from worchflow_celery.cli import codes, wording
from worchflow_celery.cli.group import Session, fail, with_session, worchflow
from worchflow_celery.cli.ids import resolve
from worchflow_celery.cli.listing import tries
from worchflow_celery.cli.output import Output, as_json
from worchflow_celery.cli.text import cut, padded, safe, width
from worchflow_celery.cli.waterfall import Bar, drawn
from worchflow_celery.clock import utcnow
from worchflow_celery.models import Attempt, ErrorInfo, Execution, StepRecord

#: Steps that are drawn, and characters of a payload that are printed, unless all are asked for.
_MOST_STEPS, _MOST_PAYLOAD, _WIDEST_NAME = 60, 2000, 32


@worchflow.command()
@click.argument("id")
@click.option("--attempt", type=click.IntRange(1), help="Show this attempt, with its traceback.")
@click.option("--step", help="Show this step (its key), with its result or traceback.")
@click.option("--raw", is_flag=True, help="Show payloads and steps in full length.")
@with_session
def show(session: Session, id: str, attempt: int | None, step: str | None, raw: bool) -> None:
    """Show an execution: its steps over time, attempts, input and result."""
    execution = session.get(resolve(session, id))
    steps = session.steps(execution)
    if step is not None:
        _show_step(session.out, _step(steps, step), raw)
    elif attempt is not None:
        _show_attempts(session.out, _attempts(execution, attempt))
    elif session.out.as_json:
        session.out.value({"execution": execution, "steps": steps})
    else:
        _show(session, execution, steps, raw)


def _step(steps: list[StepRecord], key: str) -> StepRecord:
    found = next((one for one in steps if one.key == key), None)
    if found is None:
        known = ", ".join(repr(one.key) for one in steps[:20]) or "none yet"
        fail(f"no step {key!r}: there is {known}", codes.NOT_FOUND)
    return found


def _attempts(execution: Execution, number: int) -> list[Attempt]:
    found = [one for one in execution.attempts if one.number == number]
    if not found:
        known = ", ".join(sorted({str(one.number) for one in execution.attempts})) or "none yet"
        fail(f"no attempt {number} has ended: there is {known}", codes.NOT_FOUND)
    return found


def _show(session: Session, execution: Execution, steps: list[StepRecord], raw: bool) -> None:
    out, now = session.out, utcnow()
    colour = wording.colour(wording.state(execution))
    title = f"{wording.status(wording.state(execution))}  {execution.flow}  {execution.id}"
    out.line(out.paint(safe(title), colour, bold=True))
    if execution.error:
        out.line(out.paint(safe(wording.error(execution.error)), "red"))
    out.line(safe(" · ".join(_facts(session, execution, now))))
    if execution.progress:
        progress = execution.progress
        out.line(safe(f"{progress.fraction:.0%}  {progress.message or ''}".rstrip()))
    _show_steps(out, execution, steps, now, raw)
    if execution.attempts:
        out.line()
        for one in execution.attempts:
            out.line(safe(_attempt_line(one)))
    out.line()
    _payload(out, "data", execution.data, raw)
    if execution.status == "completed":
        _payload(out, "result", execution.result, raw)


def _facts(session: Session, execution: Execution, now: datetime) -> list[str]:
    ran = wording.ran(execution, now)
    trigger = execution.trigger
    known: list[tuple[str, Any]] = [
        ("attempt", tries(session, execution)),
        ("sent", f"{wording.age(execution.created_at, now)} ago".replace("now ago", "now")),
        ("queued", wording.span(execution.created_at, execution.started_at)),
        ("ran", wording.duration(ran.total_seconds()) if ran else ""),
        ("worker", execution.worker or ""),
        ("trigger", " ".join(part for part in (trigger.kind, trigger.ref) if part)),
        ("parent", execution.parent_id or ""),
        ("crashes", execution.crashes or ""),
        ("window", wording.moment(execution.scheduled_for)),
        ("due", wording.age(execution.due_at, now) if _waits(execution) else ""),
    ]
    return [f"{name} {value}" for name, value in known if value]


def _waits(execution: Execution) -> bool:
    return execution.status in ("queued", "retrying", "waiting")


def _show_steps(
    out: Output, execution: Execution, steps: list[StepRecord], now: datetime, raw: bool
) -> None:
    seen = steps if raw else steps[-_MOST_STEPS:]
    if not seen:
        return
    out.line()
    if len(seen) < len(steps):
        out.line(f"… {len(steps) - len(seen)} earlier steps (--raw shows all)")
    names = [safe(one.key) for one in seen]
    name_width = min(_WIDEST_NAME, max(map(width, names)))
    bars = drawn(
        [_bar(one, execution, now) for one in seen], max(10, out.columns - name_width - 34)
    )
    bar_width = max(map(width, bars))
    for name, one, bar in zip(names, seen, bars, strict=True):
        row = f"{padded(cut(name, name_width), name_width)}  {padded(bar, bar_width)}"
        out.line(f"{row}  {_fate(out, one)}")


def _bar(step: StepRecord, execution: Execution, now: datetime) -> Bar:
    waits = step.status == "waiting"
    end = (execution.finished_at or now) if waits else step.finished_at
    return Bar(step.started_at, max(step.started_at, end), step.kind in _WAITS)


#: Steps that hold no worker while they last.
_WAITS = {"sleep", "signal", "invoke", "apply"}


def _fate(out: Output, step: StepRecord) -> str:
    took = wording.span(step.started_at, step.finished_at) if step.status != "waiting" else ""
    words = [wording.status(step.status), took, f"attempt {step.attempt}" * (step.attempt > 1)]
    if step.kind != "run":
        words.append(step.kind)
    return out.paint(safe("  ".join(filter(None, words))), wording.colour(step.status))


def _attempt_line(attempt: Attempt) -> str:
    words = [
        f"attempt {attempt.number}",
        attempt.outcome,
        wording.moment(attempt.started_at),
        wording.attempt_span(attempt),
        attempt.worker or "",
        wording.error(attempt.error),
    ]
    return "  ".join(word for word in words if word)


def _show_attempts(out: Output, attempts: list[Attempt]) -> None:
    for attempt in attempts:
        if out.as_json:
            out.value(attempt)
            continue
        out.line(safe(_attempt_line(attempt)))
        _traceback(out, attempt.error)


def _show_step(out: Output, step: StepRecord, raw: bool) -> None:
    if out.as_json:
        out.value(step)
        return
    out.line(f"{safe(step.key)}  {_fate(out, step)}")
    if step.error:
        out.line(out.paint(safe(wording.error(step.error)), "red"))
        _traceback(out, step.error)
    elif step.status == "completed":
        _payload(out, "result", step.result, raw)


def _traceback(out: Output, error: ErrorInfo | None) -> None:
    if error and error.traceback:
        out.line(safe(error.traceback.rstrip(), lines=True))


def _payload(out: Output, name: str, value: Any, raw: bool) -> None:
    text = as_json(value)
    if not raw and len(text) > _MOST_PAYLOAD:
        text = f"{text[:_MOST_PAYLOAD]}… ({len(text)} characters; --raw shows all)"
    out.line(f"{name}  {text}")
