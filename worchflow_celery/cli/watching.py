"""`watch`: follow executions until they end, or until Ctrl-C."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from worchflow_celery.cli import codes, wording
from worchflow_celery.cli.group import Session, with_session, worchflow
from worchflow_celery.cli.ids import resolve
from worchflow_celery.cli.options import Span
from worchflow_celery.cli.text import safe
from worchflow_celery.clock import elapsed
from worchflow_celery.models import Execution

#: Seconds between two looks, and executions that one look without an id sees.
_PAUSE, _SEEN = 0.5, 200


@worchflow.command()
@click.argument("id", required=False)
@click.option("--until-done", is_flag=True, help="End with the execution; 1 when it failed.")
@click.option("--timeout", type=Span(), help="Watch no longer than this.")
@with_session
def watch(session: Session, id: str | None, until_done: bool, timeout: float | None) -> None:
    """Print what happens to an execution, or to all."""
    if until_done and id is None:
        raise click.UsageError("--until-done needs the ID of an execution")
    follower = _Follower(session, resolve(session, id) if id else None)
    limit = None if timeout is None else elapsed() + timeout
    while True:
        for update in follower.look():
            _print(session, update)
        if until_done and follower.status in _ENDS:
            click.get_current_context().exit(_ENDS[follower.status])
        if limit is not None and elapsed() > limit:
            raise TimeoutError(f"no end within {timeout:g} s")
        time.sleep(_PAUSE)


_ENDS = {"completed": codes.OK, "failed": codes.FAILED, "cancelled": codes.FAILED}


class _Follower:
    """What has changed between two looks."""

    def __init__(self, session: Session, id: str | None) -> None:
        self._worchflow = session.worchflow
        self._id = id
        self._statuses: dict[str, str] | None = {} if id else None
        self._steps: set[tuple[Any, ...]] = set()
        #: Of the one that is followed.
        self.status = ""

    def look(self) -> Iterator[dict[str, Any]]:
        """The changes since the last look; all that was before the first is known."""
        if self._id is not None:
            execution = self._worchflow.get(self._id)
            yield from self._new_steps(execution)
            yield from self._new_statuses([execution])
            self.status = execution.status
        else:
            yield from self._new_statuses(self._worchflow.find(limit=_SEEN))

    def _new_steps(self, execution: Execution) -> Iterator[dict[str, Any]]:
        for step in self._worchflow.steps(execution.id):
            mark = (step.key, step.status, step.attempt)
            if mark not in self._steps:
                self._steps.add(mark)
                change = _change(execution, step.status, step.finished_at)
                yield {**change, "step": step.key, "error": step.error}

    def _new_statuses(self, found: list[Execution]) -> Iterator[dict[str, Any]]:
        known, self._statuses = self._statuses, {one.id: one.status for one in found}
        for one in reversed(found):
            if known is not None and known.get(one.id) != one.status:
                yield {**_change(one, one.status, one.updated_at), "error": one.error}


def _change(execution: Execution, status: str, at: datetime) -> dict[str, Any]:
    return {"at": at, "execution_id": execution.id, "flow": execution.flow, "status": status}


def _print(session: Session, update: dict[str, Any]) -> None:
    out = session.out
    if out.as_json:
        out.value(update)
        return
    words = [
        wording.moment(update["at"]),
        update["execution_id"],
        update["flow"],
        update.get("step", ""),
        wording.status(update["status"]),
        wording.error(update["error"]),
    ]
    line = safe("  ".join(word for word in words if word))
    out.line(out.paint(line, wording.colour(update["status"])))
