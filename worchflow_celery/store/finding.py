"""Which executions are meant: filters, and the order in which they are read."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pymongo import DESCENDING

from worchflow_celery.clock import EPOCH
from worchflow_celery.errors import InvalidOption
from worchflow_celery.models import FINISHED, ExecutionStatus
from worchflow_celery.options import check_id, check_search_field, searchable, shown
from worchflow_celery.store.records import Document

# Ranges and not `$exists`, which MongoDB would look for in each document that it counts.
_ENDED: Document = {"finished_at": {"$gte": EPOCH}}
_GOING: Document = {"due_at": {"$gte": EPOCH}, "queue": {"$gte": ""}}
NEWEST_FIRST = [("created_at", DESCENDING), ("_id", DESCENDING)]


def filters_of(
    *,
    status: object,
    flow: str | None,
    search: Mapping[str, Any] | None,
    after: datetime | None,
    before: datetime | None,
) -> Document:
    """The filter of ``find``, with every value cast, so that none can be an operator."""
    filters: Document = {}
    if status is not None:
        many = [status] if isinstance(status, str) else list(_iterable(status))
        filters |= of_status([_status(one) for one in many])
    if flow is not None:
        filters["flow"] = {"$eq": check_id(flow, "flow")}
    created = {"$gte": after, "$lt": before}
    created = {operator: moment for operator, moment in created.items() if moment is not None}
    if created:
        filters["created_at"] = created
    if not isinstance(search, Mapping | None):
        raise InvalidOption(f"search is {shown(search)}: it must map fields to their values")
    for name, value in (search or {}).items():
        check_search_field(name)
        filters[f"search.{name}"] = {"$eq": searchable(value)}
    return filters


def of_status(statuses: Sequence[str]) -> Document:
    """With what lets MongoDB use the index of finished, or that of unfinished executions."""
    filters: Document = {"status": {"$in": list(statuses)}}
    done = FINISHED.intersection(statuses)
    if len(done) == len(set(statuses)):
        return {**filters, **_ENDED}
    if not done:
        return {**filters, **_GOING}
    of_done = {"status": {"$in": sorted(done)}, **_ENDED}
    return {**filters, "$or": [of_done, {"status": {"$in": list(statuses)}, **_GOING}]}


def _iterable(value: object) -> Iterable[object]:
    if isinstance(value, Sequence | set | frozenset):
        return value
    raise InvalidOption(f"status is {value!r:.80}: it must be a status or several")


def _status(value: object) -> str:
    try:
        return ExecutionStatus(str(value)).value
    except ValueError:
        known = ", ".join(ExecutionStatus)
        raise InvalidOption(f"status is {value!r:.80}: it must be one of {known}") from None


def cursor_of(document: Document) -> str:
    """Where the page after this document begins."""
    created = int(document["created_at"].timestamp() * 1000)
    text = json.dumps([created, document["_id"]])
    return base64.urlsafe_b64encode(text.encode()).decode()


def after_cursor(cursor: str) -> Document:
    """A filter of what comes after a page; raises ``InvalidOption``."""
    try:
        created, last = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        moment = datetime.fromtimestamp(int(created) / 1000, UTC)
        last = str(last)
    except (ValueError, TypeError, AttributeError, OverflowError, OSError):
        raise InvalidOption(f"cursor is {cursor!r:.80}: it must be the .cursor of a page") from None
    return {
        "$or": [
            {"created_at": {"$lt": moment}},
            {"created_at": moment, "_id": {"$lt": last}},
        ]
    }
