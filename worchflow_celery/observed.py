"""What a user reads about a running system: updates from all its processes, frozen."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from worchflow_celery.models import ErrorInfo, ExecutionStatus


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Update(_Frozen):
    """Something that has happened in one of the processes; never anybody's data."""

    #: Where in the stream it stands; what ``watch(since=)`` takes.
    id: str
    #: The name of its signal, such as ``step_completed``.
    event: str
    #: When, on the clock of the process that tells it.
    at: datetime
    #: The worker that tells it, or ``pid@host`` of another process.
    worker: str
    execution_id: str | None = None
    flow: str | None = None
    status: ExecutionStatus | None = None
    #: Name and key of a step.
    step: str | None = None
    key: str | None = None
    attempt: int | None = None
    #: Without a traceback; its text is cut to 500 characters.
    error: ErrorInfo | None = None
    will_retry: bool | None = None
    #: Of schedules.
    cron: str | None = None
    next_run: datetime | None = None
    scheduled_for: datetime | None = None
    is_missed: bool | None = None
    missed_count: int | None = None
    triggered_at: datetime | None = None
