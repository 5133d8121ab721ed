"""What Celery passes with a call, and what an execution keeps of it.

Messages carry ids only. Links, chain, chord and group are stored with the execution and handed
back to Celery when it ends; ids of callbacks are fixed, so that going on twice is going on once.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from celery.canvas import Signature
from celery.utils import uuid
from celery.utils.functional import maybe_list

from worchflow_celery import options
from worchflow_celery.clock import utcnow
from worchflow_celery.dispatch import loaded
from worchflow_celery.errors import InvalidOption

#: What a signature does after its task: the option's name, and the one in Celery's context.
_FOLLOWS = {
    "link": "callbacks",
    "link_error": "errbacks",
    "chain": "chain",
    "chord": "chord",
    "group_id": "group",
    "group_index": "group_index",
}
#: What every message of an execution carries beside its id.
_CARRIED = (
    "headers",
    "shadow",
    "time_limit",
    "soft_time_limit",
    "expires",
    "reply_to",
    "root_id",
    "parent_id",
    "replaced_task_nesting",
    "ignore_result",
    "stamped_headers",
)


def data_of(flow: str, args: Any, kwargs: Any) -> Any:
    """The event's data out of the arguments of a Celery call; raises ``TypeError``."""
    args, kwargs = tuple(args or ()), dict(kwargs or {})
    if len(args) + len(kwargs) > 1 or (kwargs and "data" not in kwargs):
        raise TypeError(
            f"flow {flow!r} takes one argument, the event's data; "
            f"it was given {len(args)} and {sorted(map(str, kwargs))}"
        )
    return args[0] if args else kwargs.get("data")


def follows(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """What Celery is to go on with afterwards; ``None``: nothing."""
    canvas = {name: given.get(name) for name in _FOLLOWS}
    for name in ("link", "link_error"):
        canvas[name] = [_with_id(one) for one in maybe_list(canvas[name]) or ()] or None
    kept = {name: value for name, value in canvas.items() if value not in (None, [], ())}
    return kept or None


def carried(given: Mapping[str, Any]) -> dict[str, Any]:
    """What each message of the execution is to carry."""
    names = {*_CARRIED, *(given.get("stamped_headers") or ())}
    kept = {name: given[name] for name in names if given.get(name) is not None}
    if "expires" in kept:
        kept["expires"] = _moment(kept["expires"]).isoformat()
    for name in ("time_limit", "soft_time_limit"):
        if name in kept:
            options.positive_seconds(kept[name], name)
    if not isinstance(kept.get("headers"), Mapping | None):
        raise InvalidOption(f"headers is {options.shown(kept['headers'])}: it must be a mapping")
    return kept


def restore(canvas: str, request: Any) -> None:
    """Hand Celery's tracer, through its context of the message, what to go on with."""
    stored = loaded(canvas)
    for name, attribute in _FOLLOWS.items():
        setattr(request, attribute, stored.get(name))


def _with_id(signature: Mapping[str, Any]) -> dict[str, Any]:
    """A callback whose task id is fixed: sent twice, it is the same task."""
    frozen = Signature.from_dict(dict(signature)).clone()
    frozen["options"].setdefault("task_id", uuid())
    return dict(frozen)


def _moment(expires: object) -> datetime:
    """Celery's ``expires``: a datetime, its text, or seconds from now."""
    if isinstance(expires, str):
        expires = datetime.fromisoformat(expires)
    if isinstance(expires, datetime):
        return options.check_moment(expires, "expires")
    return utcnow() + timedelta(seconds=options.seconds(expires, "expires"))
