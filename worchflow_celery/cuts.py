"""What cuts an attempt short, by our own word or from outside, and what that makes of it."""

import time

from worchflow_celery.errors import HandOver, LeaseLost, Stopped, Suspended
from worchflow_celery.outcome import (
    CALLED_OFF,
    Cancelled,
    HandedOver,
    Lost,
    Outcome,
    Paused,
    Waiting,
)
from worchflow_celery.runtime import Runtime
from worchflow_celery.shutdown import Phase

#: What billiard makes of SIGTERM in a pool process: exit code 256 - 15, negated.
_TERMINATED = -241
#: Seconds in which a signal to all processes of a worker has reached its main one, too.
_HEARD = 0.05


def interrupted(interruption: BaseException | None) -> Outcome | None:
    """The outcome of an attempt that one of our own interruptions has ended."""
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


def cut_short(runtime: Runtime, error: BaseException) -> Outcome | None:
    """The same also for the end of a worker or a process; ``None``: it is the handler's own."""
    outcome = interrupted(error)
    if outcome is not None:
        return outcome
    if isinstance(error, SystemExit) and error.code == _TERMINATED:
        time.sleep(_HEARD)
        if not runtime.shutdown.begun:
            return Lost(error)  # a hard time limit: its worker sees the process end, and counts it
    return HandedOver(error) if _is_from_outside(error, runtime.shutdown.phase) else None


def _is_from_outside(error: BaseException, phase: Phase) -> bool:
    """Whether the end of a worker or of its process was raised into the handler."""
    if isinstance(error, NotImplementedError) and "does not implement kill_job" in str(error):
        return True  # how Celery ends a solo pool at once, before it says that it does
    if isinstance(error, Exception):
        return phase is Phase.COLD
    return phase is not Phase.RUNNING or type(error).__name__ == "GreenletExit"
