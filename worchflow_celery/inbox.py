"""Which of a flow's messages a worker takes: whoever reaches the broker can write some."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from celery import signals
from celery.exceptions import InvalidTaskError
from celery.worker import strategy as celery_strategy

from worchflow_celery.options import check_id, shown

logger = logging.getLogger(__name__)

#: Levels of nesting in a message's arguments; what is deeper does not reach a pool process.
_DEEPEST = 200


def strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's own way from a message to the pool, on which a malformed one ends the worker.

    It would be delivered again to the next worker, and to the one after that.
    """
    receive = celery_strategy.default(task, app, consumer, **options)

    def take(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> Any:
        try:
            _check(message, body)
            return receive(message, body, ack, reject, callbacks)
        except consumer.connection_errors:
            raise
        except Exception as error:  # a hand-made message can be anything
            logger.warning("A message for flow %s was dropped: %s", task.name, _reason(error))
            reject(logger, consumer.connection_errors)
            signals.task_rejected.send(sender=consumer, message=message, exc=error)

    return take


def _check(message: Any, body: Any) -> None:
    """Refuse what Celery would not survive; ``body`` is that of its first protocol."""
    payload = message.payload if body is None else body
    told = message.headers if body is None else body
    check_id(told.get("id"), "its id")
    for limit in told.get("timelimit") or ():
        if not isinstance(limit, int | float | None):
            raise InvalidTaskError("its time limit is no number")
    arguments = payload
    if isinstance(payload, Mapping):
        arguments = [payload.get("args") or [], payload.get("kwargs") or {}, None]
    args, kwargs, embedded = arguments
    if not (isinstance(args, list) and isinstance(kwargs, dict)):
        raise InvalidTaskError("it holds no arguments")
    if not isinstance(embedded, dict | None):
        raise InvalidTaskError("what is to follow it is no mapping")
    if _is_deep(arguments):
        raise InvalidTaskError(f"it is nested more than {_DEEPEST} levels deep")


def _is_deep(value: object) -> bool:
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        inner = [one.values() if isinstance(one, dict) else one for one in level]
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {shown(str(error), 200)[1:-1]}"
