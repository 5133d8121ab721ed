"""From a call to a message: store the execution, tell, then publish its id."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from celery import Celery
from celery.utils import uuid
from kombu.utils import json

from worchflow_celery import options, signals, tracing
from worchflow_celery.clock import utcnow
from worchflow_celery.definition import EncodedData, encode_plain
from worchflow_celery.errors import (
    ExecutionConflict,
    InvalidOption,
    StoreUnavailable,
)
from worchflow_celery.models import ExecutionStatus
from worchflow_celery.publisher import Message
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.records import Claim, Copied, Due, NewExecution

#: Seconds after which a dispatcher looks whether Celery has gone on with links, chain and chord.
FOLLOW_UP = 10.0


@dataclass(frozen=True, slots=True)
class Request:
    """How an execution is to be started."""

    flow: str
    data: EncodedData
    queue: str
    #: ``None``: a fresh one.
    id: str | None = None
    not_before: datetime | None = None
    priority: int | None = None
    scheduled_for: datetime | None = None
    trigger: str = "send"
    ref: str | None = None
    #: What Celery is to go on with afterwards: link, link_error, chain, chord, group.
    canvas: Mapping[str, Any] | None = None
    #: What its messages carry beside the id, so that later ones equal the first.
    message: Mapping[str, Any] | None = None
    #: The step that begins it, and how many executions are above it.
    parent: Mapping[str, Any] | None = None
    depth: int = 0
    #: What it takes over from another execution.
    copied: Copied | None = None


def send(runtime: Runtime, request: Request, *, publish: bool = True) -> tuple[str, bool]:
    """Store an execution and publish its id; return the id, and whether it is new.

    An id that is known with equal data is no new execution; with other data, or of another
    flow, it raises ``ExecutionConflict``. A publish that fails is made up for by the dispatcher.
    """
    store = runtime.store.executions
    with tracing.sending(runtime.spans, [_new_execution(request)]) as (new,):
        if not store.insert(new):
            _check_same(store.identity(new.id), new)
            return new.id, False
        tell_queued(runtime, new.id, new.flow)
        if publish and new.not_before is None and not _publish_new(runtime, new):
            with suppress(StoreUnavailable):  # it is stored, and due in seconds all the same
                store.publish_failed(new.id)
    return new.id, True


def send_by_name(
    runtime: Runtime,
    flow: str,
    data: object,
    *,
    id: str | None,
    delay: object,
    eta: object,
    queue: object,
    priority: object,
) -> str:
    """Start an execution of a flow that this process does not know; return its id."""
    request = Request(
        flow=flow,
        data=encode_plain(flow, data, runtime.settings.max_payload_bytes),
        queue=queue_of(runtime.app, flow, options.check_queue(queue)),
        id=None if id is None else options.check_execution_id(id),
        not_before=not_before(delay, eta),
        priority=options.check_priority(priority),
    )
    return send(runtime, request)[0]


def send_many(runtime: Runtime, requests: Sequence[Request], *, publish: bool = True) -> set[str]:
    """Start executions with ids of their own in one write; return the ids of those started.

    Those that exist are left alone.
    """
    if not requests:
        return set()
    with tracing.sending(runtime.spans, [_new_execution(one) for one in requests]) as many:
        fresh = runtime.store.executions.insert_many(many)
        unpublished = []
        for new in many:
            if new.id in fresh:
                tell_queued(runtime, new.id, new.flow)
                if publish and not _publish_new(runtime, new):
                    unpublished.append(new.id)
        if unpublished:
            with suppress(StoreUnavailable):  # they are stored, and due in seconds all the same
                runtime.store.executions.publish_failed(*unpublished)
    return fresh


def republish(runtime: Runtime, due: Due) -> bool:
    """Publish the id of an execution again; those that have begun pass the backlog of new ones.

    Every other time only, since workers of an older version may not listen to that queue.
    """
    return runtime.process.publisher.publish(
        Message(
            due.id,
            due.flow,
            due.queue,
            due.priority,
            express=due.begun and due.publishes % 2 == 0,
            **_carried(due.message),
        )
    )


def retry(runtime: Runtime, execution_id: str) -> str:
    """Put a failed or cancelled execution back in line and publish it."""
    due = runtime.store.executions.retry(execution_id)
    tell_queued(runtime, due.id, due.flow)
    republish(runtime, due)
    return due.id


def publish_retry(runtime: Runtime, due: Due, *, countdown: float, retries: int) -> bool:
    """Publish the message of a retry that ``Task.retry`` asks for."""
    return runtime.process.publisher.publish(
        Message(
            due.id,
            due.flow,
            due.queue,
            due.priority,
            express=True,
            countdown=countdown,
            retries=retries,
            **_carried(due.message),
        )
    )


def not_before(delay: object, eta: object) -> datetime | None:
    """When an execution may start; ``None``: at once."""
    now = utcnow()
    if delay is not None and eta is not None:
        raise InvalidOption("delay and eta are both given: give one of them")
    if eta is not None:
        moment = options.check_moment(eta, "eta")
        if moment > now + timedelta(days=3660):
            raise InvalidOption(f"eta is {moment}: it must be within ten years")
        return moment if moment > now else None
    wait = options.seconds(delay, "delay") if delay is not None else 0.0
    return now + timedelta(seconds=wait) if wait else None


def queue_of(app: Celery, flow: str, queue: str | None) -> str:
    """The queue that Celery routes a flow to, unless one is given."""
    if queue is not None:
        return queue
    route = app.amqp.router.route({}, flow)
    routed = route.get("queue")
    if routed is None:
        return str(app.conf.task_default_queue)
    return str(getattr(routed, "name", routed))


def dumped(values: Mapping[str, Any] | None) -> str | None:
    """Celery's own values as JSON text, encoded as Celery encodes them for its messages."""
    kept = {name: value for name, value in (values or {}).items() if value is not None}
    return json.dumps(kept) if kept else None


