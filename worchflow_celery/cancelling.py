"""An execution is cancelled from outside, and with it the children that it waits for."""

import logging
from contextlib import suppress

from worchflow_celery import calling, dispatch, options, replay, signals
from worchflow_celery.errors import InvalidTransition
from worchflow_celery.models import FINISHED, ExecutionStatus
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.endings import Present

logger = logging.getLogger(__name__)

#: The remote-control command of termination.py: known to workers alone.
_TERMINATE = "worchflow_terminate"


def cancel(runtime: Runtime, execution_id: str, *, terminate: bool = False) -> None:
    """Cancel an execution: at once, or, while it runs, at its next step boundary.

    Raises ``ExecutionNotFound``, and ``InvalidTransition`` for one that has ended or that is
    about to end as failed.
    """
    options.check_flag(terminate, "terminate")
    ended = _cancel(runtime, execution_id, terminate=terminate)
    cancel_children(runtime, execution_id, terminate=terminate)
    if ended is not None:
        _go_on(runtime, ended)


def cancel_children(
    runtime: Runtime, execution_id: str, key: str | None = None, *, terminate: bool = False
) -> None:
    """Cancel the children that an execution, or one of its steps, waits for, and theirs."""
    for child in runtime.store.children.unfinished(execution_id, key):
        with suppress(InvalidTransition):  # it has ended by itself
            cancel(runtime, child, terminate=terminate)


def _cancel(runtime: Runtime, execution_id: str, *, terminate: bool) -> Present | None:
    """Cancel one alone; return it if that is its end, else a worker ends it."""
    endings = runtime.store.endings
    while True:
        present = endings.look(execution_id)
        if present is None:
            runtime.store.executions.get(execution_id)  # raises that there is none
            continue
        _check(present)
        if present.ending is not None:
            return None  # it is about to be cancelled already
        if present.status == ExecutionStatus.PROCESSING:
            if endings.ask(execution_id, "cancel") is not None:
                if terminate:
                    _end_process(runtime, execution_id, present.worker)
                return None
        elif _is_to_undo(runtime, present):
            if _undo(runtime, present):
                return None
        elif _end(runtime, present):
            return present


def _check(present: Present) -> None:
    if present.status in FINISHED:
        raise InvalidTransition(
            f"execution {present.id!r} is {present.status}: only one that has not ended can be "
            "cancelled"
        )
    if present.ending == ExecutionStatus.FAILED:
        raise InvalidTransition(
            f"execution {present.id!r} has failed, and its steps are being undone: it ends as "
            "failed"
        )


def _is_to_undo(runtime: Runtime, present: Present) -> bool:
    if present.epoch == 0:
        return False  # it was on no worker yet
    recorded = runtime.store.steps.read_undoing(present.id)
    return bool(replay.to_undo(recorded, present.retried_epoch))


def _undo(runtime: Runtime, present: Present) -> bool:
    """Have a worker undo it."""
    if not runtime.store.endings.undo(present):
        return False
    dispatch.tell_queued(runtime, present.id, present.flow)
    dispatch.republish(runtime, present.due)
    return True


def _end(runtime: Runtime, present: Present) -> bool:
    """Nothing is to be undone: it ends here and now."""
    followed = dispatch.is_followed(runtime, present.due) or _has_family(present)
    follow_up = dispatch.FOLLOW_UP if followed else None
    retention = runtime.settings.retention
    if not runtime.store.endings.cancel(present, retention=retention, follow_up=follow_up):
        return False
    signals.execution_updated.send(
        runtime.sender,
        execution_id=present.id,
        flow=present.flow,
        status=ExecutionStatus.CANCELLED,
    )
    return True


def _go_on(runtime: Runtime, ended: Present) -> None:
    """What follows the end; should this process die before, a dispatcher sees to it."""
    calling.tell_parent(runtime, ended.parent, ExecutionStatus.CANCELLED)
    if dispatch.is_followed(runtime, ended.due):  # a worker has Celery go on as after a failure
        dispatch.republish(runtime, ended.due)
    elif _has_family(ended):
        runtime.store.executions.followed_up(ended.id)


def _has_family(present: Present) -> bool:
    """Whether somebody waits for it, or it may have begun children."""
    return present.epoch > 0 or bool(present.parent and present.parent.get("waits"))


def _end_process(runtime: Runtime, execution_id: str, worker: str | None) -> None:
    """Ask the worker that runs an execution to end the pool process under it.

    A broker that is away is no reason to fail: the execution stops at its next step boundary.
    """
    try:
        with runtime.process.publisher.connect() as connection:
            runtime.app.control.broadcast(
                _TERMINATE,
                arguments={"execution_id": execution_id},
                destination=[worker] if worker else None,
                connection=connection,
            )
    except Exception as error:  # any transport raises its own kinds
        logger.warning(
            "Execution %s is not terminated (%s): it is cancelled at its next step boundary",
            execution_id,
            type(error).__name__,
            extra={"execution": execution_id},
        )
