"""The journal of an execution that is undone: what it replays for, and what it records of it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from worchflow_celery import signals
from worchflow_celery.errors import Unwinding
from worchflow_celery.journal import Journal
from worchflow_celery.leases import Lease
from worchflow_celery.outcome import describe
from worchflow_celery.replay import Run
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.records import Checkpoint, Recorded
from worchflow_celery.store.timeline import compensation_of


@dataclass(frozen=True, slots=True)
class Compensation:
    """What undoes a step."""

    key: str
    name: str
    fn: Callable[[Any], Any]
    #: Of the step.
    result: Any


class Undoing(Journal):
    """The journal of a handler that is replayed, and then of its compensations."""

    def __init__(
        self,
        runtime: Runtime,
        lease: Lease,
        recorded: list[Recorded],
        pending: set[str],
        eager: bool,
    ) -> None:
        super().__init__(runtime, lease, recorded, eager=eager)
        self._tried = Counter(
            run.key
            for run in recorded
            if run.phase == "compensate" and (run.again or 0) == self._replay.again(run.key)
        )
        #: The keys of steps whose compensations have not been met yet.
        self.pending = set(pending)
        #: By first start of their steps.
        self.found: list[Compensation] = []
        self._replays = self.logbook.silent = True
        self._seq = 0

    def remember(self, key: str, name: str, compensate: Callable[..., Any], result: Any) -> None:
        if key not in self.pending:
            return
        self.found.append(Compensation(key, name, compensate, result))
        self.pending.discard(key)
        if not self.pending:  # what follows would be called for nothing
            self._interruption = Unwinding()
            raise self._interruption

    def boundary(self) -> None:
        if self._replays:
            raise Unwinding()
        super().boundary()

    def turn(self) -> None:
        """From here on compensations run."""
        self._replays = self.logbook.silent = False
        self._interruption = None
        self._closed = True

    def begin_undoing(self, key: str, name: str) -> Run:
        """A compensation begins."""
        self.boundary()
        self._note(compensation_of(key))
        self._tried[key] += 1
        self._seq += 1
        tried, seq = self._tried[key], self._seq
        span = self.span(name, compensation_of(key), "compensate", tried)
        return Run(key, name, seq, tried, self.now(), span)

    def identity_of_undoing(self, key: str) -> str:
        """What stays the same each time a compensation runs, until its step runs again."""
        again = self._replay.again(key)
        return f"{self.execution_id}:{compensation_of(key)}" + (f":again{again}" if again else "")

    def ended(self, run: Run, error: Exception | None) -> None:
        """A compensation has ended."""
        told = replace(run, key=compensation_of(run.key))
        if error is None:
            self._insert(self._undoing(run, "completed", result="null"))
            self._tell(signals.step_completed, told)
        else:
            self._insert(self._undoing(run, "failed", error=describe(error)))
            self._tell(signals.step_failed, told, error=error)

    def _undoing(self, run: Run, status: str, **fields: Any) -> Checkpoint:
        return self._checkpoint(run, status, kind="compensate", phase="compensate", **fields)