def loaded(text: str | None) -> dict[str, Any]:
    """What ``dumped`` wrote."""
    return dict(json.loads(text)) if text else {}


def expires_at(message: str | None) -> datetime | None:
    """Celery's ``expires``, by which an execution must have started."""
    expires = loaded(message).get("expires")
    return None if expires is None else datetime.fromisoformat(expires)


def _new_execution(request: Request) -> NewExecution:
    return NewExecution(
        id=request.id or uuid(),
        flow=request.flow,
        data=request.data.text,
        data_hash=request.data.fingerprint,
        queue=request.queue,
        trigger={"kind": request.trigger, "ref": request.ref},
        priority=request.priority,
        search=request.data.search,
        not_before=request.not_before,
        scheduled_for=request.scheduled_for,
        canvas=dumped(request.canvas),
        message=dumped(request.message),
        parent=request.parent,
        depth=request.depth,
        copied=request.copied,
    )


def is_followed(runtime: Runtime, claim: Claim | Due) -> bool:
    """Whether Celery has something to do after the end: links, or a result that it is to keep."""
    if claim.canvas is not None:
        return True
    kept = claim.message is not None and loaded(claim.message).get("ignore_result") is False
    return kept and runtime.keeps_results


def tell_queued(runtime: Runtime, execution_id: str, flow: str) -> None:
    """Send the signal that an execution is in line (again)."""
    signals.execution_updated.send(
        runtime.sender, execution_id=execution_id, flow=flow, status=ExecutionStatus.QUEUED
    )


def _check_same(stored: tuple[str, str] | None, new: NewExecution) -> None:
    if stored is None or stored == (new.flow, new.data_hash):
        return
    what = f"of flow {stored[0]!r}" if stored[0] != new.flow else "with other data"
    raise ExecutionConflict(
        f"id {new.id!r} belongs to an execution {what}: an id stands for one flow and one "
        "input; choose another id"
    )


def _publish_new(runtime: Runtime, new: NewExecution) -> bool:
    return runtime.process.publisher.publish(
        Message(new.id, new.flow, new.queue, new.priority, **_carried(new.message))
    )


def _carried(message: str | None) -> dict[str, Any]:
    extra = loaded(message)
    extra.pop("expires", None)  # a worker would drop the message; the attempt looks at it
    return {"ignore_result": extra.pop("ignore_result", True), "extra": extra}
