"""The end of an attempt: its outcome is written, whatever MongoDB is doing meanwhile."""

import time
from dataclasses import replace
from typing import Any

from worchflow_celery.dispatch import loaded
from worchflow_celery.errors import PayloadTooLarge, StoreUnavailable
from worchflow_celery.outcome import (
    CALLED_OFF,
    Cancelled,
    Completed,
    Failed,
    Lost,
    Outcome,
    Paused,
    Retried,
    Waiting,
    describe,
)
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.attempts import Settlement
from worchflow_celery.store.executions import PUBLISHED_FOR
from worchflow_celery.store.records import Claim

#: The longest retry delay that a Celery message is trusted with, in seconds: it sits in the
#: memory of one worker until then. Longer ones are left to the dispatcher.
LONGEST_COUNTDOWN = 60.0
#: Seconds after which a dispatcher looks whether Celery has gone on with links, chain and chord.
_FOLLOW_UP = 10.0
#: Seconds between two tries of a write while MongoDB is away.
_AGAIN = 0.2


def settle(runtime: Runtime, claim: Claim, outcome: Outcome, *, eager: bool) -> Outcome:
    """Write the outcome, again until MongoDB is back; what was written may be another one."""
    progress = runtime.process.reporter.end(claim)
    if isinstance(outcome, Lost):
        return outcome
    settlement = _settlement(runtime, claim, outcome, eager=eager)
    again = False
    while True:
        try:
            if runtime.store.attempts.settle(
                claim, replace(settlement, progress=progress), again=again
            ):
                return outcome
            if runtime.store.attempts.asked([claim]).get(claim.token) == "cancel":
                outcome, again = Cancelled(CALLED_OFF), False
                settlement = _settlement(runtime, claim, outcome, eager=eager)
            elif settlement.awaits:  # called meanwhile: it has to look again
                settlement = replace(settlement, delay=0.0, held=False, awaits=())
            else:
                return Lost()
        except PayloadTooLarge as error:
            outcome = Failed(error)
            settlement = _settlement(runtime, claim, outcome, eager=eager)
        except StoreUnavailable:
            if runtime.shutdown.begun:
                return Lost()  # its lease runs out, and another worker goes on
            again = True
            time.sleep(_AGAIN)


def is_followed(runtime: Runtime, claim: Claim) -> bool:
    """Whether Celery has something to do after the end: links, or a result that it is to keep."""
    if claim.canvas is not None:
        return True
    kept = claim.message is not None and loaded(claim.message).get("ignore_result") is False
    return kept and runtime.keeps_results


def _settlement(runtime: Runtime, claim: Claim, outcome: Outcome, *, eager: bool) -> Settlement:
    last: dict[str, Any] = {
        "retention": runtime.settings.retention,
        "follow_up": _FOLLOW_UP if is_followed(runtime, claim) or claim.is_awaited else None,
    }
    match outcome:
        case Completed(result):
            return Settlement("completed", "completed", result=result, **last)
        case Failed(error):
            return Settlement("failed", "failed", error=describe(error), **last)
        case Cancelled(reason):
            error_info = {"type": "Cancelled", "message": reason}
            return Settlement("cancelled", "cancelled", error=error_info, **last)
        case Retried(error, delay):
            return Settlement(
                "retrying",
                "retrying",
                error=describe(error),
                delay=delay,
                held=True,
                published=not eager and delay <= LONGEST_COUNTDOWN,
            )
        case Waiting(delay, awaits, begun):
            # One that waits for a slot may look for itself whenever a message comes.
            parked = Settlement("waiting", "waiting", delay=delay, held=begun, awaits=awaits)
            return replace(parked, unbegun=not begun)
        case Paused():
            # Due at once: it may have been resumed meanwhile.
            return Settlement("queued", "paused", delay=0.0)
    return Settlement("queued", "handed-over", delay=PUBLISHED_FOR, published=True)
