"""What a user reads about a running system: updates from all its processes, frozen."""

from datetime import datetime
from typing import Any

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


class WorkerInfo(_Frozen):
    """A worker, as its last heartbeat described it."""

    id: str
    #: Celery's name of it, as in ``execution.worker``.
    name: str
    host: str
    #: Of its main process.
    pid: int
    #: ``prefork``, ``thread``, ``solo``, ``gevent``, …
    pool: str
    #: How many tasks it runs at once.
    concurrency: int
    #: How many tasks it ran then, flows or not.
    busy: int
    queues: list[str]
    flows: list[str]
    #: Of this library.
    version: str
    #: The setting ``worchflow_code_version``.
    code_version: str | None = None
    started_at: datetime
    seen_at: datetime
    #: When it began to shut down.
    stopping_at: datetime | None = None
    #: Whether it was seen within 15 s, and does not shut down.
    alive: bool


class QueueInfo(_Frozen):
    """A queue of the broker, with what goes past new executions in its other line."""

    name: str
    #: Messages that no worker has taken.
    ready: int
    #: Messages that workers hold; ``None`` where the broker cannot tell.
    unacked: int | None = None
    #: When that which is taken next was sent, if it is an execution.
    oldest_at: datetime | None = None
    #: Workers that live and take from it.
    consumers: int


class SchedulerInfo(_Frozen):
    """A beat that lives."""

    id: str
    host: str
    pid: int
    #: Of the term in which it leads; ``None``: it stands by.
    token: str | None = None
    #: Since when it leads, or stands by.
    since: datetime
    seen_at: datetime


class AuditRecord(_Frozen):
    """Something that somebody did to executions or schedules."""

    #: Sorts by time; what ``audit.list(before=)`` takes.
    id: str
    at: datetime
    who: str
    #: Such as ``retry`` or ``pause-schedule``.
    action: str
    #: An id, or in words the filter of many.
    target: str
    #: How many it changed.
    n: int
    note: str | None = None


class Batch(_Frozen):
    """A job of the dashboard over all executions that a filter finds."""

    id: str
    #: ``retry`` or ``cancel``.
    action: str
    #: The query string of the list of executions that are meant.
    filter: str
    who: str
    #: How many there were when it was begun; it looks at no more.
    total: int
    changed: int = 0
    #: Those whose status did not allow it any more.
    skipped: int = 0
    #: ``waiting``, ``running``, ``stopped`` or ``completed``.
    status: str
    #: Where it goes on.
    cursor: str | None = None
    #: Why it was stopped.
    note: str | None = None
    created_at: datetime
    seen_at: datetime
    finished_at: datetime | None = None
    #: Whether the process that ran it is gone: it goes on when it is asked to.
    lost: bool = False

    @property
    def done(self) -> int:
        """How many it has looked at."""
        return self.changed + self.skipped


class LogLine(_Frozen):
    """A line that a flow has logged."""

    #: Sorts as the lines came; what ``logs(after=)`` takes.
    id: str
    at: datetime
    #: ``INFO``, ``WARNING``, …
    level: str
    #: Cut to 8 kB.
    message: str
    #: What was given beside the message.
    fields: Any = None
    #: The key of the step in which it was logged; ``None``: between steps.
    step: str | None = None
    attempt: int


class Spread(_Frozen):
    """How long something took, in seconds. Percentiles are out of buckets: within a factor of 2."""

    count: int
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    longest: float | None


class Point(_Frozen):
    """What ended in a part of a time."""

    #: When that part began.
    at: datetime
    completed: int
    failed: int
    cancelled: int


class FlowStats(_Frozen):
    """What ended of a flow in some time."""

    flow: str
    since: datetime
    until: datetime
    completed: int
    failed: int
    cancelled: int
    #: From the first start to the end, of completed ones.
    duration: Spread
    #: From when it was sent to the first start.
    wait: Spread
    #: The time in equal parts, for a line.
    points: list[Point]
