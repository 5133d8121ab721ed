"""Parts of updates that MongoDB itself evaluates."""

from collections.abc import Mapping
from typing import Any

from worchflow_celery.store.records import Document

#: How many attempts an execution remembers.
ATTEMPTS_KEPT = 30


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
