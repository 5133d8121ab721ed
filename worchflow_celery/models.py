"""What a user reads: executions, their attempts and their steps, frozen."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict

from worchflow_celery.flowlog import FlowLogger

T = TypeVar("T")


class _Logged:
    """Where an event keeps its logger: a field would be part of what it is."""

    __slots__ = ("_logger",)

    _logger: FlowLogger


@dataclass(frozen=True, slots=True)
class Event(_Logged, Generic[T]):
    """What a flow is called with."""

    #: The execution's id.
    id: str
    #: The flow's id.
    name: str
    data: T
    #: When it was sent.
    timestamp: datetime
    #: 1 for the first attempt.
    attempt: int

    @property
    def logger(self) -> FlowLogger:
        """A standard logger; its lines are kept with the execution, see ``worchflow.logs``."""
        try:
            return self._logger
        except AttributeError:  # made by hand, for a test
            return FlowLogger({"execution": self.id, "flow": self.name})

    def logging_to(self, logger: FlowLogger) -> Self:
        """Give it its logger; a worker does."""
        object.__setattr__(self, "_logger", logger)
        return self


class ExecutionStatus(StrEnum):
    """The life of an execution; the last three end it."""

    QUEUED = "queued"
    PROCESSING = "processing"
    RETRYING = "retrying"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self in FINISHED


FINISHED = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED})


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ErrorInfo(_Frozen):
    """An error as it was stored; each text is cut to 8 kB."""

    #: Name of the exception's class.
    type: str
    message: str
    traceback: str | None = None


class Attempt(_Frozen):
    """One stay of an execution on a worker."""

    #: 1 + the retries before it; several stays share it when a worker was lost or shut down.
    number: int
    worker: str | None
    started_at: datetime | None
    ended_at: datetime | None
    #: ``completed``, ``failed``, ``retrying``, ``waiting``, ``handed-over`` or ``lost``.
    outcome: str
    error: ErrorInfo | None = None


class Trigger(_Frozen):
    """What started an execution."""

    #: ``send``, ``delay``, ``canvas``, ``retry``, ``cron``, ``missed``, ``child`` or
    #: ``restart``.
    kind: str
    #: Of a restart: the execution that was restarted.
    ref: str | None = None


class Progress(_Frozen):
    """How far an execution says that it is."""

    #: From 0 to 1.
    fraction: float
    message: str | None = None
    #: When it said so.
    at: datetime


class Execution(_Frozen):
    """One run of a flow, as MongoDB knew it when it was read."""

    id: str
    flow: str
    data: Any = None
    status: ExecutionStatus
    #: 1 + the retries so far; 0 before the first start.
    attempt: int = 0
    #: How often a worker was lost under it.
    crashes: int = 0
    result: Any = None
    error: ErrorInfo | None = None
    attempts: list[Attempt] = []
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    #: When the dispatcher looks at it again; ``None`` once it is finished.
    due_at: datetime | None = None
    worker: str | None = None
    trigger: Trigger
    parent_id: str | None = None
    scheduled_for: datetime | None = None
    #: Whether its steps were undone when it ended: all, not all, or, with ``None``, there was
    #: nothing to undo.
    compensated: bool | None = None
    #: Held until it is resumed.
    paused: bool = False
    #: What ``step.progress`` told last.
    progress: Progress | None = None


class StepRecord(_Frozen):
    """One step of an execution: its checkpoint, or its last failure."""

    execution_id: str
    #: Unique within the execution: the name, numbered when it was used before.
    key: str
    name: str
    kind: str = "run"
    #: ``completed``, ``failed`` or ``waiting``.
    status: str
    result: Any = None
    error: ErrorInfo | None = None
    #: Which run of this step it was: 1 + its failures before.
    attempt: int = 1
    #: Of the first recorded run.
    started_at: datetime
    finished_at: datetime


class Window(_Frozen):
    """What became of one window of a schedule."""

    flow: str
    scheduled_for: datetime
    #: When that was decided.
    fired_at: datetime
    #: ``fired``, ``missed-ran``, ``missed-skipped`` or ``overlap-skipped``.
    outcome: str
    execution_id: str | None = None
    reason: str | None = None


class Schedule(_Frozen):
    """The schedule of a flow."""

    #: The flow's id.
    id: str
    cron: str
    timezone: str
    next_run: datetime | None
    #: The last window that ran; ``None`` before the first.
    last_run: datetime | None = None
    paused: bool = False


class Page(list[Execution]):
    """Some executions, newest first, and where the next page begins."""

    def __init__(self, executions: list[Execution], cursor: str | None = None) -> None:
        super().__init__(executions)
        self.cursor = cursor
