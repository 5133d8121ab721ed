"""What the end of an attempt writes on its execution, as one stage of an update."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from worchflow_celery.models import Progress
from worchflow_celery.store.expressions import ended_attempt, later, literal
from worchflow_celery.store.records import Document
from worchflow_celery.store.taking import UNBEGUN


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of an execution when its attempt ends."""

    status: str
    #: Of the attempt, in its record.
    outcome: str
    #: Encoded.
    result: str | None = None
    error: Mapping[str, str] | None = None
    #: Seconds until it is due again; ``None`` for a finished one.
    delay: float | None = None
    #: Not to be claimed before it is due.
    held: bool = False
    #: What calls a waiting one back before it is due; it has not come since the claim.
    awaits: tuple[str, ...] = ()
    #: Whether its next message is published by whoever settles.
    published: bool = False
    #: Its handler was not called: nothing is counted and nothing recorded.
    unbegun: bool = False
    #: Seconds after which Celery's going on is looked after; ``None``: nothing follows.
    follow_up: float | None = None
    #: Whether its steps were undone, or its ``on_failure`` was called, before.
    unwound: bool = False
    #: Whether all was undone that was to be; ``None``: nothing was.
    compensated: bool | None = None
    retention: float | None = field(default=None)
    #: How far the execution has come, if it told.
    progress: Progress | None = None
    #: Where later attempts' spans begin; ``None``: that is known already, or nobody traces.
    trace: Mapping[str, str] | None = None


def fields_of(settlement: Settlement) -> Document:
    """The fields of an execution whose attempt ends so."""
    ends = settlement.delay is None
    due = "$$REMOVE" if settlement.delay is None else later(settlement.delay)
    fields: Document = {
        "status": settlement.status,
        "updated_at": "$$NOW",
        "due_at": due,
        "not_before": due if settlement.held else "$$REMOVE",
        "publishes": int(settlement.published),
        "asked": "$$REMOVE",
        **(UNBEGUN if settlement.unbegun else _ended(settlement)),
    }
    if settlement.error is not None or settlement.status == "completed":
        fields["error"] = literal(settlement.error)
    if settlement.awaits:
        fields["awaits"] = {"$literal": list(settlement.awaits)}
    if ends:
        fields["finished_at"] = "$$NOW"
        fields["paused"] = "$$REMOVE"
        fields["result"] = literal(settlement.result)
    if settlement.unwound:
        fields |= {"ending": "$$REMOVE", "compensated": literal(settlement.compensated)}
    if settlement.trace is not None:
        fields["trace"] = literal(settlement.trace)
    if ends and settlement.retention is not None:
        fields["expires_at"] = later(settlement.retention)
    if ends and settlement.follow_up is not None:
        fields["follow_up_at"] = later(settlement.follow_up)
    return fields


def _ended(settlement: Settlement) -> Document:
    return {"attempts": ended_attempt(settlement.outcome, settlement.error)}
