"""The leases of this process, renewed by one thread while user code runs."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

from worchflow_celery.clock import elapsed
from worchflow_celery.errors import LeaseLost, StoreUnavailable
from worchflow_celery.store.attempts import Attempts
from worchflow_celery.store.records import Claim
from worchflow_celery.store.settlements import Settlement

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Part of a lease after which its holder stops trusting it: the rest is for clocks and networks.
_TRUST = 0.8
#: Seconds between two tries to renew while MongoDB is away.
_AGAIN = 0.5
#: Seconds between two tries of any other write.
_SOON = 0.2
#: Seconds between two looks whether somebody asked an execution to stop.
_LOOK = 0.5


@dataclass(eq=False, slots=True)
class Lease:
    """A claim, and for how long it may be believed."""

    claim: Claim
    ttl: float
    #: When the last accepted renewal was sent: the store granted it later, never earlier.
    sent: float
    #: Since when.
    held: float = field(default_factory=elapsed)
    lost: bool = False
    #: Its end is being written: that it is no longer found is no loss.
    settling: bool = False
    #: What somebody asked of the execution: ``cancel``, ``pause`` or nothing.
    asked: str | None = None
    #: The execution runs no more, it is undone: whoever cancels it comes too late.
    ending: bool = False
    #: The numbers of the lines that are logged under it.
    lines: Iterator[int] = field(default_factory=count)
    #: Where the spans of later attempts are to begin, if its settlement is to say so.
    trace: Mapping[str, str] | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def fresh(self) -> bool:
        """Whether nobody else can have taken the execution yet."""
        return not self.lost and elapsed() - self.sent < _TRUST * self.ttl

    def renewed(self, sent: float) -> None:
        """The store accepted a renewal that was sent then."""
        with self.changed:
            self.sent = sent
            self.changed.notify_all()

    def end(self) -> None:
        """Another worker has the execution."""
        with self.changed:
            self.lost = True
            self.changed.notify_all()


class Keeper:
    """Renews all leases of a process, in one write every quarter of a lease.

    Twice a second it looks, in one query, whether somebody asked one of them to stop; not for
    those that are younger than that, so that short attempts cost nothing.
    """

    def __init__(self, attempts: Attempts, ttl: float) -> None:
        self._attempts = attempts
        self._ttl = ttl
        self._leases: dict[str, Lease] = {}
        #: Claims whose answer was lost: execution and token.
        self._doubts: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self, claim: Claim, sent: float) -> Lease:
        """Keep a claim alive; ``sent`` is when it was asked for."""
        lease = Lease(claim, self._ttl, sent, asked=claim.asked)
        with self._lock:
            self._leases[claim.token] = lease
            self._start()
        return lease

    def doubt(self, execution_id: str, token: str) -> None:
        """A claim may be ours without our knowing: give it back when MongoDB answers again."""
        with self._lock:
            self._doubts.append((execution_id, token))
            self._start()
        self._wake.set()

    def drop(self, lease: Lease) -> None:
        """Let a lease go; its attempt is settled, or lost."""
        with self._lock:
            self._leases.pop(lease.claim.token, None)

    def confirm(self, lease: Lease, *, patience: float | None = None) -> bool:
        """Return when the lease is ours beyond doubt; raise ``LeaseLost`` when it is not.

        While MongoDB is away this waits, for ``patience`` seconds or, with ``None``, for as long
        as it takes: nobody else can get an answer either. ``False``: still in doubt.
        """
        deadline = None if patience is None else elapsed() + patience
        while not lease.fresh:
            if lease.lost:
                raise LeaseLost(f"another worker has execution {lease.claim.id!r}")
            self._wake.set()
            with lease.changed:
                if not lease.fresh and not lease.lost:
                    lease.changed.wait(0.2)
            if deadline is not None and elapsed() > deadline:
                return False
        return True

    def persistently(self, lease: Lease, write: Callable[[], T]) -> T:
        """Do a write, again and again while MongoDB is away, as long as the lease is ours."""
        while True:
            try:
                self.confirm(lease)
                return write()
            except StoreUnavailable:
                time.sleep(_SOON)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="worchflow-leases", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        rest = self._ttl / 4
        next_renewal, troubled = elapsed() + rest, False
        while True:
            woken = self._wake.wait(max(0.0, min(_LOOK, next_renewal - elapsed())))
            self._wake.clear()
            try:
                if woken or elapsed() >= next_renewal:
                    self._renew()
                    self._give_back()
                    next_renewal, troubled = elapsed() + rest, False
                self._look()
            except StoreUnavailable as error:
                if not troubled:
                    logger.warning("Leases are not renewed: %s", error)
                next_renewal, troubled = elapsed() + min(_AGAIN, rest), True
            except Exception:
                logger.exception("Leases are not renewed")
                next_renewal = elapsed() + min(_AGAIN, rest)

    def _look(self) -> None:
        """See what somebody asked of the executions that have been here for a while."""
        with self._lock:
            waiting = [lease for lease in self._leases.values() if lease.asked is None]
        old = {lease.claim.token: lease for lease in waiting if elapsed() - lease.held > _LOOK}
        if old:
            asked = self._attempts.asked([lease.claim for lease in old.values()])
            for token, what in asked.items():
                old[token].asked = what

    def _give_back(self) -> None:
        while self._doubts:
            claim = self._attempts.claimed(*self._doubts[0])
            if claim is not None:
                self._attempts.settle(claim, Settlement("queued", "handed-over", delay=0.0))
            self._doubts.pop(0)

    def _renew(self) -> None:
        with self._lock:
            leases = dict(self._leases)
        if not leases:
            return
        sent = elapsed()
        lost = self._attempts.renew([lease.claim for lease in leases.values()])
        for token, lease in leases.items():
            if token not in lost:
                lease.renewed(sent)
            elif not lease.settling:
                logger.warning(
                    "Execution %s was taken over: this worker was silent for too long",
                    lease.claim.id,
                    extra=lease.claim.ids,
                )
                lease.end()
