"""Executions are paused and resumed from outside."""

from worchflow_celery import dispatch
from worchflow_celery.errors import InvalidTransition
from worchflow_celery.models import Execution
from worchflow_celery.runtime import Runtime


def pause(runtime: Runtime, execution_id: str) -> Execution:
    """Hold an execution: at once, or at the next step boundary when it runs."""
    paused = runtime.store.pauses.pause(execution_id)
    if paused is not None:
        return paused
    status = runtime.store.executions.get(execution_id).status
    raise InvalidTransition(f"execution {execution_id!r} is {status}: there is nothing to pause")


def resume(runtime: Runtime, execution_id: str) -> Execution:
    """Let a paused execution go on; one that is not paused is left as it is."""
    resumed = runtime.store.pauses.resume(execution_id)
    if resumed is not None:
        execution, due = resumed
        if due is not None:
            dispatch.republish(runtime, due)
        return execution
    execution = runtime.store.executions.get(execution_id)
    if execution.status.finished:
        raise InvalidTransition(
            f"execution {execution_id!r} is {execution.status}: there is nothing to resume"
        )
    return execution
