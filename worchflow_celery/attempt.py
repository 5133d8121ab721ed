"""From a message to an outcome: claim, run the handler, settle, tell."""

import logging
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from worchflow_celery import dispatch, handler, restarting, signals
from worchflow_celery.clock import elapsed
from worchflow_celery.definition import Definition
from worchflow_celery.errors import (
    HandOver,
    LeaseLost,
    Stopped,
    StoreUnavailable,
    Suspended,
    WorkerLost,
)
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
    describe,
    judge,
    over_crash_budget,
)
from worchflow_celery.runtime import Runtime
from worchflow_celery.settlement import is_followed, settle
from worchflow_celery.shutdown import Phase
from worchflow_celery.store.records import Claim, Recorded, shown

logger = logging.getLogger(__name__)

#: Seconds between two tries of a write while MongoDB is away.
_AGAIN = 0.2
#: What billiard makes of SIGTERM in a pool process: exit code 256 - 15, negated.
_TERMINATED = -241
#: Seconds in which a signal to all processes of a worker has reached its main one, too.
_HEARD = 0.05


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
    place, keeper = Place(runtime, definition, lease), runtime.process.keeper
    try:
        outcome = instead or _refusal(runtime, lease.claim, None if eager else place)
        _tell_started(runtime, lease.claim, outcome)
        outcome = outcome or _run(runtime, definition, lease, eager=eager)
        lease.settling = True
        outcome = settle(runtime, lease.claim, outcome, eager=eager)
    finally:
        keeper.drop(lease)
    place.leave(outcome)
    _tell(runtime, lease.claim, outcome)
    _tell_parent(runtime, lease.claim, outcome)
    return Ended(lease.claim, outcome)


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


def _tell_started(runtime: Runtime, claim: Claim, outcome: Outcome | None) -> None:
    if isinstance(outcome, Waiting | Lost):
        return  # it has not got a slot
    sender, told = runtime.sender, {"execution_id": claim.id, "flow": claim.flow}
    signals.execution_started.send(sender, attempt=claim.attempt, **told)
    signals.execution_updated.send(sender, status=ExecutionStatus.PROCESSING, **told)


def _refusal(runtime: Runtime, claim: Claim, place: Place | None) -> Outcome | None:
    """Why the handler is not called, if it is not."""
    try:
        expired = _expired(runtime, claim)
    except Exception as error:  # a corrupt document
        return Failed(error)
    return expired or (place.enter() if place else None)


def _expired(runtime: Runtime, claim: Claim) -> Cancelled | None:
    """Celery's ``expires``: it bounds the wait for the first start."""
    if claim.message is None or not claim.unbegun:
        return None
    expires = dispatch.expires_at(claim.message)
    if expires is None or runtime.store.database.now() < expires:
        return None
    return Cancelled(f"it was not to start after {expires.isoformat()}")


def _run(runtime: Runtime, definition: Definition, lease: Lease, *, eager: bool) -> Outcome:
    """Run the handler; whatever comes out of it is the outcome."""
    claim = lease.claim
    if claim.asked == "cancel":  # while it was on a worker that then died
        return Cancelled(CALLED_OFF)
    try:
        checkpoints = _checkpoints(runtime, claim)
        _check_budget(claim, checkpoints, definition.options.retries)
    except LeaseLost:
        return Lost()
    except Exception as error:  # a corrupt document, or a spent crash budget
        return Failed(error)
    journal = Journal(runtime, lease, checkpoints, eager=eager)
    try:
        outcome: Outcome = Completed(handler.call(runtime, definition, claim, journal))
    except BaseException as error:  # whatever a handler raises is its outcome
        outcome = _outcome_of(runtime, definition, claim, error)
    finally:
        journal.close()
    return _interrupted(journal.interruption) or outcome


def _checkpoints(runtime: Runtime, claim: Claim) -> list[Recorded]:
    """What earlier attempts recorded: one read, and none for an execution that is new."""
    while claim.resumed:
        try:
            store = runtime.store
            return restarting.completed(store, claim, store.steps.read(claim.id))
        except StoreUnavailable:
            if runtime.shutdown.begun:
                raise LeaseLost("the worker shuts down while MongoDB is away") from None
            time.sleep(_AGAIN)
    return []


def _check_budget(claim: Claim, checkpoints: list[Recorded], retries: int) -> None:
    completed = [one.epoch for one in checkpoints if one.status == "completed"]
    if over_crash_budget(claim.crashed, max(completed, default=0), retries):
        where = f"in step {claim.current_step!r}" if claim.current_step else "outside its steps"
        raise WorkerLost(
            f"execution {claim.id!r} killed its worker {len(claim.crashed)} times, last {where}: "
            "look for what ends the process there (memory, a signal, os._exit), then retry it"
        )


def _interrupted(interruption: BaseException | None) -> Outcome | None:
    match interruption:
        case LeaseLost():
            return Lost()
        case Suspended(delay=delay, awaits=awaits):
            return Waiting(delay, awaits)
        case Stopped(what="cancel"):
            return Cancelled(CALLED_OFF)
        case Stopped(what="pause"):
            return Paused()
        case HandOver():
            return HandedOver()
    return None


def _outcome_of(
    runtime: Runtime, definition: Definition, claim: Claim, error: BaseException
) -> Outcome:
    outcome = _interrupted(error)
    if outcome is not None:
        return outcome
    if isinstance(error, SystemExit) and error.code == _TERMINATED:
        time.sleep(_HEARD)
        if not runtime.shutdown.begun:
            return Lost(error)  # a hard time limit: its worker sees the process end, and counts it
    if _is_from_outside(error, runtime.shutdown.phase):
        return HandedOver(error)
    now = runtime.store.database.now()
    return judge(error, attempt=claim.attempt, options=definition.options, now=now)


def _is_from_outside(error: BaseException, phase: Phase) -> bool:
    """Whether the end of a worker or of its process was raised into the handler."""
    if isinstance(error, NotImplementedError) and "does not implement kill_job" in str(error):
        return True  # how Celery ends a solo pool at once, before it says that it does
    if isinstance(error, Exception):
        return phase is Phase.COLD
    return phase is not Phase.RUNNING or type(error).__name__ == "GreenletExit"


def _tell_parent(runtime: Runtime, claim: Claim, outcome: Outcome) -> None:
    if not claim.is_awaited or not isinstance(outcome, Completed | Failed | Cancelled):
        return
    with suppress(StoreUnavailable):  # the dispatcher looks after it
        dispatch.tell_parent(runtime, claim.parent, _STATUS[type(outcome)])
        if not is_followed(runtime, claim):
            runtime.store.executions.followed_up(claim.id)


def _tell(runtime: Runtime, claim: Claim, outcome: Outcome) -> None:
    told: dict[str, Any] = {"execution_id": claim.id, "flow": claim.flow}
    status = _STATUS.get(type(outcome))
    if status is None:
        logger.warning("Execution %s goes on elsewhere", claim.id, extra={"execution": claim.id})
        return
    if isinstance(outcome, Completed) and signals.execution_completed.receivers:
        value = shown(outcome.result)
        signals.execution_completed.send(runtime.sender, result=value, **told)
    elif isinstance(outcome, Retried | Failed):
        signals.execution_failed.send(
            runtime.sender,
            error=ErrorInfo(**describe(outcome.error)),
            attempt=claim.attempt,
            will_retry=isinstance(outcome, Retried),
            **told,
        )
    logger.info(
        "Execution %s of %s is %s", claim.id, claim.flow, status, extra={"execution": claim.id}
    )
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
