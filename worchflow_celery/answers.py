"""How ordinary Celery tasks that run as a step give their answer: through Celery's own callbacks.

``worchflow.answer`` is linked to a task and gets its result. ``worchflow.refuse`` is its errback:
Celery calls it where the task failed, with the exception. Neither needs a result backend.
"""

import logging
from collections.abc import Mapping
from typing import Any

from celery import Celery

from worchflow_celery import calling, codec
from worchflow_celery.errors import InvalidOption, StoreUnavailable
from worchflow_celery.options import check_execution_id
from worchflow_celery.outcome import describe
from worchflow_celery.runtime import Runtime, runtime_of

logger = logging.getLogger(__name__)

ANSWER, REFUSE = "worchflow.answer", "worchflow.refuse"
#: Seconds until an answer that found no MongoDB is given again.
_AGAIN = 5


def register(app: Celery) -> None:
    """Give an app the two tasks."""

    @app.task(name=ANSWER, bind=True, ignore_result=True, max_retries=None, shared=False)
    def answer(task: Any, result: Any, *, execution_id: str, name: str, error: Any = None) -> None:
        try:
            _keep(app, execution_id, name, result, error)
        except StoreUnavailable as unavailable:
            raise task.retry(exc=unavailable, countdown=_AGAIN) from None

    @app.task(name=REFUSE, ignore_result=True, shared=False)
    def refuse(
        request: Any, exc: Any = None, traceback: Any = None, *, execution_id: str, name: str
    ) -> None:
        error = _described(exc, traceback)
        try:
            _keep(app, execution_id, name, None, error)
        except StoreUnavailable:  # by message, then, which comes again until it is kept
            answer.apply_async(
                (None,), {"execution_id": execution_id, "name": name, "error": error}
            )


def run_here(runtime: Runtime, signature: Any, *, execution_id: str, name: str) -> None:
    """Run a signature in this process at once, and keep its answer."""
    ended = signature.apply(throw=False)
    error = None if ended.successful() else _described(ended.result, ended.traceback)
    _keep(runtime.app, execution_id, name, ended.result if error is None else None, error)


def signal_of(token: str, number: int) -> str:
    """The signal that carries the answer of one task; no user's signal can have its name."""
    return f"\t{token}:{number}"


def _keep(
    app: Celery, execution_id: str, name: str, result: Any, error: Mapping[str, str] | None
) -> None:
    """Keep an answer for an execution that is there to get it, and call it."""
    runtime = runtime_of(app)
    text = "null"
    try:
        check_execution_id(execution_id)
        text = codec.encode(result, limit=runtime.settings.max_payload_bytes)
    except (codec.OversizedValue, codec.UnencodableValue) as refusal:
        error = describe(refusal)
    except InvalidOption as refusal:
        logger.warning("The answer of a task was dropped: %s", refusal)
        return
    found = runtime.store.executions.identity(execution_id)
    if found is not None:
        runtime.store.signals.insert(execution_id, name, text, error)
        calling.call(runtime, execution_id, calling.signal_of(name))


def _described(exc: Any, traceback: Any) -> dict[str, str]:
    if isinstance(exc, BaseException):
        return {**describe(exc), "traceback": str(traceback or "")[-8192:]}
    text = "its error is known only where it ran: that worker does not know worchflow.refuse"
    return {"type": "TaskFailed", "message": text, "traceback": ""}
