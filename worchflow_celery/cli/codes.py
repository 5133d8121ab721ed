"""Exit codes: what a script can act on."""

from celery.exceptions import ImproperlyConfigured

from worchflow_celery.errors import (
    ExecutionConflict,
    ExecutionFailed,
    ExecutionNotFound,
    InvalidEventData,
    InvalidOption,
    InvalidTransition,
    PayloadTooLarge,
    ScheduleNotFound,
    UnserializableResult,
    WorchflowError,
)

OK = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
ILLEGAL = 4
UNREACHABLE = 5
INVALID = 6
REFUSED = 7
TIMED_OUT = 124
INTERRUPTED = 130
PIPE_CLOSED = 141

#: The first that fits decides.
_CODES: list[tuple[tuple[type[Exception], ...], int]] = [
    ((ExecutionNotFound, ScheduleNotFound), NOT_FOUND),
    ((InvalidTransition, ExecutionConflict), ILLEGAL),
    ((InvalidEventData, PayloadTooLarge, UnserializableResult), INVALID),
    ((InvalidOption, ImproperlyConfigured), USAGE),
    ((ExecutionFailed,), FAILED),
    ((ConnectionError,), UNREACHABLE),
    ((TimeoutError,), TIMED_OUT),
]

#: What a command may end with, in one line.
EXPECTED = (WorchflowError, ImproperlyConfigured, ConnectionError, TimeoutError)


def code_of(error: Exception) -> int:
    """The exit code that an error stands for."""
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), FAILED)
