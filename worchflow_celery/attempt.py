"""From a message to an outcome: claim, run the handler, settle, tell."""

import logging
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from worchflow_celery import calling, cancelling, dispatch, handler, replay, signals, tracing
from worchflow_celery.clock import elapsed
from worchflow_celery.cuts import cut_short, interrupted
from worchflow_celery.definition import Definition
from worchflow_celery.errors import CorruptDocument, LeaseLost, StoreUnavailable, WorkerLost
from worchflow_celery.journal import Journal
from worchflow_celery.leases import Lease
from worchflow_celery.limits import Place
from worchflow_celery.models import ErrorInfo, ExecutionStatus
from worchflow_celery.outcome import (
    CALLED_OFF,
    Cancelled,
    Completed,
    Failed,
    HandedOver,
    Lost,
    Outcome,
    Paused,
    Retried,
    Waiting,
    judge,
    over_crash_budget,
)
from worchflow_celery.runtime import Runtime
from worchflow_celery.settlement import settle
from worchflow_celery.store.records import Claim, Recorded, shown
from worchflow_celery.unwinding import decide, unwind

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that was ours, and how it ended."""

    claim: Claim
    outcome: Outcome


def attempt(
    runtime: Runtime,
    definition: Definition,
    execution_id: str,
    *,
    worker: str | None = None,
    eager: bool = False,
    instead: Outcome | None = None,
) -> Ended | None:
    """Run one attempt of an execution, from its claim to its settled outcome.

    ``None``: there was nothing to claim; another worker has it, it is not due, or it is over.
    ``instead`` is the outcome without running anything. ``eager`` waits for no delay.
    """
    lease = _claim(runtime, definition, execution_id, worker, early=eager)
    if lease is None:
        return None
    with tracing.attempting(runtime.spans, lease.claim, runtime.process.name) as span:
        lease.trace = span.trace
        outcome = _held(runtime, definition, lease, instead, eager=eager)
        span.ends(outcome.name, getattr(outcome, "error", None))
    return Ended(lease.claim, outcome)


def _held(
    runtime: Runtime, definition: Definition, lease: Lease, instead: Outcome | None, *, eager: bool
) -> Outcome:
    """What is done with an execution that is ours: work, write how that ended, and say so."""
    place = Place(runtime, definition, lease)
    try:
        ran = _worked(runtime, definition, lease, None if eager else place, instead)
        outcome = _conclude(runtime, definition, lease, *ran, eager=eager)
    finally:
        runtime.process.keeper.drop(lease)
        runtime.process.reporter.forget(lease.claim)
    place.leave(outcome)
    _tell(runtime, lease.claim, outcome)
    _tell_family(runtime, lease.claim, outcome)
    return outcome


def _claim(
    runtime: Runtime, definition: Definition, execution_id: str, worker: str | None, *, early: bool
) -> Lease | None:
    process = runtime.process
    attempts = process.store.attempts
    token, sent = secrets.token_hex(12), elapsed()
    ask = partial(
        attempts.claim, execution_id, definition.id, token, runtime.owner(worker), early=early
    )
    try:
        claim = ask()
    except StoreUnavailable:
        # The answer may have been lost, and the execution be ours; or the question was.
        try:
            claim = attempts.claimed(execution_id, token) or ask()
            claim = claim or attempts.claimed(execution_id, token)
        except StoreUnavailable:
            process.keeper.doubt(execution_id, token)
            raise
    if claim is None:
        return None
    return process.keeper.hold(claim, sent)


def _worked(
    runtime: Runtime,
    definition: Definition,
    lease: Lease,
    place: Place | None,
    instead: Outcome | None,
) -> tuple[Outcome, bool | None]:
    """Do what the execution is here for; the outcome, and whether there is what to undo.

    Without a ``place`` that it has to take, it runs eagerly. ``None``: nobody has looked.
    """
    instead = instead or _refusal(runtime, lease.claim, place)
    if not isinstance(instead, Waiting | Lost):  # those have not got a slot
        _tell_started(runtime, lease.claim)
    if instead is not None:
        return instead, None
    return _run(runtime, definition, lease, eager=place is None)


def _tell_started(runtime: Runtime, claim: Claim) -> None:
    sender, told = runtime.sender, {"execution_id": claim.id, "flow": claim.flow}
    signals.execution_started.send(sender, attempt=claim.attempt, **told)
    signals.execution_updated.send(sender, status=ExecutionStatus.PROCESSING, **told)


def _refusal(runtime: Runtime, claim: Claim, place: Place | None) -> Outcome | None:
    """Why the handler is not called, if it is not."""
    try:
        expired = _expired(runtime, claim)
    except Exception as error:  # a corrupt document
        return Failed(error)
    refusal = expired or (place.enter() if place else None)
    if claim.ending is not None and isinstance(refusal, Failed | Cancelled):
        return None  # it ends as it was decided
    return refusal


def _expired(runtime: Runtime, claim: Claim) -> Cancelled | None:
    """Celery's ``expires``: it bounds the wait for the first start."""
    if claim.message is None or not claim.unbegun:
        return None
    expires = dispatch.expires_at(claim.message)
    if expires is None or runtime.store.database.now() < expires:
        return None
    return Cancelled(f"it was not to start after {expires.isoformat()}")


