"""Steps in which an execution waits, and holds no worker meanwhile: for a time, for signals."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from worchflow_celery import calling, codec
from worchflow_celery.errors import InvalidEventData, Suspended
from worchflow_celery.journal import Journal
from worchflow_celery.outcome import describe, name_of
from worchflow_celery.store.records import Recorded
from worchflow_celery.store.signals import Received
from worchflow_celery.tracing import Span

#: Seconds up to which a pause is spent on the worker: to leave it would cost more.
_SHORT = 1.0
#: Seconds after which an execution looks by itself whether what it waits for has happened.
A_DAY = 86_400.0
#: Seconds between two looks of an execution that runs eagerly, and so waits where it is.
_LOOK = 0.05


class Wait:
    """One run of a step that waits: its beginning is recorded, and with it how long it may take."""

    def __init__(self, journal: Journal, name: str, kind: str) -> None:
        self.journal = journal
        self.name = name
        self.kind = kind
        self.key = journal.begin(name)
        #: Whether this is where it began.
        self.is_new = False
        self._within: Span | None = None

    def __enter__(self) -> "Wait":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Whatever has not ended it leaves it, and comes back."""
        if self._within is not None:
            self._within.leave()
            if isinstance(error, Suspended):
                self._within.end("waiting")
            elif isinstance(error, Exception):
                self._within.end("failed", error)
            self._within = None

    def recorded(self) -> Recorded | None:
        """How it ended, when it has; raises what it raised then."""
        return self.journal.recorded(self.key)

    def start(self) -> None:
        """Go on with it; not for an attempt that is to stop."""
        self.journal.boundary()
        self.__exit__(None, None, None)  # of an earlier run
        self._run = self.journal.start(self.key, self.name, self.kind)
        self._within = self._run.span
        if self._within is not None:
            self._within.enter()

    @property
    def is_of_earlier_attempt(self) -> bool:
        """Whether it began in an earlier attempt than this one."""
        begun = self.journal.begun(self._run)
        return begun is not None and begun.epoch < self.journal.claim.attempt_epoch

    @property
    def was_interrupted(self) -> bool:
        """Whether its beginning ended in a crash: it may not have come to what follows it."""
        begun = self.journal.begun(self._run)
        return begun is not None and begun.epoch in self.journal.claim.crashed

    @property
    def failures(self) -> int:
        """How many runs of it have failed in this attempt."""
        return self.journal.failures(self.key)

    def until(self, seconds: float | None) -> datetime | None:
        """When it is over at the latest: so many seconds after it began, in whatever attempt."""
        begun = self.journal.begun(self._run)
        self.is_new = begun is None
        if begun is None:
            end = None if seconds is None else self.journal.now() + timedelta(seconds=seconds)
            text = codec.encode(end)
            begun = self.journal.record(self._run, "waiting", kind=self.kind, result=text)
        found: datetime | None = codec.decode(begun.result or "null")
        return found

    @property
    def attempt(self) -> int:
        """Which run of the step it is."""
        return self._run.attempt

    def park(self, end: datetime | None, *awaits: str) -> None:
        """Leave the worker until then, or until called; return when it is time to look again."""
        left = A_DAY if end is None else self.left(end)
        if self.journal.eager:
            time.sleep(min(left, _LOOK))
        elif left > 0:
            self.journal.suspend(min(left, A_DAY) if awaits else left, awaits)

    def left(self, end: datetime) -> float:
        """Seconds until then."""
        return max(0.0, (end - self.journal.now()).total_seconds())

    def complete(self, text: str = "null", ref: str | None = None) -> Recorded:
        """It has ended with this result, encoded."""
        return self.journal.record(self._run, "completed", kind=self.kind, result=text, ref=ref)

    def fail(
        self,
        error: Exception,
        ref: str | None = None,
        *,
        told: bool = True,
        cause: Mapping[str, str] | None = None,
    ) -> Exception:
        """It has ended with this error; ``told``: after a crash it is raised again by itself.

        ``cause`` is recorded in the place of the error: that of something outside.
        """
        raised = name_of(error) if told else None
        recorded = dict(cause or describe(error))
        self.journal.record_failure(
            self._run, error, kind=self.kind, error=recorded, raised=raised, ref=ref
        )
        return error


def sleep(journal: Journal, name: str, seconds: float) -> None:
    """Go on after so many seconds."""
    with Wait(journal, name, "sleep") as wait:
        if wait.recorded() is None:
            wait.start()
            end = journal.now() + timedelta(seconds=seconds)
            if seconds > _SHORT and not journal.eager:
                end = wait.until(seconds) or end
            _sleep_until(wait, end)


def sleep_until(journal: Journal, name: str, end: datetime) -> None:
    """Go on at that time; at once when it has passed."""
    with Wait(journal, name, "sleep") as wait:
        if wait.recorded() is None:
            wait.start()
            _sleep_until(wait, end)


def _sleep_until(wait: Wait, end: datetime) -> None:
    while not wait.journal.eager and (left := wait.left(end)) > 0:
        if left > _SHORT:
            wait.park(end)
        wait.journal.boundary()
        time.sleep(min(left, 0.2))
    wait.complete()


def receive(
    journal: Journal, name: str, names: Sequence[str], seconds: float | None, kind: Any
) -> tuple[str, Any] | None:
    """The first of these signals and its payload, of type ``kind``; ``None``: none in time."""
    definition = journal.runtime.definitions.get(journal.claim.flow)
    if definition is not None:
        definition.takes_signals(names, kind)
    with Wait(journal, name, "signal") as wait:
        recorded = wait.recorded()
        return _told(recorded, kind) if recorded else _received(wait, names, seconds, kind)


def _received(
    wait: Wait, names: Sequence[str], seconds: float | None, kind: Any
) -> tuple[str, Any] | None:
    wait.start()
    end = wait.until(seconds)
    journal = wait.journal
    while True:
        found = journal.runtime.store.signals.first(journal.execution_id, names, journal.taken)
        if found is not None:
            return _taken(wait, found, kind)
        if end is not None and not wait.left(end):
            wait.complete()
            return None
        wait.park(end, *map(calling.signal_of, names))
        journal.boundary()


def _taken(wait: Wait, found: Received, kind: Any) -> tuple[str, Any]:
    try:
        value = _typed(found.data, kind)
    except (ValidationError, codec.UndecodableValue) as error:
        reason = str(error).splitlines()[0] if kind is None else f"it is no {kind}"
        refusal = InvalidEventData(
            f"signal {found.name!r} for step {wait.name!r} of execution "
            f"{wait.journal.execution_id!r}: {reason[:200]}"
        )
        raise wait.fail(refusal, found.ref) from None
    wait.complete(found.data, found.ref)
    return found.name, value


def _told(recorded: Recorded, kind: Any) -> tuple[str, Any] | None:
    if recorded.ref is None:
        return None
    return recorded.ref.partition(" ")[2], _typed(recorded.result or "null", kind)


def _typed(text: str, kind: Any) -> Any:
    value = codec.decode(text, annotation=kind)
    return value if kind is None else TypeAdapter(kind).validate_python(value)
