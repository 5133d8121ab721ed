"""A flow is a Celery task: how it is called. What a worker does with it is in delivery.py."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from celery import Task
from celery.result import AsyncResult, EagerResult
from celery.utils import uuid

from worchflow_celery import canvas, dispatch, options
from worchflow_celery.definition import Definition, EncodedData
from worchflow_celery.delivery import Delivery
from worchflow_celery.errors import ExecutionConflict
from worchflow_celery.handle import ExecutionHandle
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.records import Due

In = TypeVar("In")
Out = TypeVar("Out")

logger = logging.getLogger(__name__)


class Flow(Task, Generic[In, Out]):  # type: ignore[type-arg]
    """A durable flow, registered as a Celery task of the same name.

    Made by ``@worchflow.flow``. Everything that Celery can do with a task works, and is durable:
    the execution is stored before its message is published.
    """

    abstract = True
    typing = False
    max_retries = None
    acks_late = False
    serializer = "json"
    Request = "worchflow_celery.recovery:FlowRequest"
    Strategy = "worchflow_celery.inbox:strategy"
    #: Results are payload, and payload does not belong in a log.
    resultrepr_maxsize = 0

    definition: Definition
    runtime: Runtime

    def send(
        self,
        data: In | Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        delay: float | timedelta | None = None,
        eta: datetime | None = None,
        queue: str | None = None,
        priority: int | None = None,
    ) -> ExecutionHandle[Out]:
        """Start an execution; when this returns, it will run.

        ``id`` makes it idempotent: the same id with equal data is the same execution. ``delay``
        (seconds or a timedelta) or ``eta`` (an aware datetime) start it later.

        Raises ``InvalidEventData`` or ``PayloadTooLarge`` and nothing is stored,
        ``ExecutionConflict`` when the id belongs to another execution, ``StoreUnavailable`` when
        MongoDB is; the same call with the same id may then be repeated.
        """
        request = self._asked(
            self._encode(data), id=id, delay=delay, eta=eta, queue=queue, priority=priority
        )
        execution_id, _ = self._start(request)
        return ExecutionHandle(self.runtime, execution_id, self.definition.returns)

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **given: Any,
    ) -> "AsyncResult[Any]":
        """As of any task: ``args`` holds the event's data, the task id is the execution's."""
        if given.get("retries") and self._request.get("worchflow_due"):
            return self._publish_retry(str(task_id), given)
        self.app  # noqa: B018 - binds it: from here on it has the defaults of Celery's settings
        given |= {"link": link, "link_error": link_error, "shadow": shadow}
        given.setdefault("ignore_result", self.ignore_result)
        given.setdefault("expires", self.expires)
        request = self._asked(
            self._encode(canvas.data_of(self.name, args, kwargs)),
            id=uuid() if task_id is None else task_id,
            delay=given.get("countdown"),
            eta=given.get("eta"),
            queue=given.get("queue"),
            priority=given.get("priority"),
            follows=canvas.follows(given),
            message=canvas.carried(given),
        )
        eager = self._started_as_before(request) if "root_id" in given else self._start(request)[1]
        return self._result(str(request.id), given) if eager is None else eager

    def apply(  # type: ignore[override]
        self,
        args: Any = None,
        kwargs: Any = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        **given: Any,
    ) -> Any:
        """Run it in this process at once: stored as always, retried without delays."""
        data = self._encode(canvas.data_of(self.name, args, kwargs))
        follows = canvas.follows({**given, "link": link, "link_error": link_error})
        request = self._asked(data, id=task_id, follows=follows)
        execution_id, _ = dispatch.send(self.runtime, request, publish=False)
        return self._apply(execution_id, throw=given.get("throw"))

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """What a worker calls; called directly, the handler as a plain function."""
        if self._request.called_directly:
            return self.definition.function(*args, **kwargs)
        return Delivery(self).run(args, kwargs)

    def run_here(self, execution_id: str) -> None:
        """Run an execution in this process at once."""
        self._apply(execution_id, throw=False)

    def after_return(self, *args: Any) -> None:
        """Celery has sent links, chain and chord: they need not be looked after any more."""
        if self._request.get("worchflow_follow_up"):
            self.runtime.store.executions.followed_up(self._request.id)

    @property
    def _request(self) -> Any:
        """Celery's context of the message; an attribute that is set on it lasts as long."""
        return self.request

    def _encode(self, data: object) -> EncodedData:
        return self.definition.encode(data, self.runtime.settings.max_payload_bytes)

    def _asked(
        self,
        data: EncodedData,
        *,
        id: str | None,
        delay: object = None,
        eta: object = None,
        queue: object = None,
        priority: object = None,
        follows: Mapping[str, Any] | None = None,
        message: Mapping[str, Any] | None = None,
    ) -> dispatch.Request:
        if id is not None:
            options.check_execution_id(id)
        own = self.definition.options
        name = getattr(queue, "name", queue)
        kind = "send" if message is None else "canvas" if follows else "delay"
        return dispatch.Request(
            flow=self.name,
            data=data,
            id=id,
            queue=dispatch.queue_of(self.app, self.name, options.check_queue(name) or own.queue),
            not_before=dispatch.not_before(delay, eta),
            priority=own.priority if priority is None else options.check_priority(priority),
            trigger=kind,
            canvas=follows,
            message=message,
        )

    def _start(self, request: dispatch.Request) -> "tuple[str, EagerResult[Any] | None]":
        """The execution's id, and Celery's result of it when it has run already."""
        if request.data.search:
            self.runtime.store.database.ensure_search(self.definition.options.search)
        eager = bool(self.app.conf.task_always_eager)
        execution_id, new = dispatch.send(self.runtime, request, publish=not eager)
        return execution_id, self._apply(execution_id) if eager and new else None

    def _started_as_before(self, request: dispatch.Request) -> "EagerResult[Any] | None":
        """A link of a chain; sent twice, the second time with other data, the first counts."""
        try:
            return self._start(request)[1]
        except ExecutionConflict:
            logger.warning(
                "Execution %s was started before with other data",
                request.id,
                extra={"execution": request.id, "flow": self.name},
            )
            return None

    def _apply(self, execution_id: str, *, throw: bool | None = None) -> Any:
        return super().apply((), {}, task_id=execution_id, throw=throw)

    def _result(self, execution_id: str, given: Mapping[str, Any]) -> "AsyncResult[Any]":
        result = self.AsyncResult(execution_id)
        result.ignored = bool(given.get("ignore_result"))
        parent = self.app.current_worker_task
        if parent and given.get("add_to_parent", True):
            parent.add_trail(result)
        return result

    def _publish_retry(self, execution_id: str, given: Mapping[str, Any]) -> "AsyncResult[Any]":
        due: Due = self._request.worchflow_due
        countdown, retries = given.get("countdown") or 0.0, given["retries"]
        if not dispatch.publish_retry(self.runtime, due, countdown=countdown, retries=retries):
            raise ConnectionError("the broker does not take the retry; the dispatcher will")
        return self.AsyncResult(execution_id)
