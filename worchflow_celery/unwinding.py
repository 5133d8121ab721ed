"""The end of an execution that failed or was cancelled: its steps are undone, newest first.

1. How it is to end is written down. From then on it runs no more, whoever takes it.
2. Its handler is called for the sake of its compensations: recorded steps are replayed, and the
   call is cut off when all that is to be undone was met, or at a step that has not completed.
3. Each compensation runs once, as a step with a checkpoint of its own; one that fails is recorded,
   and the others still run. Then ``on_failure``, likewise.
4. It is settled with the end that was written down.

After a crash in the middle, whoever claims it next goes on at 2.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from worchflow_celery import handler, replay
from worchflow_celery.context import Running, running_step
from worchflow_celery.cuts import cut_short
from worchflow_celery.definition import Definition
from worchflow_celery.errors import LeaseLost, StepMisuse, StoreUnavailable, Unwinding
from worchflow_celery.journal import Journal
from worchflow_celery.leases import Lease
from worchflow_celery.models import ErrorInfo
from worchflow_celery.outcome import (
    CALLED_OFF,
    Cancelled,
    Failed,
    Outcome,
    Unwound,
    describe,
    name_of,
    over_crash_budget,
    revived,
)
from worchflow_celery.replay import Run
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.records import Ending, Recorded
from worchflow_celery.store.timeline import compensation_of
from worchflow_celery.tracing import Span
from worchflow_celery.undoing import Compensation, Undoing

logger = logging.getLogger(__name__)

#: Seconds between two tries of a write while MongoDB is away.
_AGAIN = 0.2
#: The key of the step that calls a flow's ``on_failure``.
_ON_FAILURE = "on_failure"


def decide(runtime: Runtime, lease: Lease, outcome: Failed | Cancelled) -> Ending | None:
    """Write down how an execution is to end; ``None``: the lease is lost.

    One that was asked to cancel before that ends as cancelled.
    """
    raised = name_of(outcome.error) if isinstance(outcome, Failed) else None
    status = "failed" if isinstance(outcome, Failed) else "cancelled"
    ending = Ending(status, outcome.described, lease.claim.epoch, raised)
    attempts, endings = runtime.store.attempts, runtime.store.endings
    while True:
        try:
            if endings.decide(lease.claim, ending):
                return ending
            asked = attempts.asked([lease.claim]).get(lease.claim.token)
        except StoreUnavailable:
            if runtime.shutdown.begun:
                return None
            time.sleep(_AGAIN)
            continue
        if asked != "cancel" or status == "cancelled":
            return None
        return decide(runtime, lease, Cancelled(CALLED_OFF))


def unwind(
    runtime: Runtime, definition: Definition, lease: Lease, ending: Ending, *, eager: bool
) -> Outcome:
    """Undo what is to be undone; return the end, or what came between."""
    lease.ending = True
    try:
        compensated = _Unwinder(runtime, definition, lease, ending, eager=eager).run()
    except BaseException as error:
        outcome = cut_short(runtime, error)
        if outcome is None:
            raise
        return outcome
    unwound = Unwound(ending.error, compensated)
    if ending.status == "cancelled":
        return Cancelled(ending.error.get("message", CALLED_OFF), unwound)
    return Failed(revived(ending.error, ending.raised or ""), unwound)


class _Unwinder:
    """One stay of an ending execution on a worker."""

    def __init__(
        self,
        runtime: Runtime,
        definition: Definition,
        lease: Lease,
        ending: Ending,
        *,
        eager: bool,
    ) -> None:
        self._runtime = runtime
        self._definition = definition
        self._lease = lease
        self._claim = lease.claim
        self._ending = ending
        self._eager = eager

    def run(self) -> bool | None:
        """Whether all is undone; ``None``: there was nothing to undo."""
        recorded, readable = self._recorded()
        if self._crashes_too_often(recorded):
            logger.error(
                "Execution %s kills whoever undoes it; it is left as it is",
                self._claim.id,
                extra=self._claim.ids,
            )
            return False
        compensated = self._compensate(recorded) if readable else False
        if self._ending.status == "failed" and self._definition.on_failure is not None:
            self._call_on_failure(recorded, self._definition.on_failure)
        return compensated

    def _recorded(self) -> tuple[list[Recorded], bool]:
        try:
            return replay.read(self._runtime, self._claim), True
        except LeaseLost:
            raise
        except Exception:
            logger.exception(
                "What execution %s has recorded cannot be read",
                self._claim.id,
                extra=self._claim.ids,
            )
            return [], False

    def _crashes_too_often(self, recorded: list[Recorded]) -> bool:
        done = [run.epoch for run in recorded if run.status == "completed"]
        last = max(done, default=0)
        retries = self._definition.options.retries
        return over_crash_budget(self._claim.crashed, max(last, self._ending.epoch), retries)

    def _compensate(self, recorded: list[Recorded]) -> bool | None:
        wanted = replay.to_undo(recorded, self._claim.retried_epoch)
        ended = {
            run.key: run.status == "completed"
            for run in recorded
            if run.phase == "compensate" and run.epoch >= self._claim.retried_epoch
        }
        pending = wanted - set(ended)
        if pending:
            ended |= self._undo(Undoing(self._runtime, self._lease, recorded, pending, self._eager))
        return all(ended.get(key) for key in wanted) if wanted else None

    def _undo(self, record: "Undoing") -> dict[str, bool]:
        """Run the compensations of steps, newest first; whether each has succeeded, by key."""
        try:
            handler.call(self._runtime, self._definition, self._claim, record)
        except BaseException as error:  # how the handler ends now means nothing
            if not isinstance(error, Unwinding) and cut_short(self._runtime, error) is not None:
                raise
        record.turn()
        ended = {one.key: self._run(record, one) for one in reversed(record.found)}
        for key in record.pending:
            record.ended(record.begin_undoing(key, key), _not_met(key))
            ended[key] = False
        return ended

    def _run(self, record: "Undoing", one: Compensation) -> bool:
        run = record.begin_undoing(one.key, one.name)
        identity = partial(record.identity_of_undoing, one.key)
        running = Running(record, compensation_of(one.key), run.attempt, identity)
        error = self._error_of(lambda: self._called(running, one.fn, one.result), run.span)
        record.ended(run, error)
        return error is None

    def _called(self, running: Running, fn: Callable[[Any], Any], result: Any) -> None:
        def call() -> Any:
            running_step.set(running)
            return fn(result)

        handler.call_aside(self._definition, call)

    def _call_on_failure(self, recorded: list[Recorded], fn: Callable[..., Any]) -> None:
        """Call it, unless that was done; its steps have checkpoints of their own."""
        if any(
            (run.phase, run.key, run.again) == (_ON_FAILURE, _ON_FAILURE, self._ending.epoch)
            for run in recorded
        ):
            return
        journal = Journal(
            self._runtime, self._lease, recorded, eager=self._eager, ending=self._ending
        )
        journal.boundary()
        spans = self._runtime.spans
        span = spans.step(_ON_FAILURE, _ON_FAILURE, "run", 1) if spans else None
        run = Run(_ON_FAILURE, _ON_FAILURE, 0, 1, journal.now(), span)
        error = ErrorInfo(**self._ending.error)
        event = handler.event_of(self._definition, self._claim)
        failed = self._error_of(
            lambda: handler.call_on_failure(self._runtime, self._definition, event, error, journal),
            span,
        )
        if journal.interruption is not None:
            if span is not None:
                span.end("interrupted")
            raise journal.interruption
        if failed is None:
            journal.completed(run, None, None)
        else:
            journal.record_failure(run, failed, error=describe(failed))

    def _error_of(self, call: Callable[[], None], span: Span | None) -> Exception | None:
        """What a call of the user's raised; what comes from outside is passed on."""
        if span is not None:
            span.enter()
        try:
            call()
        except BaseException as error:
            if cut_short(self._runtime, error) is not None:
                if span is not None:
                    span.end("interrupted")
                raise
            logger.warning(
                "What undoes execution %s has raised %s",
                self._claim.id,
                type(error).__name__,
                extra=self._claim.ids,
            )
            return error if isinstance(error, Exception) else StepMisuse(repr(error))
        finally:
            if span is not None:
                span.leave()
        return None


def _not_met(key: str) -> StepMisuse:
    return StepMisuse(
        f"step {key!r} was not met again when its execution was undone, so nobody knows what "
        "undoes it: the handler must come to the same steps each time"
    )
