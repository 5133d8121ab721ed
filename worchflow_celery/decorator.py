"""What ``@worchflow.flow(...)`` turns a function into, and which options it refuses."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar, overload

from celery import Celery
from celery.utils.threads import LocalStack

from worchflow_celery import cron
from worchflow_celery.async_step import AsyncStep
from worchflow_celery.definition import Definition
from worchflow_celery.errors import InvalidOption
from worchflow_celery.flow import Flow
from worchflow_celery.models import Event
from worchflow_celery.options import FlowOptions
from worchflow_celery.runtime import Runtime
from worchflow_celery.step import Step
from worchflow_celery.windows import LONGEST_FLOW_ID

logger = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")

_NOT_YET = {
    "concurrency": "durable composition",
    "concurrency_key": "durable composition",
    "throttle": "durable composition",
}
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
        if name in _NOT_YET:
            raise InvalidOption(f"{name}= arrives with {_NOT_YET[name]}; this version has none")
        if name in _NOT_OURS:
            raise InvalidOption(f"{name}= is not an option of a flow; use {_NOT_OURS[name]}")
