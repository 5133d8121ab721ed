"""From what an operator types to the id of an execution."""

from worchflow_celery import options
from worchflow_celery.cli import codes
from worchflow_celery.cli.group import Session, fail

_LEAST = 6
_SHOWN = 10


def resolve(session: Session, given: str) -> str:
    """The id that is given, or the one that begins so; ends the command when there are several."""
    prefix = options.check_id(given, "id")
    found = session.worchflow.runtime.store.lookups.ids(prefix, _SHOWN + 1)
    if prefix in found:
        return prefix
    if not found or len(prefix) < _LEAST:
        short = f" (a short id has {_LEAST} characters or more)" if len(prefix) < _LEAST else ""
        fail(f"no execution has the id {given!r}{short}", codes.NOT_FOUND)
    if len(found) > 1:
        more = " …" if len(found) > _SHOWN else ""
        fail(f"{given!r} is ambiguous: {', '.join(found[:_SHOWN])}{more}", codes.USAGE)
    return found[0]
