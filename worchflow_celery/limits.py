"""Limits of a flow: an attempt takes a slot before its handler is called, and gives it back.

An execution that gets none leaves its worker and waits in line. Whoever gives a slot back calls the
one that was created first, and keeps the slot for it, so that nobody passes. Dispatchers look at
lines when a window opens, and once in a lease for what a crash left.
"""

import hashlib
import logging
import random
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from worchflow_celery import dispatch
from worchflow_celery.allowance import (
    SLOT,
    START,
    Limit,
    Slot,
    free_slots,
    free_starts,
    opens_at,
    served,
)
from worchflow_celery.definition import Definition
from worchflow_celery.errors import (
    CorruptDocument,
    InvalidEventData,
    InvalidOption,
    LeaseLost,
    StoreUnavailable,
)
from worchflow_celery.leases import Lease
from worchflow_celery.options import FlowOptions, shown
from worchflow_celery.outcome import Failed, HandedOver, Lost, Outcome, Waiting
from worchflow_celery.runtime import Runtime

logger = logging.getLogger(__name__)

#: Seconds after which an execution in line looks for itself, at most.
_PATIENCE = 900.0
#: Seconds between two tries of a write while MongoDB is away, and how many there are at the end.
_AGAIN = 0.2
_TRIES = 5
#: Seconds that a dispatcher looks ahead.
_AHEAD = 1.0


class Place:
    """What one attempt has of its flow's limits."""

    def __init__(self, runtime: Runtime, definition: Definition, lease: Lease) -> None:
        self._runtime = runtime
        self._definition = definition
        self._lease = lease
        self._claim = lease.claim
        self._limit: Limit | None = None
        #: The line that it is to get into, and when that will move.
        self._line: tuple[str, datetime] | None = None

    def enter(self) -> Outcome | None:
        """Take a slot; ``None``: the handler may be called, else what happens instead."""
        definition, claim = self._definition, self._claim
        if not definition.options.limited:
            return None
        try:
            limit = _limit_of(definition, definition.data(claim.data))
        except (InvalidOption, InvalidEventData, TypeError) as error:
            return Failed(error)
        start = limit.starts is not None and not claim.admitted
        if limit.at_once is None and not start:
            return None
        while True:
            try:
                return self._take(limit, start=start)
            except StoreUnavailable:
                if self._runtime.shutdown.begun:
                    return Lost()
                time.sleep(_AGAIN)
            except LeaseLost:
                return Lost()
            except CorruptDocument as error:
                return Failed(error)

    def leave(self, outcome: Outcome) -> None:
        """The attempt is settled: call whoever comes next.

        One that is handed over keeps its slot: it goes on at once.
        """
        if self._limit is None or isinstance(outcome, Lost | HandedOver):
            return
        if self._line is not None and not isinstance(outcome, Waiting):
            return  # it was called off
        for _ in range(_TRIES):
            try:
                return self._call_next(self._limit)
            except StoreUnavailable:
                time.sleep(_AGAIN)
            except Exception:
                logger.exception(
                    "The slots of flow %s are left to the dispatcher", self._claim.flow
                )
                return
        logger.warning("The slots of flow %s are left to the dispatcher", self._claim.flow)

    def _take(self, limit: Limit, *, start: bool) -> Outcome | None:
        store, claim = self._runtime.store, self._claim
        taken = store.slots.take(limit, claim.id, claim.epoch, start=start)
        self._limit = limit
        if not taken.granted:
            line = START if start else SLOT
            opens = opens_at(limit, taken.slot) if start else None
            self._line = line, opens or taken.slot.now + store.slots.pause
            return Waiting(self._patience(), (limit.awaited(line),), begun=False)
        if taken.started_at is not None and not store.slots.admit(claim, taken.started_at):
            return Lost()
        self._runtime.process.keeper.confirm(self._lease)  # it may be long since the claim
        return None

    def _patience(self) -> float:
        """Seconds after which it looks for itself: its code may have other limits by then."""
        delay = random.uniform(_PATIENCE / 2, _PATIENCE)
        expires = dispatch.expires_at(self._claim.message) if self._claim.unbegun else None
        if expires is None:
            return delay
        left = (expires - self._runtime.store.database.now()).total_seconds()
        return max(0.0, min(delay, left))

    def _call_next(self, limit: Limit) -> None:
        slots, claim = self._runtime.store.slots, self._claim
        if self._line is not None:
            attend(self._runtime, limit, slots.get_in_line(limit, *self._line))
        elif limit.at_once is not None:
            slot = slots.give_back(limit, claim.id, claim.epoch)
            if slot.lines:
                attend(self._runtime, limit, slot)


