"""`retry` and its kind: change what becomes of executions, by their ids or by a filter."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from getpass import getuser
from typing import Any

import click

from worchflow_celery.cli import codes
from worchflow_celery.cli.group import Session, fail, with_session, worchflow
from worchflow_celery.cli.ids import resolve
from worchflow_celery.cli.options import Filters, filters, filters_of
from worchflow_celery.cli.text import safe
from worchflow_celery.errors import InvalidTransition, StoreUnavailable, WorchflowError

_PAGE = 200
#: Executions that are counted before the question is asked.
_MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that can be done to an execution."""

    verb: str
    #: Returns the id of the execution that it is about afterwards.
    act: Callable[[Session, str], str]
    #: The statuses that a filter without ``--status`` means.
    statuses: tuple[str, ...]


def change(one: Change, about: str) -> None:
    """Add the command of a change."""

    @worchflow.command(one.verb, help=about)
    @click.argument("ids", nargs=-1, metavar="[ID]...")
    @filters
    @click.option("--dry-run", is_flag=True, help="Only say which executions it would be.")
    @click.option("--yes", "-y", is_flag=True, help="Do not ask.")
    @with_session
    def command(
        session: Session, ids: Sequence[str], dry_run: bool, yes: bool, **given: Any
    ) -> None:
        apply(
            session, one, targets(session, one, ids, filters_of(given)), dry_run, yes or bool(ids)
        )


def targets(session: Session, one: Change, ids: Sequence[str], wanted: Filters) -> list[str]:
    """The executions that are meant."""
    if bool(ids) == wanted.given:
        fail(f"{one.verb} needs ids, or a filter such as --status failed --since 1h", codes.USAGE)
    if ids:
        return list(dict.fromkeys(resolve(session, id) for id in ids))
    return list(_matching(session, one, wanted))


def apply(session: Session, one: Change, ids: Sequence[str], dry_run: bool, sure: bool) -> None:
    """Do it to each, and end with the code of the first that refused."""
    if dry_run:
        for id in ids:
            _tell(session, id, f"would {one.verb}")
        return
    if not sure:
        _ask(one, ids)
    first = codes.OK
    for id in ids:
        try:
            _tell(session, one.act(session, id), one.verb)
            audit(session, one.verb, id)
        except (InvalidTransition, LookupError) as error:
            # Chosen by a filter it may have gone on since: that is no failure of the command.
            assert isinstance(error, WorchflowError)
            click.echo(f"{'error' if sure else 'skipped'}: {safe(error)}", err=True)
            first = first or codes.code_of(error)
    if first:
        click.get_current_context().exit(first)


def audit(session: Session, action: str, target: str) -> None:
    """Keep who did it.  It is done: a trail that cannot be written is told, and no failure."""
    try:
        session.worchflow.audit.record(action, target, who=f"{getuser()} (command line)")
    except StoreUnavailable as error:
        session.out.note(f"not in the audit trail: {error}")


def _matching(session: Session, one: Change, wanted: Filters) -> Iterator[str]:
    arguments = wanted.arguments()
    arguments["status"] = arguments["status"] or list(one.statuses)
    cursor, found = None, 0
    while found < _MOST_COUNTED:
        page = session.worchflow.find(**arguments, limit=_PAGE, cursor=cursor)
        yield from (execution.id for execution in page)
        found, cursor = found + len(page), page.cursor
        if cursor is None:
            return
    fail(f"more than {_MOST_COUNTED} match: narrow it with --since, --flow, --where", codes.USAGE)


def _ask(one: Change, ids: Sequence[str]) -> None:
    if not ids:
        return
    question = f"{one.verb} {len(ids)} execution{'s' * (len(ids) != 1)}?"
    if not sys.stdin.isatty():
        fail(f"{question} Nobody can be asked here: add --yes, or see --dry-run", codes.USAGE)
    click.confirm(question, abort=True, err=True)


def _tell(session: Session, id: str, verb: str) -> None:
    out = session.out
    if out.as_json:
        out.value({"id": id, "action": verb})
    elif out.tty:
        out.line(f"{verb}  {id}")
    else:
        out.line(f"{id}\t{verb}")


_ENDED = ("failed", "cancelled")
_UNFINISHED = ("queued", "processing", "retrying", "waiting")

change(
    Change("retry", lambda session, one: session.worchflow.retry(one).id, _ENDED),
    "Put failed or cancelled executions back in line; completed steps stay completed.",
)
change(
    Change("cancel", lambda session, one: session.worchflow.cancel(one).id, _UNFINISHED),
    "End executions at their next step; what they have done is compensated.",
)
change(
    Change("pause", lambda session, one: session.worchflow.pause(one).id, _UNFINISHED),
    "Hold executions at their next step, until they are resumed.",
)
change(
    Change("resume", lambda session, one: session.worchflow.resume(one).id, _UNFINISHED),
    "Let paused executions go on.",
)


@worchflow.command()
@click.argument("id")
@click.option("--from-step", help="Take over the results of the steps before this one (its key).")
@with_session
def rerun(session: Session, id: str, from_step: str | None) -> None:
    """Start a new execution with the data of another one."""
    old = resolve(session, id)
    handle = session.worchflow.restart(old, from_step)
    audit(session, "rerun", old)
    if session.out.as_json:
        session.out.value({"id": handle.id, "rerun_of": old, "status": handle.status})
    else:
        session.out.line(handle.id)
