"""What the address of a page asks for, checked and cast."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from worchflow_celery.clock import utcnow
from worchflow_celery.errors import InvalidOption
from worchflow_celery.models import ExecutionStatus

PERIODS = {
    "15m": ("15 minutes", timedelta(minutes=15)),
    "1h": ("hour", timedelta(hours=1)),
    "24h": ("24 hours", timedelta(hours=24)),
    "7d": ("7 days", timedelta(days=7)),
    "30d": ("30 days", timedelta(days=30)),
}
MOST_ROWS = 200
_KNOWN = ("status", "flow", "last", "after", "before", "q", "cursor", "limit")
_ID = re.compile(r"[A-Za-z0-9._:@/-]{1,200}")
_FIELD = re.compile(r"([A-Za-z_]\w{0,99})\s*[:=]\s*(.{1,500})")


@dataclass(frozen=True, slots=True)
class Query:
    """Which executions a list shows."""

    status: tuple[str, ...] = ()
    flow: str = ""
    last: str = ""
    after: datetime | None = None
    before: datetime | None = None
    q: str = ""
    cursor: str = ""
    limit: int = 50
    #: What ``q`` means: the beginning of an id, or a field and its value.
    id: str = ""
    search: tuple[str, str] | None = None

    @property
    def since(self) -> datetime | None:
        """The later of ``after`` and the beginning of the period."""
        if not self.last:
            return self.after
        begin = utcnow() - PERIODS[self.last][1]
        return max(begin, self.after) if self.after else begin

    @property
    def filters_anything(self) -> bool:
        """Whether there may be executions that it leaves out."""
        return any((self.status, self.flow, self.last, self.after, self.before, self.q))

    @property
    def is_first(self) -> bool:
        """Whether it is the page that somebody sees who asks for nothing."""
        return not self.filters_anything and not self.cursor

    def link(self, **changes: Any) -> str:
        """The query string of this list, changed; a new list begins with its first page."""
        other = replace(self, **{"cursor": "", **changes})
        pairs: list[tuple[str, str]] = [("status", one) for one in other.status]
        pairs += [(name, str(getattr(other, name))) for name in ("flow", "last", "q", "cursor")]
        for name, moment in (("after", other.after), ("before", other.before)):
            pairs.append((name, moment.isoformat() if moment else ""))
        if other.limit != 50:
            pairs.append(("limit", str(other.limit)))
        text = urlencode([pair for pair in pairs if pair[1]])
        return f"?{text}" if text else "?"

    def words(self) -> str:
        """The filter in words."""
        parts = [" or ".join(self.status)] if self.status else []
        parts += [f"of the flow {self.flow}"] if self.flow else []
        parts += [f"of the last {PERIODS[self.last][0]}"] if self.last else []
        parts += [f"after {self.after:%Y-%m-%d %H:%M:%S} UTC"] if self.after else []
        parts += [f"before {self.before:%Y-%m-%d %H:%M:%S} UTC"] if self.before else []
        parts += [f"with an id that begins with {self.id}"] if self.id else []
        parts += ["with {} = {}".format(*self.search)] if self.search else []
        return ", ".join(parts)


def read(params: QueryParams, searchable: Iterable[str]) -> Query:
    """Raises ``InvalidOption`` naming the parameter that cannot be."""
    given: Mapping[str, list[str]] = {name: params.getlist(name) for name in params}
    for name, values in given.items():
        if name not in _KNOWN:
            raise InvalidOption(f"{name!r:.60} is no parameter; there are {', '.join(_KNOWN)}")
        if len(values) > 1 and name != "status":
            raise InvalidOption(f"{name} is given {len(values)} times: give it once")
    one = {name: values[0] for name, values in given.items()}
    last = one.get("last", "")
    if last and last not in PERIODS:
        raise InvalidOption(f"last is {last!r:.60}: it must be one of {', '.join(PERIODS)}")
    query = Query(
        status=tuple(_status(value) for value in given.get("status", ()) if value),
        flow=_id(one.get("flow", ""), "flow"),
        last=last,
        after=moment(one.get("after", ""), "after"),
        before=moment(one.get("before", ""), "before"),
        q=one.get("q", "").strip()[:600],
        cursor=one.get("cursor", "")[:600],
        limit=whole(one.get("limit", ""), "limit", 50, MOST_ROWS),
    )
    return _understood(query, set(searchable))


def whole(text: str, name: str, default: int, most: int) -> int:
    """A whole number from 1 on."""
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= most):
        raise InvalidOption(f"{name} is {text!r:.60}: it must be a whole number from 1 to {most}")
    return int(text)


def moment(text: str, name: str) -> datetime | None:
    """A time with its offset, ISO 8601; the plain one of a form is UTC."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        found = found if found.tzinfo else datetime.fromisoformat(f"{found.isoformat()}+00:00")
        if not 1970 <= found.year <= 9000:
            raise ValueError(text)
    except ValueError:
        raise InvalidOption(
            f"{name} is {text!r:.60}: it must be a time such as 2026-01-31T12:00:00Z"
        ) from None
    return found


def _understood(query: Query, searchable: set[str]) -> Query:
    """Tell a search for a field from the beginning of an id."""
    if not query.q:
        return query
    found = _FIELD.fullmatch(query.q)
    if found and found[1] in searchable:
        return replace(query, search=(found[1], found[2]))
    if _ID.fullmatch(query.q):
        return replace(query, id=query.q)
    fields = ", ".join(sorted(searchable)) or "none; a flow declares them with search=(...)"
    raise InvalidOption(
        f"q is {query.q!r:.80}: it must be the beginning of an id, or field:value with one of the "
        f"fields that can be searched ({fields})"
    )


def _status(value: str) -> str:
    if value not in list(ExecutionStatus):
        known = ", ".join(ExecutionStatus)
        raise InvalidOption(f"status is {value!r:.60}: it must be one of {known}")
    return value


def _id(value: str, name: str) -> str:
    if value and not _ID.fullmatch(value):
        raise InvalidOption(f"{name} is {value!r:.60}: it must be an id")
    return value