def attend(runtime: Runtime, limit: Limit, slot: Slot) -> Slot:
    """Call out of the lines whoever can go on; return what is left."""
    store = runtime.store
    if slot.holders and (free_slots(limit, slot) <= 0 or free_starts(limit, slot) <= 0):
        slot = store.slots.without_stale(limit, slot)
    while lines := served(limit, slot):
        called = store.calls.call_first([limit.awaited(line) for line in lines])
        if called is None:
            store.slots.close_lines(limit, lines, slot.queued)
            break
        start = limit.starts is not None and not called.admitted
        slot, kept = store.slots.reserve(limit, called.due.id, called.epoch + 1, start=start)
        dispatch.republish(runtime, called.due)
        if not kept:
            break  # another one was faster: it waits again, where it was
    return slot


def look(runtime: Runtime, flows: Sequence[str]) -> float:
    """See to the lines of flows whose time has come; return the seconds until the next look."""
    limited = _limited(runtime, flows)
    pause = float("inf")
    if not limited:
        return pause
    slots = runtime.store.slots
    for one in slots.to_look_at(list(limited), ahead=_AHEAD):
        if one.wait > 0:
            return min(pause, one.wait)
        limit = _limit(limited[one.flow], one.id, one.flow, one.key)
        try:
            slot = slots.win(limit, one.look_at)
            if slot is None:
                continue
            slot = attend(runtime, limit, slot)
            opens = opens_at(limit, slot)
            if START in slot.lines and opens is not None:
                slots.look_again(limit, opens)
                pause = min(pause, (opens - slot.now).total_seconds())
        except StoreUnavailable:
            raise
        except Exception:  # somebody has written to it; the others go on
            logger.exception("The slots %r cannot be looked at", one.id)
    return pause


def tidy(runtime: Runtime, flows: Sequence[str]) -> None:
    """Remove what is not needed any more."""
    if _limited(runtime, flows):
        runtime.store.slots.purge()


def _limited(runtime: Runtime, flows: Sequence[str]) -> dict[str, FlowOptions]:
    known = {name: runtime.definitions[name].options for name in flows}
    return {name: options for name, options in known.items() if options.limited}


def _limit_of(definition: Definition, data: Any) -> Limit:
    """The limit that an execution with this data comes under."""
    key_of = definition.options.concurrency_key
    if key_of is None:
        return _limit(definition.options, definition.id, definition.id, None)
    try:
        key: object = key_of(data)
    except Exception as error:
        raise InvalidOption(
            f"flow {definition.id!r}: concurrency_key raised {type(error).__name__}: it must "
            "return a string for any data"
        ) from error
    if not isinstance(key, str):
        raise InvalidOption(
            f"flow {definition.id!r}: concurrency_key returned {shown(key)}: it must return a "
            "string; all executions with the same one share the limit"
        )
    digest = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:32]
    return _limit(definition.options, f"{definition.id} {digest}", definition.id, shown(key)[1:-1])


def _limit(options: FlowOptions, slot_id: str, flow: str, key: str | None) -> Limit:
    starts, window = options.throttle or (None, 0.0)
    return Limit(slot_id, flow, key, options.concurrency, starts, timedelta(seconds=window))
