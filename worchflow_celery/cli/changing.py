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
from worchflow_celery.errors import InvalidTransition, StoreUnavailable
from worchflow_celery.models import Execution

_PAGE = 200
#: Executions that are counted before the question is asked.
_MOST_COUNTED = 10_000
_ENDED = ("failed", "cancelled")
_UNFINISHED = ("queued", "processing", "retrying", "waiting")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that can be done to an execution."""

    verb: str
    #: Returns the id of the execution that it is about afterwards.
    act: Callable[[Session, str], str]
    #: The statuses that a filter without ``--status`` means.
    statuses: tuple[str, ...]
    #: Whether an execution that a filter has found is meant.
    fits: Callable[[Execution], bool] = lambda execution: True


def chosen(function: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments that say which executions, and how sure one is."""
    for decorate in (
        with_session,
        click.option("--yes", "-y", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Only say which executions it would be."),
        filters,
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        function = decorate(function)
    return function


def change(one: Change, about: str) -> None:
    """Add the command of a change."""

    @worchflow.command(one.verb, help=about)
    @chosen
    def command(session: Session, **given: Any) -> None:
        apply(session, one, **given)


def apply(
    session: Session, one: Change, ids: Sequence[str], dry_run: bool, yes: bool, **given: Any
) -> None:
    """Do it to each that is meant, and end with the code of the first that refused."""
    found = _meant(session, one, ids, filters_of(given))
    if dry_run:
        for id in found:
            _tell(session, id, f"would {one.verb}", id)
        return
    if not ids and not yes:
        _ask(one, found)
    refused = [code for id in found if (code := _apply_to(session, one, id)) is not None]
    # What was found by a filter may have gone on since: that is no failure.
    if refused and ids:
        click.get_current_context().exit(refused[0])


def _apply_to(session: Session, one: Change, id: str) -> int | None:
    """Do it, or return the code of the refusal."""
    try:
        _tell(session, one.act(session, id), one.verb, id)
    except (InvalidTransition, LookupError) as error:
        click.echo(f"error: {safe(error)}", err=True)
        return codes.code_of(error)
    audit(session, one.verb, id)
    return None


def _meant(session: Session, one: Change, ids: Sequence[str], wanted: Filters) -> list[str]:
    if bool(ids) == wanted.given:
        fail(f"{one.verb} needs ids, or a filter such as --status failed --since 1h", codes.USAGE)
    if ids:
        return list(dict.fromkeys(resolve(session, id) for id in ids))
    return [execution.id for execution in _matching(session, one, wanted) if one.fits(execution)]


def audit(session: Session, action: str, target: str) -> None:
    """Keep who did it.  It is done: a trail that cannot be written is told, and no failure."""
    try:
        session.worchflow.audit.record(action, target, who=f"{_user()} (command line)")
    except StoreUnavailable as error:
        session.out.note(f"not in the audit trail: {error}")


def _user() -> str:
    try:
        return getuser()
    except (OSError, KeyError):  # a container may run as a number that has no name
        return "somebody"


def _matching(session: Session, one: Change, wanted: Filters) -> Iterator[Execution]:
    arguments = wanted.arguments()
    arguments["status"] = arguments["status"] or list(one.statuses)
    cursor, found = None, 0
    while found < _MOST_COUNTED:
        page = session.worchflow.find(**arguments, limit=_PAGE, cursor=cursor)
        yield from page
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


def _tell(session: Session, id: str, verb: str, of: str) -> None:
    """Name the execution, and the one that it was made of."""
    made = {"of": of} if of != id else {}
    out = session.out
    if out.as_json:
        out.value({"id": id, "action": verb, **made})
    else:
        out.line(("  " if out.tty else "\t").join([id, verb, *made.values()]))


change(
    Change("retry", lambda session, one: session.worchflow.retry(one).id, _ENDED),
    "Put failed or cancelled executions back in line; completed steps stay completed.",
)
change(
    Change("cancel", lambda session, one: session.worchflow.cancel(one).id, _UNFINISHED),
    "End executions at their next step; what they have done is compensated.",
)
change(
    Change(
        "pause",
        lambda session, one: session.worchflow.pause(one).id,
        _UNFINISHED,
        lambda execution: not execution.paused,
    ),
    "Hold executions at their next step, until they are resumed.",
)
change(
    Change(
        "resume",
        lambda session, one: session.worchflow.resume(one).id,
        _UNFINISHED,
        lambda execution: execution.paused,
    ),
    "Let paused executions go on.",
)


@worchflow.command()
@click.option("--from-step", help="Take over the results of the steps before this one (its key).")
@chosen
def rerun(session: Session, from_step: str | None, **given: Any) -> None:
    """Start new executions with the data of others."""

    def act(session: Session, id: str) -> str:
        return session.worchflow.restart(id, from_step).id

    apply(session, Change("rerun", act, (*_ENDED, "completed")), **given)
