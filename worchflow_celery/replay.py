"""What earlier attempts recorded, and the keys under which this one finds it."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worchflow_celery import codec, restarting
from worchflow_celery.annotations import annotation_of
from worchflow_celery.errors import (
    ChildFailed,
    LeaseLost,
    NonRetriableError,
    PayloadTooLarge,
    StoreUnavailable,
    TaskFailed,
    UnserializableResult,
)
from worchflow_celery.models import ErrorInfo
from worchflow_celery.outcome import revived
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.records import Claim, Ending, Recorded
from worchflow_celery.tracing import Span

#: Seconds between two tries of a read while MongoDB is away.
_AGAIN = 0.2
#: Errors that are final for a step: its effect has happened, its value cannot be kept.
_FINAL = {kind.__name__: kind for kind in (UnserializableResult, PayloadTooLarge)}


@dataclass(frozen=True, slots=True)
class Known:
    """The result of a step that has completed before."""

    value: Any


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a step that has begun."""

    key: str
    name: str
    seq: int
    attempt: int
    started_at: datetime
    span: Span | None = None


def read(runtime: Runtime, claim: Claim) -> list[Recorded]:
    """What earlier attempts recorded, in one read, however long MongoDB is away.

    Raises ``LeaseLost`` when the worker shuts down meanwhile, ``CorruptDocument``.
    """
    while True:
        try:
            store = runtime.store
            return restarting.completed(store, claim, store.steps.read(claim.id))
        except StoreUnavailable:
            if runtime.shutdown.begun:
                raise LeaseLost("the worker shuts down while MongoDB is away") from None
            time.sleep(_AGAIN)


def times_undone(recorded: Iterable[Recorded], before: int) -> Counter[str]:
    """How often each step was undone before an epoch: that of the last manual retry."""
    return Counter(
        run.key
        for run in recorded
        if run.phase == "compensate" and run.status == "completed"
        if run.epoch < before
    )


def to_undo(recorded: Sequence[Recorded], before: int) -> set[str]:
    """The keys of the completed steps that something undoes, unless that has been done."""
    undone = times_undone(recorded, before)
    return {
        run.key
        for run in recorded
        if run.undo and run.phase is None and (run.again or 0) == undone[run.key]
    }


class Keys:
    """The keys of an attempt's steps: a name, numbered from its second use on."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        #: Each with its place among them.
        self._taken: dict[str, int] = {}
        self._uses: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._taken)

    def place(self, key: str) -> int:
        """Which step of its attempt it is: 1 for the first."""
        return self._taken[key]

    def next(self, name: str) -> str:
        """The key of the next step of this name."""
        name = self._prefix + name
        number = self._uses.get(name, 0) + 1
        key = name if number == 1 else f"{name}#{number}"
        while key in self._taken:  # a step that was called "name#2" by hand
            number += 1
            key = f"{name}#{number}"
        self._uses[name] = number
        self._taken[key] = len(self._taken) + 1
        return key


class Replay:
    """The recorded runs of an execution's steps: of its handler's, or of its ``on_failure``'s.

    Those that were undone before the last manual retry do not count.
    """

    def __init__(
        self, claim: Claim, recorded: Sequence[Recorded], ending: Ending | None = None
    ) -> None:
        self._claim = claim
        self._undone = times_undone(recorded, claim.retried_epoch)
        self._ending = ending
        self._done: dict[str, Recorded] = {}
        self._failures: dict[str, list[Recorded]] = {}
        self._begun: dict[tuple[str, int], Recorded] = {}
        #: The signals that waits have taken.
        self.taken = {run.ref for run in recorded if run.ref is not None}
        for run in filter(self._counts, recorded):
            if run.status == "waiting":
                self._begun[run.key, run.attempt] = run
            elif run.status == "completed" or run.final:
                self._done[run.key] = run
            else:
                self.failed(run)

    @property
    def phase(self) -> str | None:
        """Whose steps these are; ``None``: the handler's."""
        return "on_failure" if self._ending else None

    def again(self, key: str) -> int:
        """What tells a step from the same step before a manual retry."""
        return self._ending.epoch if self._ending else self._undone[key]

    def marks(self, key: str) -> dict[str, Any]:
        """What tells a record of this step from one of another phase, or before a retry."""
        return {"phase": self.phase, "again": self.again(key) or None}

    def identity(self, key: str) -> str:
        """What stays the same each time a step runs, until it is undone."""
        again = self.again(key)
        parts = [self._claim.id, self.phase, key, f"again{again}" if again else None]
        return ":".join(filter(None, parts))

    def _counts(self, run: Recorded) -> bool:
        return run.phase == self.phase and (run.again or 0) == self.again(run.key)

    def begun(self, key: str, attempt: int) -> Recorded | None:
        """The recorded beginning of a wait."""
        return self._begun.get((key, attempt))

    def failed(self, run: Recorded) -> None:
        """One more run of a step has failed."""
        self._failures.setdefault(run.key, []).append(run)

    def failures(self, key: str) -> Sequence[Recorded]:
        """The runs of a step that failed."""
        return self._failures.get(key, ())

    def recall(self, key: str, fn: Callable[..., Any]) -> Known | None:
        """The recorded result of a step, or its final error; ``None``: it has to run."""
        checkpoint = self.recorded(key)
        return Known(self.value_of(checkpoint, annotation_of(fn))) if checkpoint else None

    def recorded(self, key: str) -> Recorded | None:
        """The checkpoint of a step; raises what its last run has raised into the handler."""
        checkpoint = self._done.pop(key, None)  # read once; it may be large
        if checkpoint is None:
            self.recall_failure(key)
        return checkpoint

    def recall_failure(self, key: str) -> None:
        """Raise what the handler was told before this attempt lost its worker: it went on from it.

        Were the step run again, it might succeed, and the handler would take another way.
        """
        if key not in self._failures:
            return
        last = max(self._failures[key], key=lambda run: run.attempt)
        if last.raised and last.epoch >= self._claim.attempt_epoch:
            raise _with_details(revived(last.error or {}, last.raised), last)

    def value_of(self, checkpoint: Recorded, annotation: Any) -> Any:
        """The result of a step; raises its final error."""
        if checkpoint.status != "completed":
            stored = checkpoint.error or {}
            kind = _FINAL.get(stored.get("type", ""), NonRetriableError)
            raise kind(stored.get("message", "the step failed for good"))
        try:
            return codec.decode(checkpoint.result or "", annotation=annotation)
        except codec.UndecodableValue as error:
            raise UnserializableResult(
                f"the checkpoint of step {checkpoint.key!r} of execution {self._claim.id!r} "
                f"cannot be read: {error}"
            ) from error


def _with_details(error: Exception, run: Recorded) -> Exception:
    """A failure of something outside, with what was recorded of it."""
    if isinstance(error, ChildFailed):
        error.execution_id = run.ref
    if isinstance(error, TaskFailed) and run.error:
        return TaskFailed.of(ErrorInfo(**run.error))
    return error
