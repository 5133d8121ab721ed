"""What ``@worchflow.flow(...)`` turns a function into, and which options it refuses."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeVar, overload

from celery import Celery
from celery.utils.threads import LocalStack

from worchflow_celery import cron
from worchflow_celery.async_step import AsyncStep
from worchflow_celery.callables import is_coroutine
from worchflow_celery.definition import Definition
from worchflow_celery.errors import InvalidOption
from worchflow_celery.flow import Flow
from worchflow_celery.models import Event
from worchflow_celery.options import FlowOptions, positive_seconds, shown
from worchflow_celery.runtime import Runtime
from worchflow_celery.step import Step
from worchflow_celery.windows import LONGEST_FLOW_ID

logger = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")

#: What a limit can be at most: one document holds all that run at once, or start in a window.
_MOST_AT_ONCE = 1000
#: Options of a Celery task that a flow does not have, and what it has instead.
_NOT_OURS = {
    "name": "the flow's id, the first argument",
    "base": "nothing: a flow is a Flow",
    "bind": "the `step` argument",
    "shared": "nothing: flows are registered in their own app only",
    "lazy": "nothing",
    "max_retries": "retries=",
    "default_retry_delay": "retry_delay=",
    "autoretry_for": "retries=: every error is retried but NonRetriableError",
    "retry_kwargs": "retries= and retry_delay=",
    "pydantic": "the annotation of the event: Event[Model]",
    "serializer": "nothing: a flow's messages are JSON",
    "typing": "the annotation of the event: Event[Model]",
}


class Decorator(Protocol):
    """Turns a handler into a flow, with the types of its event and its result."""

    @overload
    def __call__(
        self, function: Callable[[Event[In], AsyncStep], Awaitable[Out]], /
    ) -> Flow[In, Out]: ...
    @overload
    def __call__(self, function: Callable[[Event[In]], Awaitable[Out]], /) -> Flow[In, Out]: ...
    @overload
    def __call__(self, function: Callable[[Event[In], Step], Out], /) -> Flow[In, Out]: ...
    @overload
    def __call__(self, function: Callable[[Event[In]], Out], /) -> Flow[In, Out]: ...


def make_flow(
    app: Celery, runtime: Runtime, definition: Definition, celery_task_options: Mapping[str, Any]
) -> Flow[Any, Any]:
    """A task class of its own for each flow, as Celery has it, and its one instance."""
    function = definition.function
    attributes = {
        **celery_task_options,
        "name": definition.id,
        "definition": definition,
        "runtime": runtime,
        "_app": app,
        "__module__": function.__module__,
        "__doc__": function.__doc__,
        "__wrapped__": staticmethod(function),
        "request_stack": LocalStack(),  # for a direct call before the app is finalized
    }
    flow: Flow[Any, Any] = type(getattr(function, "__name__", "flow"), (Flow,), attributes)()
    return flow


def check_schedule(flow_id: str, checked: FlowOptions) -> None:
    """Refuse a line or a time zone that cannot be, naming the flow."""
    if checked.cron is None:
        return
    if len(flow_id) > LONGEST_FLOW_ID:
        raise InvalidOption(
            f"flow {flow_id!r}: it has a cron, so its id must not be longer than "
            f"{LONGEST_FLOW_ID} characters: the ids of its executions hold the window as well"
        )
    try:
        cron.check(checked.cron, checked.timezone)
    except ValueError as error:
        raise InvalidOption(f"flow {flow_id!r}: {error}") from None
    doubt = cron.doubt(checked.cron, checked.timezone)
    if doubt is not None:
        logger.warning("Flow %r: %s", flow_id, doubt)


def check_limits(flow_id: str, given: FlowOptions) -> FlowOptions:
    """The options with their limits in order; refuse what cannot be, naming the flow."""
    key, throttle = given.concurrency_key, given.throttle
    try:
        if key is not None and not given.limited:
            raise InvalidOption("concurrency_key needs concurrency= or throttle=, which it is for")
        if key is not None and (not callable(key) or is_coroutine(key)):
            raise InvalidOption(
                f"concurrency_key is {shown(key)}: it must be a function (not async) that takes "
                "the data and returns a string"
            )
        if given.concurrency is not None:
            _check_count(given.concurrency, "concurrency")
        return given if throttle is None else replace(given, throttle=_checked(throttle))
    except InvalidOption as error:
        raise InvalidOption(f"flow {flow_id!r}: {error}") from None


def _checked(throttle: object) -> tuple[int, float]:
    if not isinstance(throttle, tuple | list) or len(throttle) != 2:
        raise InvalidOption(
            f"throttle is {shown(throttle)}: it must be (count, seconds), for example (10, 60)"
        )
    count, window = throttle
    return _check_count(count, "the count of throttle"), positive_seconds(
        window, "the window of throttle"
    )


def _check_count(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_AT_ONCE:
        raise InvalidOption(
            f"{what} is {shown(value)}: it must be a whole number from 1 to {_MOST_AT_ONCE}"
        )
    return value


def check_event(definition: Definition) -> None:
    """Refuse a scheduled flow whose event cannot be what the scheduler sends."""
    if definition.options.cron is not None and not definition.accepts(None):
        raise InvalidOption(
            f"flow {definition.id!r}: it has a cron, and its windows bring None as data, which the "
            "type of its event refuses: annotate Event[None], or Event[... | None] if it is sent "
            "with data as well"
        )


def check_celery_options(given: Mapping[str, Any]) -> None:
    """Refuse options of a Celery task that a flow does not have."""
    for name in given:
        if name in _NOT_OURS:
            raise InvalidOption(f"{name}= is not an option of a flow; use {_NOT_OURS[name]}")
