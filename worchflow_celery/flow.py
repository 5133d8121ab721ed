"""A flow is a Celery task: how it is called, how a worker runs it, how Celery goes on after it."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from celery import Task
from celery.canvas import Signature
from celery.exceptions import Ignore, Reject
from celery.result import AsyncResult
from celery.utils import uuid
from celery.utils.functional import maybe_list

from worchflow_celery import codec, dispatch, options
from worchflow_celery.attempt import LONGEST_COUNTDOWN, Ended, attempt
from worchflow_celery.clock import utcnow
from worchflow_celery.definition import Definition, EncodedData, encode_plain
from worchflow_celery.errors import (
    ExecutionConflict,
    ExecutionFailed,
    InvalidEventData,
    InvalidOption,
    PayloadTooLarge,
    StoreUnavailable,
)
from worchflow_celery.handle import ExecutionHandle
from worchflow_celery.outcome import (
    Cancelled,
    Completed,
    Failed,
    HandedOver,
    Lost,
    Retried,
    Waiting,
)
from worchflow_celery.publisher import HEADER
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.records import Claim, Due, Finished

In = TypeVar("In")
Out = TypeVar("Out")

logger = logging.getLogger(__name__)

#: What a signature does after its task, and what an execution therefore remembers.
_CANVAS = ("link", "link_error", "chain", "chord", "group_id", "group_index")
#: What every message of an execution carries beside its id.
_CARRIED = (
    "headers",
    "shadow",
    "time_limit",
    "soft_time_limit",
    "expires",
    "reply_to",
    "root_id",
    "parent_id",
    "replaced_task_nesting",
    "ignore_result",
)


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
        if id is not None:
            options.check_execution_id(id)
        request = self._asked(
            self._encode(data), id=id, delay=delay, eta=eta, queue=queue, priority=priority
        )
        return ExecutionHandle(self.runtime, self._start(request), self.definition.returns)

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
        if given.get("retries"):
            return self._publish_retry(str(task_id), given)
        self.app  # noqa: B018 - binds it: from here on it has the defaults of Celery's settings
        given |= {"link": link, "link_error": link_error, "shadow": shadow}
        given.setdefault("ignore_result", self.ignore_result)
        given.setdefault("expires", self.expires)
        if task_id is not None:
            options.check_id(task_id, "task_id")
        request = self._asked(
            self._encode(_data_of(self.name, args, kwargs)),
            id=task_id or uuid(),
            delay=given.get("countdown"),
            eta=given.get("eta"),
            queue=given.get("queue"),
            priority=given.get("priority"),
            canvas=_canvas_of(given),
            message=_carried_by(given),
        )
        try:
            execution_id = self._start(request)
        except ExecutionConflict:
            if "root_id" not in given:
                raise
            # A chain that was sent twice, the second time with another result: the first counts.
            logger.warning("Execution %s was started before with other data", request.id)
            execution_id = str(request.id)
        return self._result(execution_id, given)

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
        data = self._encode(_data_of(self.name, args, kwargs))
        canvas = _canvas_of({**given, "link": link, "link_error": link_error})
        request = self._asked(data, id=task_id, canvas=canvas)
        execution_id, _ = dispatch.send(self.runtime, request, publish=False)
        return self._apply(execution_id, throw=given.get("throw"))

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """What a worker calls; called directly, the handler as a plain function."""
        request = self._request
        if request.called_directly:
            return self.definition.function(*args, **kwargs)
        try:
            options.check_id(request.id, "the message's task id")
            ours = request.get(HEADER) or request.is_eager
            ended = self._attempt(None if ours else self._adopt(args, kwargs))
            if ended is None:
                return self._follow_up()
        except StoreUnavailable as error:
            logger.warning("Execution %s waits for MongoDB: %s", request.id, error)
            raise Ignore from None
        except (InvalidOption, ExecutionConflict) as error:
            logger.warning("A message for flow %s was dropped: %s", self.name, error)
            raise Ignore from None
        return self._go_on(ended)

    def after_return(self, *args: Any) -> None:
        """Celery has sent links, chain and chord: they need not be looked after any more."""
        if self._request.get("worchflow_follow_up"):
            self.runtime.store.executions.followed_up(self._request.id)

    @property
    def _request(self) -> Any:
        """Celery's context of the message; an attribute that is set on it lasts as long."""
        return self.request

    # -- producing -----------------------------------------------------------------------------

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
        canvas: Mapping[str, Any] | None = None,
        message: Mapping[str, Any] | None = None,
    ) -> dispatch.Request:
        own = self.definition.options
        name = getattr(queue, "name", queue)
        kind = "send" if message is None else "canvas" if canvas else "delay"
        return dispatch.Request(
            flow=self.name,
            data=data,
            id=id,
            queue=dispatch.queue_of(self.app, self.name, options.check_queue(name) or own.queue),
            not_before=dispatch.not_before(delay, eta),
            priority=own.priority if priority is None else options.check_priority(priority),
            trigger=kind,
            canvas=canvas,
            message=message,
        )

    def _start(self, request: dispatch.Request) -> str:
        eager = bool(self.app.conf.task_always_eager)
        execution_id, new = dispatch.send(self.runtime, request, publish=not eager)
        if eager and new:
            self._apply(execution_id)
        return execution_id

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

    # -- consuming -----------------------------------------------------------------------------

    def _attempt(self, instead: Failed | None) -> Ended | None:
        request = self._request
        while True:
            ended = attempt(
                self.runtime,
                self.definition,
                request.id,
                worker=request.hostname,
                eager=request.is_eager,
                instead=instead,
            )
            again = ended is not None and isinstance(ended.outcome, Retried | Waiting)
            if not (again and request.is_eager):
                return ended

    def _adopt(self, args: Any, kwargs: Any) -> Failed | None:
        """Store an execution whose data came in the message: ``app.send_task`` knows no better.

        Data that cannot be stored ends it at once, as a failed execution that tells why.
        """
        request = self._request
        limit = self.runtime.settings.max_payload_bytes
        refused = None
        try:
            data = encode_plain(self.name, _data_of(self.name, args, kwargs), limit)
        except (TypeError, InvalidEventData, PayloadTooLarge) as error:
            data = encode_plain(self.name, None, limit)
            refused = Failed(InvalidEventData(str(error)))
        routed = (request.delivery_info or {}).get("routing_key")
        given = {**request.as_execution_options(), "ignore_result": request.ignore_result}
        adopted = dispatch.Request(
            flow=self.name,
            data=data,
            id=request.id,
            queue=str(routed or self.app.conf.task_default_queue),
            trigger="delay",
            canvas=_canvas_of(given),
            message=_carried_by(given),
        )
        dispatch.send(self.runtime, adopted, publish=False)
        return refused

    def _go_on(self, ended: Ended) -> Any:
        """Let Celery do what follows: nothing, a retry, or links, chain and chord."""
        claim = ended.claim
        match ended.outcome:
            case Completed(result):
                self._restore(claim.canvas)
                return self._passed_on(claim, result)
            case Failed(error):
                self._restore(claim.canvas)
                raise _raisable(error)
            case Cancelled(reason):
                self._restore(claim.canvas)
                raise ExecutionFailed(f"execution {claim.id!r} was cancelled: {reason}", claim.id)
            case Retried(error, delay):
                return self._retry(claim, error, delay)
            case HandedOver(cause):
                dispatch.republish(self.runtime, _due(claim))
                if cause is not None and not isinstance(cause, Exception):
                    raise cause
            case Lost(cause) if cause is not None:
                raise cause
        raise Ignore

    def _retry(self, claim: Claim, error: BaseException, delay: float) -> Any:
        if delay > LONGEST_COUNTDOWN:
            raise Ignore  # the dispatcher publishes it when it is due
        self._request.worchflow_due = _due(claim)
        try:
            self.retry(args=(), kwargs={}, exc=_raisable(error), countdown=delay)
        except Reject:
            raise Ignore from None  # the broker is away; the dispatcher publishes it

    def _follow_up(self) -> Any:
        """A late copy of the message: see whether a crash kept Celery from going on."""
        finished = self.runtime.store.executions.follow_up(self._request.id)
        if finished is None:
            raise Ignore
        self._restore(finished.canvas)
        if finished.status == "completed":
            return codec.plain_of(finished.result or "null")
        raise _failure(finished)

    def _restore(self, canvas: str | None) -> None:
        """Hand the tracer what to go on with; messages do not carry it, MongoDB does."""
        if canvas is None:
            return
        stored = dispatch.loaded(canvas)
        request = self._request
        request.callbacks = stored.get("link")
        request.errbacks = stored.get("link_error")
        request.chain = stored.get("chain")
        request.chord = stored.get("chord")
        request.group = stored.get("group_id")
        request.group_index = stored.get("group_index")
        request.worchflow_follow_up = True

    def _passed_on(self, claim: Claim, result: str) -> Any:
        if claim.canvas is None and self._request.ignore_result and not self._request.is_eager:
            return None
        return codec.plain_of(result)


