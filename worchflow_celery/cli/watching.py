"""`watch`: follow executions until they end, or until Ctrl-C."""

import time
from collections.abc import Callable, Iterable

import click
from celery.exceptions import ImproperlyConfigured

from worchflow_celery.cli import codes, wording
from worchflow_celery.cli.group import Session, with_session, worchflow
from worchflow_celery.cli.ids import resolve
from worchflow_celery.cli.options import Span
from worchflow_celery.cli.text import safe
from worchflow_celery.clock import elapsed
from worchflow_celery.errors import LiveUnavailable
from worchflow_celery.models import Execution, ExecutionStatus
from worchflow_celery.observed import Update

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
    known = resolve(session, id) if id else None
    limit = None if timeout is None else elapsed() + timeout
    look = _looks(session, known)
    while True:
        # Asked before the look, so that the look brings what led to the end.
        status = session.worchflow.handle(known).status if known and until_done else None
        for update in look():
            _print(session, update)
        if status is not None and status.finished:
            completed = status is ExecutionStatus.COMPLETED
            click.get_current_context().exit(codes.OK if completed else codes.FAILED)
        if limit is not None and elapsed() > limit:
            raise TimeoutError(f"no end within {timeout:g} s")


def _looks(session: Session, id: str | None) -> Callable[[], Iterable[Update]]:
    """What brings the updates since its last call: first what was before, then what happens."""
    follower = _Follower(session, id)
    try:
        stream = session.worchflow.watch(id)
    except (LiveUnavailable, ImproperlyConfigured):
        session.out.note("no live events without Redis: MongoDB is looked at twice a second")
        return follower.look
    click.get_current_context().call_on_close(stream.close)
    before = list(follower.read())

    def look() -> Iterable[Update]:
        told, before[:] = before[:], []
        return told or [_redacted(session, update) for update in stream.poll()]

    return look


def _redacted(session: Session, update: Update) -> Update:
    error = session.redactor.error(update.flow or "", update.error)
    return update.model_copy(update={"error": error})


class _Follower:
    """What MongoDB has that it did not have at the last look."""

    def __init__(self, session: Session, id: str | None) -> None:
        self._session = session
        self._id = id
        #: Of a stranger everything is new; of all executions only what changes from now on.
        self._statuses: dict[str, str] | None = {} if id else None
        self._steps: set[tuple[str, str, int]] = set()
        self._begun = False

    def look(self) -> Iterable[Update]:
        """The changes since the last look, after a while."""
        if self._begun:
            time.sleep(_PAUSE)
        self._begun = True
        return self.read()

    def read(self) -> Iterable[Update]:
        """The changes since the last look."""
        if self._id is None:
            yield from self._new_statuses(self._session.find(limit=_SEEN))
        else:
            execution = self._session.get(self._id)
            yield from self._new_steps(execution)
            yield from self._new_statuses([execution])

    def _new_steps(self, execution: Execution) -> Iterable[Update]:
        for step in self._session.steps(execution):
            mark = (step.key, step.status, step.attempt)
            if mark not in self._steps:
                self._steps.add(mark)
                yield Update(
                    id="",
                    event=f"step_{step.status}",
                    at=step.finished_at,
                    worker=execution.worker or "",
                    execution_id=execution.id,
                    flow=execution.flow,
                    step=step.name,
                    key=step.key,
                    attempt=step.attempt,
                    error=step.error,
                )

    def _new_statuses(self, found: list[Execution]) -> Iterable[Update]:
        known, self._statuses = self._statuses, {one.id: one.status for one in found}
        for one in reversed(found):
            if known is not None and known.get(one.id) != one.status:
                yield Update(
                    id="",
                    event="execution_updated",
                    at=one.updated_at,
                    worker=one.worker or "",
                    execution_id=one.id,
                    flow=one.flow,
                    status=one.status,
                    error=one.error,
                )


def _print(session: Session, update: Update) -> None:
    out = session.out
    if out.as_json:
        out.value(update)
        return
    what = update.status or update.event.partition("_")[2]
    words = [
        wording.moment(update.at),
        update.execution_id or "",
        update.flow or "",
        update.key or update.step or "",
        wording.status(what),
        wording.error(update.error),
    ]
    line = safe("  ".join(word for word in words if word))
    out.line(out.paint(line, wording.colour(what)))
