"""The binding of a Celery app: define flows, start them by name, look at executions."""

import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeVar

from celery import Celery

from worchflow_celery import dispatch, options, scheduling
from worchflow_celery.decorator import (
    Decorator,
    check_celery_options,
    check_schedule,
    make_flow,
)
from worchflow_celery.definition import Definition
from worchflow_celery.errors import InvalidOption
from worchflow_celery.flow import Flow
from worchflow_celery.handle import ExecutionHandle
from worchflow_celery.models import Execution, Page, Schedule, StepRecord, Window
from worchflow_celery.runtime import Runtime
from worchflow_celery.settings import Settings
from worchflow_celery.store.executions import filters_of

In = TypeVar("In")
Out = TypeVar("Out")


class Worchflow:
    """Durable flows in a Celery app.

    Settings come from ``app.conf.worchflow_*`` on first use; a keyword of the same name without
    the prefix wins. Nothing is connected before it is needed: safe at import, safe before a fork.
    Raises ``ImproperlyConfigured`` for a setting that does not exist.
    """

    def __init__(self, app: Celery, **settings: Any) -> None:
        self.app = app
        self.runtime = Runtime(app, settings, self)
        self._flows: dict[str, Flow[Any, Any]] = {}
        bound: Any = app
        bound.worchflow = self
        # By name: a process that only sends does not load what only workers need.
        app.steps["worker"].add("worchflow_celery.recovery:Dispatcher")
        app.steps["consumer"].add("worchflow_celery.recovery:Deferral")

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
        on_failure: None = None,
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
        execution has not ended. Other options are Celery's.

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
            "queue": queue,
            "priority": priority,
        }
        if id is not None:
            options.check_id(id, "flow id")
        checked = options.flow_options(given)
        if on_failure is not None:
            celery_task_options["on_failure"] = on_failure
        check_celery_options(celery_task_options)

        def decorate(function: Callable[..., Any]) -> Flow[Any, Any]:
            flow_id = id or self._automatic_id(function)
            check_schedule(flow_id, checked)
            definition = Definition(flow_id, function, checked, names)
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

    def get(self, id: str) -> Execution:
        """Read an execution; raises ``ExecutionNotFound``."""
        return self.runtime.store.executions.get(_id_of(id))

    def handle(self, id: str) -> ExecutionHandle[Any]:
        """A handle to an execution that is known to exist; raises ``ExecutionNotFound``."""
        execution = self.get(id)
        known = self._flows.get(execution.flow)
        returns = known.definition.returns if known else None
        return ExecutionHandle(self.runtime, execution.id, returns)

    def steps(self, id: str) -> list[StepRecord]:
        """The steps of an execution by first start; raises ``ExecutionNotFound``."""
        found = self.runtime.store.steps.records(_id_of(id))
        if not found:
            self.get(id)
        return found

    def retry(self, id: str) -> ExecutionHandle[Any]:
        """Put a failed or cancelled execution back in line.

        Attempts begin again at 1, the error is cleared, completed steps stay completed. Raises
        ``InvalidTransition`` naming the status of any other, and ``ExecutionNotFound``.
        """
        dispatch.retry(self.runtime, _id_of(id))
        return self.handle(id)

    def find(
        self,
        status: str | list[str] | tuple[str, ...] | None = None,
        flow: str | None = None,
        search: Mapping[str, Any] | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Executions, newest first, ``limit`` (1 to 1000) to a page.

        ``status`` is one or several; ``after <= created_at < before``, both aware; ``search``
        maps fields that the flow declared to their values. ``cursor`` is the ``.cursor`` of the
        page before.
        """
        _check_limit(limit)
        for name, moment in (("after", after), ("before", before)):
            if moment is not None:
                options.check_moment(moment, name)
        filters = filters_of(status=status, flow=flow, search=search, after=after, before=before)
        return self.runtime.store.executions.find(filters, limit=limit, cursor=cursor)

    def schedules(self) -> list[Schedule]:
        """The schedules of this app's flows, by id."""
        return scheduling.schedules(self.runtime)

    def pause_schedule(self, flow: str) -> None:
        """Stop firing a flow, also over restarts; raises ``ScheduleNotFound``."""
        scheduling.pause(self.runtime, flow, True)

    def resume_schedule(self, flow: str) -> None:
        """Fire it again, from now on: nothing of the pause is caught up."""
        scheduling.pause(self.runtime, flow, False)

    def trigger_schedule(self, flow: str) -> ExecutionHandle[Any]:
        """Start a scheduled flow now, beside its windows; raises ``ScheduleNotFound``."""
        scheduling.scheduled(self.runtime, flow)
        return self._flows[flow].send()

    def windows(self, flow: str, limit: int = 60) -> list[Window]:
        """What became of the last windows of a flow, newest first; 1 to 1000 of them."""
        _check_limit(limit)
        return self.runtime.store.schedules.windows(options.check_id(flow, "flow id"), limit)

    def ping(self) -> bool:
        """Ask MongoDB for a sign of life; raises ``StoreUnavailable``."""
        self.runtime.store.database.ping()
        return True

    def close(self) -> None:
        """Close this process's connections; the next use opens new ones."""
        self.runtime.close()

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


def _id_of(given: object) -> str:
    """The id of an execution that is asked for, by a handle as well."""
    return options.check_id(given.id if isinstance(given, ExecutionHandle) else given, "id")


def _check_limit(limit: object) -> None:
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= 1000:
        raise InvalidOption(f"limit is {limit!r:.80}: it must be a whole number from 1 to 1000")
