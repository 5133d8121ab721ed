"""The tree of errors, and what Celery does to them: it pickles them between processes."""

import inspect
import pickle
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from celery.utils.serialization import get_pickleable_exception

from worchflow_celery import errors
from worchflow_celery.errors import (
    ExecutionFailed,
    Interruption,
    InvalidOption,
    NonRetriableError,
    RetryAfter,
    WorchflowError,
)
from worchflow_celery.models import ErrorInfo

#: The contract's names, and the built-in that each also is.
CONTRACT: dict[str, type[Exception]] = {
    "InvalidEventData": ValueError,
    "UnserializableResult": ValueError,
    "PayloadTooLarge": ValueError,
    "ExecutionConflict": ValueError,
    "ExecutionNotFound": LookupError,
    "ScheduleNotFound": LookupError,
    "InvalidTransition": ValueError,
    "StoreUnavailable": ConnectionError,
    "StepMisuse": RuntimeError,
    "ExecutionFailed": RuntimeError,
    "ExecutionTimeout": TimeoutError,
    "StepTimeout": TimeoutError,
    "WorkerLost": RuntimeError,
    "ChildFailed": RuntimeError,
    "TaskFailed": RuntimeError,
    "NonRetriableError": Exception,
    "RetryAfter": Exception,
}

CLASSES = [
    one
    for _, one in inspect.getmembers(errors, inspect.isclass)
    if one.__module__ == errors.__name__
]
PUBLIC = [one for one in CLASSES if issubclass(one, WorchflowError)]
INTERRUPTIONS = [one for one in CLASSES if issubclass(one, Interruption)]

STORED = ErrorInfo(type="CardDeclined", message="no funds", traceback="Traceback …")
WHEN = datetime(2030, 1, 1, tzinfo=UTC)


def example(cls: type[BaseException]) -> BaseException:
    """One of each, with all that it can carry."""
    if cls is ExecutionFailed:
        return ExecutionFailed("execution 'e1' failed", "e1", STORED)
    if cls is RetryAfter:
        return RetryAfter(WHEN, "rate limit", 429)
    if cls is errors.Suspended:
        return errors.Suspended(5.0)
    if cls is errors.Stopped:
        return errors.Stopped("cancel")
    return cls("what, where and what to do", {"more": 1})


def content(error: BaseException) -> tuple[Any, ...]:
    return type(error), error.args, vars(error), str(error)


@pytest.mark.parametrize(("name", "built_in"), CONTRACT.items())
def test_an_error_of_the_contract_is_ours_and_the_built_in_that_fits(
    name: str, built_in: type[Exception]
) -> None:
    assert issubclass(getattr(errors, name), WorchflowError)
    assert issubclass(getattr(errors, name), built_in)


def test_the_tree_atop_the_module_draws_every_error_and_no_other() -> None:
    drawn = re.findall(r"^(?:├── |└── )?([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE)

    assert {*drawn} - {"Everything"} == {cls.__name__ for cls in CLASSES}


@pytest.mark.parametrize("cls", PUBLIC)
def test_every_error_says_what_it_means(cls: type[Exception]) -> None:
    assert cls.__doc__


@pytest.mark.parametrize("cls", INTERRUPTIONS)
def test_an_interruption_passes_a_handler_s_except_exception(cls: type[BaseException]) -> None:
    assert not issubclass(cls, Exception)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("cls", [*PUBLIC, *INTERRUPTIONS])
def test_an_error_survives_pickling_with_its_attributes(
    cls: type[BaseException], protocol: int
) -> None:
    error = example(cls)

    again = pickle.loads(pickle.dumps(error, protocol))

    assert content(again) == content(error)


@pytest.mark.parametrize("cls", PUBLIC)
def test_celery_hands_an_error_on_as_it_is(cls: type[Exception]) -> None:
    error = example(cls)

    assert get_pickleable_exception(error) is error


def test_an_error_survives_the_way_out_of_a_pool_process() -> None:
    try:
        raise example(ExecutionFailed)
    except ExecutionFailed as error:
        sent = ExceptionInfo((type(error), error, error.__traceback__))

    received = pickle.loads(pickle.dumps(sent))

    assert received.exception.execution_id == "e1"
    assert received.exception.error == STORED


def test_a_failed_execution_s_error_tells_which_and_why() -> None:
    error = ExecutionFailed("text", "e1", STORED)

    assert (str(error), error.execution_id, error.error) == ("text", "e1", STORED)


def test_a_failed_execution_s_error_needs_no_more_than_a_text() -> None:
    error = ExecutionFailed("text")

    assert (error.execution_id, error.error) == (None, None)


@pytest.mark.parametrize("when", [0, 1.5, timedelta(minutes=1), WHEN])
def test_retry_after_knows_when(when: Any) -> None:
    assert RetryAfter(when).when == when


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RetryAfter(30), "retry after 30"),
        (RetryAfter(30, "rate limit"), "rate limit"),
        (RetryAfter(30, "rate limit", 429), "rate limit: 429"),
    ],
)
def test_retry_after_says_why_or_when(error: RetryAfter, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize(
    "when", ["soon", "2030-01-01", None, True, [1], datetime(2030, 1, 1), WHEN.date(), 1j]
)
def test_retry_after_takes_no_other_time(when: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^RetryAfter .*(seconds|timezone-aware)"):
        RetryAfter(when)


class QuotaExceeded(RetryAfter):
    """A subclass of a user's, whose constructor takes something else."""

    def __init__(self, quota: str) -> None:
        super().__init__(60, quota)
        self.quota = quota

    def __reduce__(self) -> Any:
        return QuotaExceeded, (self.quota,)


def test_a_user_may_derive_errors_of_their_own() -> None:
    again = pickle.loads(pickle.dumps(QuotaExceeded("calls")))

    assert (again.quota, again.when, str(again)) == ("calls", 60, "calls")
    assert issubclass(QuotaExceeded, WorchflowError)
    assert not issubclass(QuotaExceeded, NonRetriableError)