def _run(
    runtime: Runtime, definition: Definition, lease: Lease, *, eager: bool
) -> tuple[Outcome, bool]:
    """Run the handler; whatever comes out of it is the outcome, with what may be to undo."""
    claim = lease.claim
    if claim.ending is not None:
        return unwind(runtime, definition, lease, claim.ending, eager=eager), False
    try:
        checkpoints = replay.read(runtime, claim) if claim.resumed else []
    except LeaseLost:
        return Lost(), False
    except Exception as error:  # a corrupt document
        return Failed(error), False
    journal = Journal(runtime, lease, checkpoints, eager=eager)
    if claim.asked == "cancel":  # while it was on a worker that then died
        return Cancelled(CALLED_OFF), journal.undoable
    try:
        _check_budget(claim, checkpoints, definition.options.retries)
    except WorkerLost as error:
        return Failed(error), journal.undoable
    return _call(runtime, definition, claim, journal), journal.undoable


def _call(runtime: Runtime, definition: Definition, claim: Claim, journal: Journal) -> Outcome:
    try:
        outcome: Outcome = Completed(handler.call(runtime, definition, claim, journal))
    except BaseException as error:  # whatever a handler raises is its outcome
        outcome = cut_short(runtime, error) or judge(
            error,
            attempt=claim.attempt,
            options=definition.options,
            now=runtime.store.database.now(),
        )
    finally:
        journal.close()
    return interrupted(journal.interruption) or outcome


def _conclude(
    runtime: Runtime,
    definition: Definition,
    lease: Lease,
    outcome: Outcome,
    undoable: bool | None,
    *,
    eager: bool,
) -> Outcome:
    """Write the outcome; before that undo what is to be undone. Returns what was written.

    ``undoable``: whether there is something; ``None``: nobody has looked.
    """
    while True:
        if isinstance(outcome, Failed | Cancelled) and outcome.unwound is None:
            follows = isinstance(outcome, Failed) and definition.on_failure is not None
            if undoable or follows or (undoable is None and _is_undoable(runtime, lease.claim)):
                ending = decide(runtime, lease, outcome)
                if ending is None:
                    return Lost()
                ended = unwind(runtime, definition, lease, ending, eager=eager)
                if isinstance(outcome, Failed) and isinstance(ended, Failed):
                    ended = replace(ended, error=outcome.error)  # with all that Celery shows of it
                outcome = ended
        lease.settling = True
        settled = settle(runtime, lease, outcome, eager=eager)
        if settled is outcome or isinstance(settled, Lost):
            return settled
        outcome, lease.settling = settled, False


def _is_undoable(runtime: Runtime, claim: Claim) -> bool:
    if not claim.resumed:
        return False
    with suppress(LeaseLost, CorruptDocument):
        return bool(replay.to_undo(replay.read(runtime, claim), claim.retried_epoch))
    return False


def _check_budget(claim: Claim, checkpoints: list[Recorded], retries: int) -> None:
    completed = [one.epoch for one in checkpoints if one.status == "completed"]
    if over_crash_budget(claim.crashed, max(completed, default=0), retries):
        where = f"in step {claim.current_step!r}" if claim.current_step else "outside its steps"
        raise WorkerLost(
            f"execution {claim.id!r} killed its worker {len(claim.crashed)} times, last {where}: "
            "look for what ends the process there (memory, a signal, os._exit), then retry it"
        )


def _tell_family(runtime: Runtime, claim: Claim, outcome: Outcome) -> None:
    """The end of an execution is its parent's affair, its cancellation that of its children."""
    called_off = isinstance(outcome, Cancelled)
    heard_of = claim.is_awaited and isinstance(outcome, Completed | Failed | Cancelled)
    with suppress(StoreUnavailable):  # a dispatcher sees to it later
        if called_off:  # those that it has begun meanwhile
            cancelling.cancel_children(runtime, claim.id)
        if heard_of:
            calling.tell_parent(runtime, claim.parent, _STATUS[type(outcome)])
        if (called_off or heard_of) and not dispatch.is_followed(runtime, claim):
            runtime.store.executions.followed_up(claim.id)


def _tell(runtime: Runtime, claim: Claim, outcome: Outcome) -> None:
    told: dict[str, Any] = {"execution_id": claim.id, "flow": claim.flow}
    status = _STATUS.get(type(outcome))
    if status is None:
        logger.warning("Execution %s goes on elsewhere", claim.id, extra=claim.ids)
        return
    if isinstance(outcome, Completed) and signals.execution_completed.receivers:
        value = shown(outcome.result)
        signals.execution_completed.send(runtime.sender, result=value, **told)
    elif isinstance(outcome, Retried | Failed):
        signals.execution_failed.send(
            runtime.sender,
            error=ErrorInfo(**outcome.described),
            attempt=claim.attempt,
            will_retry=isinstance(outcome, Retried),
            **told,
        )
    logger.info("Execution %s of %s is %s", claim.id, claim.flow, status, extra=claim.ids)
    signals.execution_updated.send(runtime.sender, status=status, **told)


#: What each outcome makes of the execution; not ``Lost``: that is for others to say.
_STATUS: dict[type[Outcome], ExecutionStatus] = {
    Completed: ExecutionStatus.COMPLETED,
    Retried: ExecutionStatus.RETRYING,
    Failed: ExecutionStatus.FAILED,
    Waiting: ExecutionStatus.WAITING,
    HandedOver: ExecutionStatus.QUEUED,
    Paused: ExecutionStatus.QUEUED,
    Cancelled: ExecutionStatus.CANCELLED,
}
