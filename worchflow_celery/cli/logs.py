"""`logs`: what an execution has logged."""

import time
from collections.abc import Iterator

import click

from worchflow_celery.cli import wording
from worchflow_celery.cli.group import Session, with_session, worchflow
from worchflow_celery.cli.ids import resolve
from worchflow_celery.cli.output import as_json
from worchflow_celery.cli.text import safe
from worchflow_celery.observed import LogLine

_PAGE = 500
#: Seconds between two looks for new lines.
_PAUSE = 0.5
_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red", "DEBUG": "bright_black"}


@worchflow.command()
@click.argument("id")
@click.option("--follow", "-f", is_flag=True, help="Go on until the execution has ended.")
@with_session
def logs(session: Session, id: str, follow: bool) -> None:
    """Print what an execution has logged with event.logger and step.log."""
    execution = session.get(resolve(session, id))
    for line in _lines(session, execution.id, follow):
        _print(session, execution.flow, line)


def _lines(session: Session, id: str, follow: bool) -> Iterator[LogLine]:
    last: str | None = None
    while True:
        # Asked before the look, so that the look brings the last lines of what has ended.
        going_on = follow and not session.worchflow.handle(id).status.finished
        found = session.worchflow.logs(id, after=last, limit=_PAGE)
        yield from found
        last = found[-1].id if found else last
        if not found and not going_on:
            return
        if not found:
            time.sleep(_PAUSE)


def _print(session: Session, flow: str, line: LogLine) -> None:
    redactor, out = session.redactor, session.out
    shown = line.model_copy(
        update={
            "message": redactor.text(flow, line.message),
            "fields": redactor.value(flow, line.fields),
        }
    )
    if out.as_json:
        out.value(shown)
        return
    words = [wording.moment(shown.at), shown.level, shown.step or "", safe(shown.message)]
    if shown.fields:
        words.append(as_json(shown.fields))
    text = "  ".join(safe(word) for word in words if word)
    out.line(out.paint(text, _COLOURS.get(shown.level)))
