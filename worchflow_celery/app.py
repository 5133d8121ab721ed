"""The binding of a Celery app: define flows, start them by name, look at executions."""

import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeVar

from celery import Celery

from worchflow_celery import answers, dispatch, options
from worchflow_celery.decorator import (
    Decorator,
    check_celery_options,
    check_event,
    check_limits,
    check_schedule,
    make_flow,
)
from worchflow_celery.definition import Definition
from worchflow_celery.errors import InvalidOption
from worchflow_celery.flow import Flow
from worchflow_celery.handle import ExecutionHandle
from worchflow_celery.observing import Observing
from worchflow_celery.operations import Operations
from worchflow_celery.runtime import Runtime
from worchflow_celery.settings import Settings

In = TypeVar("In")
Out = TypeVar("Out")


class Worchflow(Operations, Observing):
    """Durable flows in a Celery app.

    Settings come from ``app.conf.worchflow_*`` on first use; a keyword of the same name without
    the prefix wins. Nothing is connected before it is needed: safe at import, safe before a fork.
    Raises ``ImproperlyConfigured`` for a setting that does not exist.
    """

    def __init__(self, app: Celery, **settings: Any) -> None:
        self.app = app
        super().__init__(Runtime(app, settings, self))
        bound: Any = app
        bound.worchflow = self
        answers.register(app)
        # By name: a process that only sends does not load what only workers need.
        app.steps["worker"].add("worchflow_celery.recovery:Dispatcher")
        app.steps["consumer"].add("worchflow_celery.recovery:Deferral")

    def _hear(self, signal: Any, told: Mapping[str, Any]) -> None:
        self.runtime.hear(signal, told)

    def __repr__(self) -> str:
        return f"Worchflow({self.app.main!r}, {len(self._flows)} flows)"

    @property
    def settings(self) -> Settings:
        """The validated settings."""
        return self.runtime.settings

    @property
    def flows(self) -> Mapping[str, Flow[Any, Any]]:
        """The flows of this app by id."""
        return MappingProxyType(self._flows)

    def flow(
        self,
        id: str | None = None,
        *,
        retries: int = 0,
        retry_delay: float | timedelta = 1.0,
        retry_backoff: bool | float = False,
        retry_backoff_max: float | timedelta = 600,
        retry_jitter: bool = True,
        timeout: float | timedelta | None = None,
        search: tuple[str, ...] = (),
        cron: str | None = None,
        timezone: str = "UTC",
        missed: str = "latest",
        overlap: str = "allow",
        on_failure: Callable[..., Any] | None = None,
        concurrency: int | None = None,
        concurrency_key: Callable[[Any], str] | None = None,
        throttle: tuple[int, float | timedelta] | None = None,
        queue: str | None = None,
        priority: int | None = None,
        **celery_task_options: Any,
    ) -> Decorator:
        """Make a flow of a function that takes ``event`` and, if it wants it, ``step``.

        ``id`` defaults to Celery's name for the task. ``retries`` more attempts follow one that
        raises, each after ``retry_delay`` (seconds or a timedelta); ``retry_backoff`` doubles it
        each time, from ``retry_delay`` or from the number given, up to ``retry_backoff_max``,
        with full jitter unless ``retry_jitter=False``. ``timeout`` bounds one attempt. ``search``
        names fields of the data for ``find``.

        ``cron`` (five fields, or six with seconds first) in ``timezone`` starts it by the
        scheduler, with ``None`` as data; ``missed`` says which windows run that no leader fired
        (``latest``, ``all``, ``skip``), ``overlap="skip"`` lets none run while the last one's
        execution has not ended.

        ``concurrency`` lets that many executions run at once, ``throttle=(count, seconds)`` that
        many start in any window of such a length; both per ``concurrency_key(data)``, a string,
        over all workers. The others wait without a worker. ``on_failure(event, error, step)`` is
        called once when an execution has failed. Other options are Celery's.

        Raises ``InvalidOption`` (a ``ValueError``) for an option that cannot be or an id that is
        taken, ``TypeError`` for a function that cannot be a flow.
        """
        names = dict(sys._getframe(1).f_locals)
        given = {
            "retries": retries,
            "retry_delay": retry_delay,
            "retry_backoff": retry_backoff,
            "retry_backoff_max": retry_backoff_max,
            "retry_jitter": retry_jitter,
            "timeout": timeout,
            "search": search,
            "cron": cron,
            "timezone": timezone,
            "missed": missed,
            "overlap": overlap,
            "concurrency": concurrency,
            "concurrency_key": concurrency_key,
            "throttle": throttle,
            "queue": queue,
            "priority": priority,
        }
        if id is not None:
            options.check_id(id, "flow id")
        checked = options.flow_options(given)
        check_celery_options(celery_task_options)

        def decorate(function: Callable[..., Any]) -> Flow[Any, Any]:
            flow_id = id or self._automatic_id(function)
            check_schedule(flow_id, checked)
            limited = check_limits(flow_id, checked)
            definition = Definition(flow_id, function, limited, names, on_failure)
            check_event(definition)
            return self._register(definition, celery_task_options)

        return decorate

    def send(
        self,
        flow: str,
        data: Any = None,
        *,
        id: str | None = None,
        delay: float | timedelta | None = None,
        eta: datetime | None = None,
        queue: str | None = None,
        priority: int | None = None,
    ) -> ExecutionHandle[Any]:
        """Start an execution by the flow's id, also of a flow that only the workers know.

        See ``Flow.send``; the data of a flow that is not known here is validated by the worker.
        """
        options.check_id(flow, "flow id")
        known = self._flows.get(flow)
        if known is not None:
            return known.send(data, id=id, delay=delay, eta=eta, queue=queue, priority=priority)
        execution_id = dispatch.send_by_name(
            self.runtime, flow, data, id=id, delay=delay, eta=eta, queue=queue, priority=priority
        )
        return ExecutionHandle(self.runtime, execution_id)

    def _automatic_id(self, function: Callable[..., Any]) -> str:
        name = getattr(function, "__name__", type(function).__name__)
        return options.check_id(self.app.gen_task_name(name, function.__module__), "flow id")

    def _register(
        self, definition: Definition, celery_task_options: Mapping[str, Any]
    ) -> Flow[Any, Any]:
        app: Any = self.app
        registry = app._tasks
        if definition.id in registry:
            raise InvalidOption(
                f"flow id {definition.id!r} is taken by another flow or task of the app "
                f"{self.app.main!r}: choose another one"
            )
        flow = make_flow(app, self.runtime, definition, celery_task_options)
        # Not app.register_task(): it would finalize the app, and so read a configuration that
        # may come after the flows. Whatever is in the registry is bound when the app is.
        registry.register(flow)
        if app.finalized:
            flow.bind(self.app)
        self._flows[definition.id] = flow
        self.runtime.definitions[definition.id] = definition
        return flow
