"""The record of one attempt's steps: what earlier attempts wrote, and what this one adds."""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn, TypeVar

from worchflow_celery import results, signals, tracing
from worchflow_celery.errors import (
    ExecutionTimeout,
    HandOver,
    Interruption,
    LeaseLost,
    NonRetriableError,
    StepMisuse,
    Stopped,
    Suspended,
    WorchflowError,
)
from worchflow_celery.leases import Lease
from worchflow_celery.logbook import Logbook
from worchflow_celery.models import Progress
from worchflow_celery.options import StepOptions, check_step_name
from worchflow_celery.outcome import describe, name_of, step_delay
from worchflow_celery.replay import Keys, Known, Replay, Run, to_undo
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.records import Checkpoint, Ending, Recorded

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: From this many crashes in a row on, each step is noted before it runs, so that the one that
#: kills its workers has a name when the execution is given up.
_SUSPICIOUS_CRASHES = 2


class Journal:
    """Keeps the promises of ``step.run``: keys, checkpoints, the lease, the limits."""

    def __init__(
        self,
        runtime: Runtime,
        lease: Lease,
        checkpoints: list[Recorded],
        *,
        eager: bool = False,
        ending: Ending | None = None,
    ) -> None:
        #: The app's.
        self.runtime = runtime
        self._process = runtime.process
        self._lease = lease
        #: Of this attempt.
        self.claim = lease.claim
        #: Whether it runs in its caller's process, where nothing is waited for.
        self.eager = eager
        self.logbook = Logbook(self._process, lease)
        self._spans = tracing.steps(runtime.spans)
        self._keys = Keys("on_failure/" if ending else "")
        self._replay = Replay(lease.claim, checkpoints, ending)
        #: Whether a step has completed that something undoes.
        self.undoable = bool(to_undo(checkpoints, lease.claim.retried_epoch))
        self._interruption: Interruption | None = None
        self._closed = False
        self._noted = len(self.claim.crashed) >= _SUSPICIOUS_CRASHES

    @property
    def taken(self) -> set[str]:
        """The signals that the execution's waits have taken."""
        return self._replay.taken

    @property
    def execution_id(self) -> str:
        """The id of the execution."""
        return self.claim.id

    @property
    def interruption(self) -> Interruption | None:
        """What cut the attempt short, also when the handler has swallowed it."""
        return self._interruption

    @property
    def certain(self) -> bool:
        """Whether ``boundary`` will return or raise at once."""
        return self._lease.fresh

    def close(self) -> None:
        """The handler has ended: no step can begin any more."""
        self._closed = True
        if self._spans is not None:
            self._spans.end_all()

    def report(self, fraction: float, message: str | None) -> None:
        """Tell how far the execution is; another thread writes it."""
        if not self._closed:  # else there is nothing that could come any further
            progress = Progress(fraction=fraction, message=message, at=self.now())
            self._process.reporter.note(self.claim, progress)

    def begin(self, name: str) -> str:
        """The key of the next step of this name."""
        check_step_name(name)
        if self._closed:
            raise StepMisuse(f"step {name!r} begins after its flow has ended")
        if self._interruption is not None:
            raise self._interruption  # the handler swallowed it; it meets it again
        return self._keys.next(name)

    def keys_within(self, key: str, count: int) -> list[str]:
        """The keys of so many steps that run at once under a key of their own."""
        return [self._keys.next(f"{key}[{number}]") for number in range(count)]

    def recall(self, key: str, fn: Callable[..., Any]) -> Known | None:
        """The recorded result of a step, or its final error; ``None``: it has to run."""
        return self._replay.recall(key, fn)

    def recall_failure(self, key: str) -> None:
        """Raise what the handler was told of a step before this attempt lost its worker."""
        self._replay.recall_failure(key)

    def recorded(self, key: str) -> Recorded | None:
        """The checkpoint of a wait; raises what a final failure has raised."""
        return self._replay.recorded(key)

    def boundary(self) -> None:
        """Between two steps: go on only as the owner, and not when the worker shuts down."""
        if self._interruption is not None:
            raise self._interruption
        try:
            while not self._process.keeper.confirm(self._lease, patience=1.0):
                self._leave_if_shutting_down()
            self._leave_if_asked()
            self._leave_if_shutting_down()
        except Interruption as interruption:
            self._interruption = interruption
            raise

    def start(self, key: str, name: str, kind: str = "run") -> Run:
        """A run of a step begins."""
        self._note(key)
        attempt = 1 + len(self._replay.failures(key))
        span = self.span(name, key, kind, attempt)
        run = Run(key, name, self._keys.place(key), attempt, self.now(), span)
        self._tell(signals.step_started, run, attempt=attempt)
        return run

    def span(self, *about: Any) -> tracing.Span | None:
        """The span of a run that begins: its step's name, key and kind, and its number."""
        return None if self._spans is None else self._spans.begin(*about)

    def identity(self, key: str) -> str:
        """What stays the same each time a step runs, until it is undone."""
        return self._replay.identity(key)

    def remember(self, key: str, name: str, compensate: Callable[..., Any], result: Any) -> None:
        """A step was replayed that something undoes; for those who are to undo it."""

    def completed(self, run: Run, value: Any, annotation: Any, *, undo: bool = False) -> Any:
        """Record a result; return it as a later attempt would read it."""
        limit = self.runtime.settings.max_payload_bytes
        try:
            text = results.encode(f"step {run.name!r}", value, annotation, limit)
        except WorchflowError as error:
            raise self._refused(run, error) from None
        stored = self._insert(self._checkpoint(run, "completed", result=text, undo=undo))
        self.undoable = self.undoable or undo
        self._tell(signals.step_completed, run)
        return self._replay.value_of(stored, annotation)

    def failed(
        self, run: Run, error: Exception, options: StepOptions, *, told: bool = True
    ) -> float:
        """Record a failed run; return the seconds until the next one, or raise the error.

        ``told``: whether the handler is told of a final one.
        """
        final = isinstance(error, NonRetriableError | ExecutionTimeout)
        final = final or self.failures(run.key) >= options.retries
        raised = name_of(error) if final and told else None
        failure = self._checkpoint(run, "failed", error=describe(error), raised=raised)
        self._replay.failed(self._insert(failure))
        self._tell(signals.step_failed, run, error=error)
        if final:
            raise error
        delay = 0.0 if self.eager else step_delay(options, error, self.now())
        logger.info(
            "Step %r of execution %s runs again in %.3g s after %s",
            run.key,
            self.claim.id,
            delay,
            type(error).__name__,
            extra={**self.claim.ids, "step": run.key},
        )
        return delay

    def leave_if_longer(self, delay: float, most: float) -> None:
        """Give the worker free for a long pause; the execution comes back to this step."""
        if delay > most:
            self.suspend(delay)

    def suspend(self, delay: float, awaits: tuple[str, ...] = ()) -> NoReturn:
        """Give the worker free until the execution is due, or called."""
        self._interruption = Suspended(delay, awaits)
        raise self._interruption

    def now(self) -> datetime:
        """The present time on MongoDB's clock."""
        return self._process.store.database.now()

    def begun(self, run: Run) -> Recorded | None:
        """The beginning of a wait, when it is recorded."""
        return self._replay.begun(run.key, run.attempt)

    def record(self, run: Run, status: str, **fields: Any) -> Recorded:
        """Record something of a wait."""
        if fields.get("ref") is not None:
            self._replay.taken.add(fields["ref"])
        stored = self._insert(self._checkpoint(run, status, **fields))
        if status == "completed":
            self._tell(signals.step_completed, run)
        return stored

    def record_failure(self, run: Run, failure: Exception, **fields: Any) -> None:
        """Record that a wait has failed."""
        self._replay.failed(self.record(run, "failed", **fields))
        self._tell(signals.step_failed, run, error=failure)

    def failures(self, key: str) -> int:
        """How many runs of a step have failed in this attempt, its crashes included."""
        begun = self.claim.attempt_epoch
        return sum(one.epoch >= begun for one in self._replay.failures(key))

    def _refused(self, run: Run, error: WorchflowError) -> WorchflowError:
        """Record that a step's effect has happened and that its value cannot be kept."""
        self._insert(self._checkpoint(run, "failed", error=describe(error), final=True))
        self._tell(signals.step_failed, run, error=error)
        return error

    def _checkpoint(self, run: Run, status: str, **fields: Any) -> Checkpoint:
        return Checkpoint(
            key=run.key,
            name=run.name,
            seq=run.seq,
            status=status,
            attempt=run.attempt,
            epoch=self.claim.epoch,
            started_at=run.started_at,
            finished_at=self.now(),
            **{**self._replay.marks(run.key), **fields},
        )

    def _insert(self, checkpoint: Checkpoint) -> Recorded:
        """Write until MongoDB is back or the lease is lost; adopt what another one wrote first."""
        store = self._process.store
        found = self._persistently(lambda: store.steps.insert(self.claim.id, checkpoint))
        if found is None or found.epoch == self.claim.epoch:
            return found or checkpoint
        # Somebody else has run this step. If the execution is still ours, it was an owner before
        # us whose write came late: its result stands, ours is forgotten.
        if not self._persistently(lambda: store.attempts.holds(self.claim)):
            self._lease.end()
            self._interruption = LeaseLost(f"another worker has execution {self.claim.id!r}")
            raise self._interruption
        return found

    def _persistently(self, write: Callable[[], T]) -> T:
        try:
            return self._process.keeper.persistently(self._lease, write)
        except LeaseLost as lost:
            self._interruption = lost
            raise

    def _note(self, key: str) -> None:
        if self._noted:
            self._persistently(lambda: self._process.store.attempts.note_step(self.claim, key))

    def _leave_if_asked(self) -> None:
        asked = self._lease.asked
        if asked is not None and not (asked == "cancel" and self._lease.ending):
            raise Stopped(asked)

    def _leave_if_shutting_down(self) -> None:
        if self.runtime.shutdown.begun:
            raise HandOver("the worker shuts down")

    def _tell(self, signal: Any, run: Run, **more: Any) -> None:
        if self._spans is not None and signal is not signals.step_started:
            self._spans.end(run.span, more.get("error"))
        signal.send(
            self.runtime.sender,
            execution_id=self.claim.id,
            flow=self.claim.flow,
            step=run.name,
            key=run.key,
            **more,
        )
