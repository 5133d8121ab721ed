"""An execution is started again, from its beginning or from one of its steps.

The new execution is stored first, with what it is to take over; then the checkpoints are copied,
then it is published. Whatever dies in between, a worker completes the copy before it runs anything.
So no checkpoint is ever without its execution, and no step is run that was to be taken over.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from worchflow_celery import dispatch
from worchflow_celery.definition import EncodedData
from worchflow_celery.errors import (
    ExecutionNotFound,
    InvalidOption,
    StoreUnavailable,
    WorchflowError,
)
from worchflow_celery.options import shown
from worchflow_celery.runtime import Runtime
from worchflow_celery.store import Store
from worchflow_celery.store.records import Claim, Copied, Due, Recorded
from worchflow_celery.store.restarts import COPY_EPOCH, Source


def restart(runtime: Runtime, execution_id: str, from_step: object) -> str:
    """Start an execution like this one, with its checkpoints before a step; return its id."""
    store = runtime.store
    source = store.restarts.source(execution_id)
    if source is None:
        store.executions.get(execution_id)  # says that there is none
        raise ExecutionNotFound(f"execution {execution_id!r} is being removed")
    copied = None if from_step is None else _copied(store, execution_id, from_step)
    new_id, _ = dispatch.send(runtime, _request(source, execution_id, copied), publish=False)
    if copied is not None:
        with suppress(StoreUnavailable):  # a worker completes it
            store.restarts.copy(copied, new_id)
    _publish(runtime, source, new_id)
    return new_id


def completed(store: Store, claim: Claim, recorded: list[Recorded]) -> list[Recorded]:
    """What is recorded of a claimed execution, with all that its restart was to take over."""
    copied = claim.copied
    if copied is None or _is_complete(copied, recorded):
        return recorded
    store.restarts.copy(copied, claim.id)
    recorded = store.steps.read(claim.id)
    if not _is_complete(copied, recorded):
        raise WorchflowError(
            f"execution {claim.id!r} was restarted from {copied.of!r}, which was removed before "
            "its checkpoints were copied: send it anew"
        )
    return recorded


def _copied(store: Store, execution_id: str, from_step: object) -> Copied | None:
    place = None
    if isinstance(from_step, str):
        place = store.restarts.place_of(execution_id, from_step)
    if place is None:
        raise InvalidOption(
            f"from_step is {shown(from_step)}: execution {execution_id!r} has no step with this "
            "key; its keys are those of worchflow.steps()"
        )
    copied = Copied(of=execution_id, before=place, count=0)
    count = store.restarts.count(copied)
    return replace(copied, count=count) if count else None


def _is_complete(copied: Copied, recorded: Sequence[Recorded]) -> bool:
    return sum(one.epoch == COPY_EPOCH for one in recorded) >= copied.count


def _request(source: Source, execution_id: str, copied: Copied | None) -> dispatch.Request:
    return dispatch.Request(
        flow=source.flow,
        data=EncodedData(source.data, source.data_hash, dict(source.search)),
        queue=source.queue,
        priority=source.priority,
        trigger="restart",
        ref=execution_id,
        copied=copied,
    )


def _publish(runtime: Runtime, source: Source, new_id: str) -> None:
    due = Due(
        id=new_id,
        flow=source.flow,
        queue=source.queue,
        priority=source.priority,
        begun=False,
        publishes=1,
        canvas=None,
        message=None,
    )
    if not dispatch.republish(runtime, due):
        with suppress(StoreUnavailable):  # it is stored, and due in a few seconds all the same
            runtime.store.executions.publish_failed(new_id)
