"""Parts of queries and updates that several collections have in common."""

from collections.abc import Mapping
from typing import Any

from worchflow_celery.store.records import Document

#: How many attempts an execution remembers.
ATTEMPTS_KEPT = 30


def belonging(execution_id: str) -> Document:
    """The ids of what an execution has in a collection: its own id, a space, and more.

    An execution's id holds no space, so that those of one with a longer id are not among them.
    """
    return {"$gte": f"{execution_id} ", "$lt": f"{execution_id}!"}


def later(seconds: float) -> Document:
    """A time so many seconds from now, in a pipeline."""
    return {"$add": ["$$NOW", round(seconds * 1000)]}


def ended_attempt(outcome: str, error: Mapping[str, str] | None) -> Document:
    """The attempts of a document with the running one added, the oldest forgotten."""
    record: Document = {
        "number": "$attempt",
        "worker": "$owner.worker",
        "started_at": "$attempt_started_at",
        "ended_at": "$$NOW",
        "outcome": outcome,
        "error": {"$literal": error},
    }
    so_far = {"$ifNull": ["$attempts", []]}
    return {"$slice": [{"$concatArrays": [so_far, [record]]}, -ATTEMPTS_KEPT]}


def literal(value: Any) -> Any:
    """A user's value in a pipeline, which would evaluate it otherwise."""
    return "$$REMOVE" if value is None else {"$literal": value}