def _data_of(flow: str, args: Any, kwargs: Any) -> Any:
    """The event's data out of the arguments of a Celery call."""
    args, kwargs = tuple(args or ()), dict(kwargs or {})
    if len(args) + len(kwargs) > 1 or (kwargs and "data" not in kwargs):
        raise TypeError(
            f"flow {flow!r} takes one argument, the event's data; "
            f"it was given {len(args)} and {sorted(map(str, kwargs))}"
        )
    return args[0] if args else kwargs.get("data")


def _canvas_of(given: Mapping[str, Any]) -> dict[str, Any] | None:
    canvas = {name: given.get(name) for name in _CANVAS}
    for name in ("link", "link_error"):
        canvas[name] = [_with_id(one) for one in maybe_list(canvas[name]) or ()] or None
    kept = {name: value for name, value in canvas.items() if value not in (None, [], ())}
    return kept or None


def _with_id(signature: Mapping[str, Any]) -> dict[str, Any]:
    """A callback whose task id is fixed: sent twice, it is the same task."""
    frozen = Signature.from_dict(dict(signature)).clone()
    frozen["options"].setdefault("task_id", uuid())
    return dict(frozen)


def _carried_by(given: Mapping[str, Any]) -> dict[str, Any]:
    names = {*_CARRIED, "stamped_headers", *(given.get("stamped_headers") or ())}
    carried = {name: given[name] for name in names if given.get(name) is not None}
    if "expires" in carried:
        carried["expires"] = _moment(carried["expires"]).isoformat()
    return carried


def _moment(expires: object) -> datetime:
    """Celery's ``expires``: a datetime, its text, or seconds from now."""
    if isinstance(expires, str):
        expires = datetime.fromisoformat(expires)
    if isinstance(expires, datetime):
        return options.check_moment(expires, "expires")
    return utcnow() + timedelta(seconds=options.seconds(expires, "expires"))


def _due(claim: Claim) -> Due:
    return Due(
        id=claim.id,
        flow=claim.flow,
        queue=claim.queue,
        priority=claim.priority,
        begun=True,
        publishes=0,
        canvas=claim.canvas,
        message=claim.message,
    )


def _failure(finished: Finished) -> ExecutionFailed:
    error = finished.error or {}
    return ExecutionFailed(
        f"execution {finished.id!r} {finished.status}: "
        f"{error.get('type', '')}: {error.get('message', '')}",
        finished.id,
    )


def _raisable(error: BaseException) -> Exception:
    """What Celery can take: SystemExit and its like would end the worker."""
    if isinstance(error, Exception) and not isinstance(error, Ignore | Reject):
        return error
    return ExecutionFailed(f"{type(error).__name__}: {error}")
