"""What the limits of a flow allow at a moment. Pure: no I/O, no clock."""

from collections.abc import Collection as Many
from dataclasses import dataclass
from datetime import datetime, timedelta

#: The two lines in which executions wait: those that have started need a slot only, the others
#: may need a start as well.
SLOT, START = "slot", "start"
#: For how long a slot is kept for an execution that was called, or that lost its worker.
EXPECTED = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Limit:
    """What all executions of a flow with one key share."""

    #: Of its document.
    id: str
    flow: str
    key: str | None
    #: How many may run at once; ``None``: any number.
    at_once: int | None
    #: How many may start in a window; ``None``: any number.
    starts: int | None = None
    window: timedelta = timedelta()

    def awaited(self, line: str) -> str:
        """What an execution in a line waits for."""
        return f"{line}:{self.id}"


@dataclass(frozen=True, slots=True)
class Holder:
    """An execution with a slot, or one that was called and has not come yet."""

    execution: str
    #: In which it runs, or will run: a slot is as good as the lease of that claim.
    epoch: int
    #: A start is set aside for it.
    start: bool = False
    #: For how long it is expected.
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """The slots of one limit as they were at a moment."""

    #: On MongoDB's clock.
    now: datetime
    holders: tuple[Holder, ...] = ()
    #: When executions started, as far as it still counts.
    starts: tuple[datetime, ...] = ()
    #: In which lines somebody may wait.
    lines: frozenset[str] = frozenset()
    #: How often somebody got in line.
    queued: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What an execution is."""

    epoch: int
    status: str
    paused: bool
    #: When it became that.
    since: datetime


def free_slots(limit: Limit, slot: Slot) -> float:
    """How many more may run."""
    return float("inf") if limit.at_once is None else limit.at_once - len(slot.holders)


def free_starts(limit: Limit, slot: Slot) -> float:
    """How many more may start."""
    if limit.starts is None:
        return float("inf")
    set_aside = sum(holder.start for holder in slot.holders)
    return limit.starts - set_aside - len(counted(slot.starts, limit.window, slot.now))


def counted(starts: Many[datetime], window: timedelta, now: datetime) -> list[datetime]:
    """The starts that one more, now, would share a window with."""
    return [start for start in starts if start > now - window]


def opens_at(limit: Limit, slot: Slot) -> datetime | None:
    """When the next start is possible; ``None``: one is.

    An execution that is expected will start about now.
    """
    if free_starts(limit, slot) > 0:
        return None
    first = min(counted(slot.starts, limit.window, slot.now), default=slot.now)
    return first + limit.window


def served(limit: Limit, slot: Slot) -> list[str]:
    """The lines out of which somebody can be called."""
    lines = []
    if free_slots(limit, slot) > 0:
        lines = [SLOT] if free_starts(limit, slot) <= 0 else [SLOT, START]
    return [line for line in lines if line in slot.lines]


def is_stale(holder: Holder, state: State | None, now: datetime) -> bool:
    """Whether a slot is held by nobody any more.

    What is read of an execution may be older than its claim, never older than its call.
    """
    if state is None or state.epoch > holder.epoch + 1:
        return True
    if state.status == "queued" and state.epoch >= holder.epoch:  # it is on its way back
        return state.paused or state.since < now - EXPECTED
    if state.epoch >= holder.epoch:
        return state.epoch > holder.epoch or state.status != "processing"
    if state.paused or state.status in ("completed", "failed", "cancelled"):
        return True
    return holder.until is not None and holder.until < now
