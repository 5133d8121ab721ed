"""Everything that can go wrong, as one tree, and the three ways in which an attempt is cut short.

WorchflowError
├── InvalidOption          (ValueError)       a setting or an argument that cannot be
├── InvalidEventData       (ValueError)       data that does not fit the flow's event
├── UnserializableResult   (ValueError)       a value that cannot be stored
├── PayloadTooLarge        (ValueError)       a value that is too large to be stored
├── ExecutionConflict      (ValueError)       an id that belongs to another execution
├── ExecutionNotFound      (LookupError)
├── ScheduleNotFound       (LookupError)
├── InvalidTransition      (ValueError)       a change that the present status does not allow
├── StoreUnavailable       (ConnectionError)  MongoDB does not answer, or refuses us
├── LiveUnavailable        (ConnectionError)  Redis, for live events, likewise
├── CorruptDocument        (ValueError)       a stored document that is not one of ours
├── StepMisuse             (RuntimeError)     a step where no step can be
├── ExecutionFailed        (RuntimeError)     the stored failure, for those who wait for a result
├── ExecutionTimeout       (TimeoutError)
├── StepTimeout            (TimeoutError)
├── WorkerLost             (RuntimeError)     an execution that kills its workers
├── ChildFailed            (RuntimeError)
├── TaskFailed             (RuntimeError)
├── NonRetriableError                         raised by a handler: fail at once
└── RetryAfter                                raised by a handler: not before then

Interruption (BaseException: a handler's ``except Exception`` does not catch it)
├── LeaseLost   another worker has the execution
├── HandOver    the worker shuts down
├── Stopped     somebody asked the execution to stop
├── Unwinding   its steps are being undone: no other begins
└── Suspended   nothing to do for a while
"""

from datetime import datetime, timedelta

from worchflow_celery.models import ErrorInfo


class WorchflowError(Exception):
    """The root of all errors of this library."""


class InvalidOption(WorchflowError, ValueError):
    """An argument or option is not what it can be."""


class LiveUnavailable(WorchflowError, ConnectionError):
    """Redis, which holds live events, does not answer, or refuses us."""


class InvalidEventData(WorchflowError, ValueError):
    """The data does not fit the type of the flow's event."""


class UnserializableResult(WorchflowError, ValueError):
    """A value cannot be stored; final for the step that returned it."""


class PayloadTooLarge(WorchflowError, ValueError):
    """A value is larger than ``worchflow_max_payload_bytes``."""


class ExecutionConflict(WorchflowError, ValueError):
    """The id belongs to an execution of another flow or with other data."""


class ExecutionNotFound(WorchflowError, LookupError):
    """No execution has this id."""


class ScheduleNotFound(WorchflowError, LookupError):
    """No schedule belongs to this flow."""


class InvalidTransition(WorchflowError, ValueError):
    """The present status of the execution does not allow this."""


class StoreUnavailable(WorchflowError, ConnectionError):
    """MongoDB cannot be reached, does not answer in time, or refuses us."""


class CorruptDocument(WorchflowError, ValueError):
    """A stored document lacks a field or holds one that cannot be read."""


class StepMisuse(WorchflowError, RuntimeError):
    """A step was begun where no step can be."""


class ExecutionFailed(WorchflowError, RuntimeError):
    """The execution ended without a result.

    ``execution_id`` names it; ``error`` is what was stored: type, message, traceback.
    """

    def __init__(
        self, message: str, execution_id: str | None = None, error: ErrorInfo | None = None
    ) -> None:
        super().__init__(message)
        self.execution_id = execution_id
        self.error = error


class ExecutionTimeout(WorchflowError, TimeoutError):
    """One attempt ran longer than the flow's ``timeout``."""


class StepTimeout(WorchflowError, TimeoutError):
    """One run of a step took longer than its ``timeout``."""


class WorkerLost(WorchflowError, RuntimeError):
    """The execution killed its worker too often since its last finished step."""


class ChildFailed(WorchflowError, RuntimeError):
    """A child execution failed or was cancelled.

    ``execution_id`` names it; ``error`` is what was stored: type, message, traceback.
    """

    execution_id: str | None = None
    error: ErrorInfo | None = None


class TaskFailed(WorchflowError, RuntimeError):
    """A Celery task that ran as a step failed; ``error`` is its type, message and traceback."""

    error: ErrorInfo | None = None

    @classmethod
    def of(cls, error: ErrorInfo) -> "TaskFailed":
        """The failure of a task that raised this."""
        failure = cls(f"{error.type}: {error.message}")
        failure.error = error
        return failure


class NonRetriableError(WorchflowError):
    """Raise it in a handler or a step to fail without another attempt."""


class RetryAfter(WorchflowError):
    """Raise it in a handler or a step to be retried no sooner than ``when``.

    ``when`` is a number of seconds, a ``timedelta`` or a timezone-aware ``datetime``. It counts
    as one of the flow's (or the step's) retries.
    """

    when: float | timedelta | datetime = 0.0

    def __init__(self, when: float | timedelta | datetime, *args: object) -> None:
        if isinstance(when, bool) or not isinstance(when, int | float | timedelta | datetime):
            raise InvalidOption(
                f"RetryAfter is given a {type(when).__name__}: it needs seconds, a timedelta or "
                "a timezone-aware datetime"
            )
        if isinstance(when, datetime) and when.tzinfo is None:
            raise InvalidOption(
                "RetryAfter needs a timezone-aware datetime: add tzinfo=timezone.utc"
            )
        super().__init__(when, *args)
        self.when = when

    def __str__(self) -> str:
        return ": ".join(str(arg) for arg in self.args[1:]) or f"retry after {self.when}"


class Interruption(BaseException):
    """The attempt stops here; it is technically not an error."""


class LeaseLost(Interruption):
    """The lease of this attempt is over: nothing that it does can be recorded any more."""


class HandOver(Interruption):
    """The worker shuts down: another one goes on at this step."""


class Stopped(Interruption):
    """Somebody asked the execution to stop: ``what`` is ``cancel`` or ``pause``."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Unwinding(Interruption):
    """The execution ends, and its handler was called for its compensations alone."""


class Suspended(Interruption):
    """The execution has nothing to do for ``delay`` seconds and leaves its worker.

    ``awaits`` names what calls it back before that.
    """

    def __init__(self, delay: float, awaits: tuple[str, ...] = ()) -> None:
        super().__init__(delay)
        self.delay = delay
        self.awaits = awaits
