"""The end of an attempt: its outcome is written, whatever MongoDB is doing meanwhile."""

import time
from collections.abc import Mapping
from dataclasses import replace

from worchflow_celery.dispatch import FOLLOW_UP, is_followed
from worchflow_celery.errors import PayloadTooLarge, StoreUnavailable
from worchflow_celery.leases import Lease
from worchflow_celery.models import Progress
from worchflow_celery.outcome import (
    CALLED_OFF,
    Cancelled,
    Completed,
    Failed,
    Lost,
    Outcome,
    Paused,
    Retried,
    Unwound,
    Waiting,
    describe,
)
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.executions import PUBLISHED_FOR
from worchflow_celery.store.records import Claim
from worchflow_celery.store.settlements import Settlement

#: The longest retry delay that a Celery message is trusted with, in seconds: it sits in the
#: memory of one worker until then. Longer ones are left to the dispatcher.
LONGEST_COUNTDOWN = 60.0
#: Seconds between two tries of a write while MongoDB is away.
_AGAIN = 0.2


def settle(runtime: Runtime, lease: Lease, outcome: Outcome, *, eager: bool) -> Outcome:
    """Write the outcome, again until MongoDB is back, and return it.

    Another one is returned when this one cannot be written: it is to be settled instead.
    """
    if isinstance(outcome, Lost):
        return outcome
    claim, again = lease.claim, False
    settlement = _settlement(runtime, claim, outcome, eager=eager)
    while True:
        try:
            told = _with_all(settlement, lease, runtime.process.reporter.newest(claim))
            if runtime.store.attempts.settle(claim, told, again=again):
                return outcome
            if runtime.store.attempts.asked([claim]).get(claim.token) == "cancel":
                return Cancelled(CALLED_OFF)
            if settlement.awaits:  # called meanwhile: it has to look again
                settlement = replace(settlement, delay=0.0, held=False, awaits=())
            else:
                return Lost()
        except PayloadTooLarge as error:
            return Failed(error)
        except StoreUnavailable:
            if runtime.shutdown.begun:
                return Lost()  # its lease runs out, and another worker goes on
            again = True
            time.sleep(_AGAIN)


def _with_all(settlement: Settlement, lease: Lease, progress: Progress | None) -> Settlement:
    """With what was told last: whoever writes progress may not have come to it."""
    if progress is None and lease.trace is None:
        return settlement
    return replace(settlement, progress=progress, trace=lease.trace)


def _settlement(runtime: Runtime, claim: Claim, outcome: Outcome, *, eager: bool) -> Settlement:
    match outcome:
        case Completed(result):
            return _end(runtime, claim, outcome.name, result=result)
        case Failed(unwound=unwound):
            return _end(runtime, claim, outcome.name, outcome.described, unwound)
        case Cancelled(unwound=unwound):
            return _end(runtime, claim, outcome.name, outcome.described, unwound)
        case Retried(error, delay):
            return Settlement(
                "retrying",
                outcome.name,
                error=describe(error),
                delay=delay,
                held=True,
                published=not eager and delay <= LONGEST_COUNTDOWN,
            )
        case Waiting(delay, awaits, begun):
            # One that waits for a slot may look for itself whenever a message comes.
            parked = Settlement("waiting", outcome.name, delay=delay, held=begun, awaits=awaits)
            return replace(parked, unbegun=not begun)
        case Paused():
            # Due at once: it may have been resumed meanwhile.
            return Settlement("queued", outcome.name, delay=0.0)
    return Settlement("queued", outcome.name, delay=PUBLISHED_FOR, published=True)


def _end(
    runtime: Runtime,
    claim: Claim,
    status: str,
    error: Mapping[str, str] | None = None,
    unwound: Unwound | None = None,
    *,
    result: str | None = None,
) -> Settlement:
    followed = is_followed(runtime, claim) or claim.is_awaited or status == "cancelled"
    return Settlement(
        status,
        status,
        result=result,
        error=error,
        retention=runtime.settings.retention,
        follow_up=FOLLOW_UP if followed else None,
        unwound=unwound is not None,
        compensated=unwound.compensated if unwound else None,
    )
