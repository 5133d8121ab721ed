"""What is done to all executions that a filter finds."""

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from worchflow_celery import cancelling, dispatch, options
from worchflow_celery.errors import ExecutionNotFound, InvalidOption, InvalidTransition
from worchflow_celery.models import ExecutionStatus
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.finding import filters_of, of_status

RETRIABLE = (ExecutionStatus.FAILED, ExecutionStatus.CANCELLED)

CANCELLABLE = tuple(status for status in ExecutionStatus if not status.finished)

Filters = Mapping[str, Any]


def retry_all(runtime: Runtime, filters: Filters) -> int:
    """Put all failed or cancelled executions back in line that a filter finds; return how many."""
    return sum(retry_some(runtime, batch) for batch in runtime.store.bulk.batches(filters))


def cancel_all(runtime: Runtime, filters: Filters) -> int:
    """Cancel all unfinished executions that a filter finds; return how many."""
    return sum(cancel_some(runtime, batch) for batch in runtime.store.bulk.batches(filters))


def retry_some(runtime: Runtime, execution_ids: Sequence[str]) -> int:
    """Put those back in line that are failed or cancelled still; return how many."""
    retried, due = runtime.store.bulk.retry(execution_ids, secrets.token_hex(8))
    for one in due:
        dispatch.tell_queued(runtime, one.id, one.flow)
        dispatch.republish(runtime, one)
    return retried


def cancel_some(runtime: Runtime, execution_ids: Sequence[str]) -> int:
    """Cancel those that have not ended; return how many."""
    changed = 0
    for execution_id in execution_ids:
        # One may end by itself before its turn, with its parent, or be removed.
        with suppress(InvalidTransition, ExecutionNotFound):
            cancelling.cancel(runtime, execution_id)
            changed += 1
    return changed


def selected(what: str, allowed: Sequence[ExecutionStatus], **given: Any) -> Filters:
    """The filter of executions that are meant and that allow it; raises ``InvalidOption``.

    It must say which: of a call without any filter one cannot tell that it means all of them.
    """
    if all(value is None for value in given.values()):
        raise InvalidOption(
            f"{what}() is given no filter and would change every execution: give it at least one "
            f"of {', '.join(given)}"
        )
    filters = checked(**given)
    if given["status"] is None:
        filters = {**filters, **of_status(allowed)}
    refused = set(filters["status"]["$in"]) - set(allowed)
    if refused:
        raise InvalidOption(
            f"status is {', '.join(sorted(refused))}: {what}() is for executions that are "
            f"{' or '.join(allowed)}"
        )
    return filters


def checked(
    *,
    status: object,
    flow: str | None,
    search: Mapping[str, Any] | None,
    after: datetime | None,
    before: datetime | None,
) -> Filters:
    """The filter of ``find`` and its like."""
    for name, moment in (("after", after), ("before", before)):
        if moment is not None:
            options.check_moment(moment, name)
    return filters_of(status=status, flow=flow, search=search, after=after, before=before)
