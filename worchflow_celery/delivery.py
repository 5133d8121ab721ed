"""What a worker does with a flow's message, and how Celery goes on after it."""

import logging
from typing import Any

from celery.exceptions import Ignore, Reject

from worchflow_celery import calling, cancelling, canvas, codec, dispatch, options
from worchflow_celery.attempt import Ended, attempt
from worchflow_celery.definition import encode_plain
from worchflow_celery.errors import (
    ExecutionConflict,
    ExecutionFailed,
    InvalidEventData,
    InvalidOption,
    PayloadTooLarge,
    StoreUnavailable,
)
from worchflow_celery.outcome import (
    Cancelled,
    Completed,
    Failed,
    HandedOver,
    Lost,
    Retried,
    Waiting,
    describe,
    message_of,
)
from worchflow_celery.publisher import HEADER
from worchflow_celery.settlement import LONGEST_COUNTDOWN
from worchflow_celery.store.records import Claim, Due, Finished

logger = logging.getLogger(__name__)

#: Characters of an error's text that go through Celery's pipes, events and logs.
_LONGEST_TEXT = 65_536


class Delivery:
    """One message: ``task`` is the flow that it is for, with Celery's context of the message."""

    def __init__(self, task: Any) -> None:
        self._task = task
        self._runtime = task.runtime
        self._request = task.request

    def run(self, args: Any, kwargs: Any) -> Any:
        """Return, or raise, what Celery is to make of it; ``Ignore``: nothing more to do."""
        request = self._request
        try:
            options.check_id(request.id, "the message's task id")
            ours = request.get(HEADER) or request.is_eager
            ended = self._attempt(None if ours else self._adopt(args, kwargs))
            if ended is None:
                return self._follow_up()
        except StoreUnavailable as error:
            ids = {"execution": request.id, "flow": self._task.name}
            logger.warning("Execution %s waits for MongoDB: %s", request.id, error, extra=ids)
            raise Ignore from None
        except (InvalidOption, ExecutionConflict) as error:
            logger.warning("A message for flow %s was dropped: %s", self._task.name, error)
            raise Ignore from None
        return self._go_on(ended)

    def _attempt(self, instead: Failed | None) -> Ended | None:
        request = self._request
        while True:
            ended = attempt(
                self._runtime,
                self._task.definition,
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
        request, flow = self._request, self._task.name
        options.check_execution_id(request.id)
        limit = self._runtime.settings.max_payload_bytes
        refused = None
        try:
            data = encode_plain(flow, canvas.data_of(flow, args, kwargs), limit)
        except (TypeError, InvalidEventData, PayloadTooLarge) as error:
            data = encode_plain(flow, None, limit)
            refused = Failed(InvalidEventData(str(error)))
        routed = (request.delivery_info or {}).get("routing_key")
        given = request.as_execution_options()
        given["ignore_result"] = request.ignore_result
        if request.ignore_result is None:  # the sender did not say
            given["ignore_result"] = self._task.ignore_result
        adopted = dispatch.Request(
            flow=flow,
            data=data,
            id=request.id,
            queue=str(routed or self._runtime.app.conf.task_default_queue),
            trigger="delay",
            canvas=canvas.follows(given),
            message=canvas.carried(given),
        )
        dispatch.send(self._runtime, adopted, publish=False)
        return refused

    def _go_on(self, ended: Ended) -> Any:
        """Let Celery do what follows: nothing, a retry, or links, chain and chord."""
        claim = ended.claim
        match ended.outcome:
            case Completed(result):
                self._restore(claim)
                return self._passed_on(claim, result)
            case Failed(error):
                self._restore(claim)
                raise _raisable(error)
            case Cancelled(reason):
                self._restore(claim)
                raise ExecutionFailed(f"execution {claim.id!r} was cancelled: {reason}", claim.id)
            case Retried(error, delay):
                return self._retry(claim, error, delay)
            case HandedOver(cause):
                dispatch.republish(self._runtime, _due(claim))
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
            self._task.retry(args=(), kwargs={}, exc=_raisable(error), countdown=delay)
        except Reject:
            raise Ignore from None  # the broker is away; the dispatcher publishes it

    def _follow_up(self) -> Any:
        """A late copy of the message: see whether a crash kept Celery from going on."""
        finished = self._runtime.store.executions.follow_up(self._request.id)
        if finished is None:
            raise Ignore
        if finished.status == "cancelled":
            cancelling.cancel_children(self._runtime, finished.id)
        calling.tell_parent(self._runtime, finished.parent, finished.status)
        self._hand_back(finished.canvas)
        if finished.status == "completed":
            return codec.plain_of(finished.result or "null")
        raise _failure(finished)

    def _restore(self, claim: Claim) -> None:
        if dispatch.is_followed(self._runtime, claim):
            self._hand_back(claim.canvas)

    def _hand_back(self, stored: str | None) -> None:
        if stored is not None:
            canvas.restore(stored, self._request)
        self._request.worchflow_follow_up = True

    def _passed_on(self, claim: Claim, result: str) -> Any:
        """The result, when somebody gets it: what is returned stands in Celery's events."""
        if claim.canvas is None and self._request.ignore_result and not self._request.is_eager:
            return None
        return codec.plain_of(result)


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
    """What Celery can take: SystemExit and its like, and MemoryError, would end the worker."""
    if (
        isinstance(error, Exception)
        and not isinstance(error, Ignore | Reject | MemoryError)
        and len(message_of(error)) <= _LONGEST_TEXT
    ):
        return error
    return ExecutionFailed("{type}: {message}".format_map(describe(error)))
