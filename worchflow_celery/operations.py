"""Looking at executions and schedules, and changing what becomes of them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from worchflow_celery import (
    bulk,
    calling,
    cancelling,
    dispatch,
    options,
    pausing,
    restarting,
    scheduling,
)
from worchflow_celery.errors import InvalidOption
from worchflow_celery.flow import Flow
from worchflow_celery.handle import ExecutionHandle
from worchflow_celery.models import Execution, Page, Schedule, StepRecord, Window
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.bulk import NOT_CANCELLED


class Operations:
    """What one does with executions from outside, by their ids."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._flows: dict[str, Flow[Any, Any]] = {}

    def get(self, id: str) -> Execution:
        """Read an execution; raises ``ExecutionNotFound``."""
        return self.runtime.store.executions.get(_id_of(id))

    def handle(self, id: str) -> ExecutionHandle[Any]:
        """A handle to an execution that is known to exist; raises ``ExecutionNotFound``."""
        execution = self.get(id)
        known = self._flows.get(execution.flow)
        returns = known.definition.returns if known else None
        return ExecutionHandle(self.runtime, execution.id, returns)

    def steps(self, id: str) -> list[StepRecord]:
        """The steps of an execution by first start; raises ``ExecutionNotFound``."""
        found = self.runtime.store.steps.records(_id_of(id))
        if not found:
            self.get(id)
        return found

    def signal(self, id: str, name: str, data: Any = None) -> None:
        """Send a signal to an execution, for its ``step.wait_for_signal`` of this name.

        It is kept until it is waited for. Raises ``ExecutionNotFound``, ``InvalidTransition``
        for a finished execution, ``InvalidEventData`` or ``PayloadTooLarge`` for data that
        cannot be stored.
        """
        calling.signal(self.runtime, _id_of(id), name, data)

    def retry(self, id: str) -> ExecutionHandle[Any]:
        """Put a failed or cancelled execution back in line.

        Attempts begin again at 1, the error is cleared, completed steps stay completed. Raises
        ``InvalidTransition`` naming the status of any other, and ``ExecutionNotFound``.
        """
        dispatch.retry(self.runtime, _id_of(id))
        return self.handle(id)

    def restart(self, id: str, from_step: str | None = None) -> ExecutionHandle[Any]:
        """Start a new execution of the same flow and data; the old one stays as it is.

        With ``from_step``, a step's key, it takes over the results of the steps before that one
        and runs the others. Raises ``InvalidOption`` for a key that the execution does not have,
        and ``ExecutionNotFound``.
        """
        return self.handle(restarting.restart(self.runtime, _id_of(id), from_step))

    def pause(self, id: str) -> Execution:
        """Hold an execution until it is resumed: nothing of it runs, nothing of it is lost.

        One that runs stops at its next step boundary. Pausing twice changes nothing. Raises
        ``InvalidTransition`` when it has ended, and ``ExecutionNotFound``.
        """
        return pausing.pause(self.runtime, _id_of(id))

    def resume(self, id: str) -> Execution:
        """Let a paused execution go on; delays and waits that are over meanwhile are over.

        One that is not paused is left as it is. Raises as ``pause``.
        """
        return pausing.resume(self.runtime, _id_of(id))

    def cancel(self, id: str, *, terminate: bool = False) -> Execution:
        """Cancel an execution: at once, or, while it runs, at its next step boundary.

        Steps with ``compensate=`` are undone first. The children that it waits for are cancelled,
        too. ``terminate`` ends the pool process under it, where the pool has processes. Returns
        the execution as it is then; raises ``InvalidTransition`` for one that has ended, and
        ``ExecutionNotFound``.
        """
        cancelling.cancel(self.runtime, _id_of(id), terminate=terminate)
        return self.get(id)

    def find(
        self,
        status: str | list[str] | tuple[str, ...] | None = None,
        flow: str | None = None,
        search: Mapping[str, Any] | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Executions, newest first, ``limit`` (1 to 1000) to a page.

        ``status`` is one or several; ``after <= created_at < before``, both aware; ``search``
        maps fields that the flow declared to their values. ``cursor`` is the ``.cursor`` of the
        page before.
        """
        _check_limit(limit)
        filters = bulk.checked(status=status, flow=flow, search=search, after=after, before=before)
        return self.runtime.store.executions.find(filters, limit=limit, cursor=cursor)

    def retry_all(
        self,
        *,
        status: str | list[str] | tuple[str, ...] | None = None,
        flow: str | None = None,
        search: Mapping[str, Any] | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        dry_run: bool = False,
    ) -> int:
        """Put all failed or cancelled executions back in line that these filters of ``find`` find.

        Returns how many, and with ``dry_run`` how many it would be. Raises ``InvalidOption``
        without any filter, and for a ``status`` that cannot be retried.
        """
        filters = bulk.selected(
            "retry_all",
            bulk.RETRIABLE,
            status=status,
            flow=flow,
            search=search,
            after=after,
            before=before,
        )
        if options.check_flag(dry_run, "dry_run"):
            return self.runtime.store.bulk.count(filters)
        return bulk.retry_all(self.runtime, filters)

    def cancel_all(
        self,
        *,
        status: str | list[str] | tuple[str, ...] | None = None,
        flow: str | None = None,
        search: Mapping[str, Any] | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        dry_run: bool = False,
    ) -> int:
        """Cancel all unfinished executions that these filters of ``find`` find; see ``cancel``.

        Returns how many, and with ``dry_run`` how many it would be. Raises as ``retry_all``.
        """
        found = bulk.selected(
            "cancel_all",
            bulk.CANCELLABLE,
            status=status,
            flow=flow,
            search=search,
            after=after,
            before=before,
        )
        filters = {**found, **NOT_CANCELLED}
        if options.check_flag(dry_run, "dry_run"):
            return self.runtime.store.bulk.count(filters)
        return bulk.cancel_all(self.runtime, filters)

    def schedules(self) -> list[Schedule]:
        """The schedules of this app's flows, by id."""
        return scheduling.schedules(self.runtime)

    def pause_schedule(self, flow: str) -> None:
        """Stop firing a flow, also over restarts; raises ``ScheduleNotFound``."""
        scheduling.pause(self.runtime, flow, True)

    def resume_schedule(self, flow: str) -> None:
        """Fire it again, from now on: nothing of the pause is caught up."""
        scheduling.pause(self.runtime, flow, False)

    def trigger_schedule(self, flow: str) -> ExecutionHandle[Any]:
        """Start a scheduled flow now, beside its windows; raises ``ScheduleNotFound``."""
        scheduling.scheduled(self.runtime, flow)
        return self._flows[flow].send()

    def windows(self, flow: str, limit: int = 60) -> list[Window]:
        """What became of the last windows of a flow, newest first; 1 to 1000 of them."""
        _check_limit(limit)
        return self.runtime.store.schedules.windows(options.check_id(flow, "flow id"), limit)

    def ping(self) -> bool:
        """Ask MongoDB for a sign of life; raises ``StoreUnavailable``."""
        self.runtime.store.database.ping()
        return True

    def close(self) -> None:
        """Close this process's connections; the next use opens new ones."""
        self.runtime.close()


def _id_of(given: object) -> str:
    """The id of an execution that is asked for, by a handle as well."""
    return options.check_id(given.id if isinstance(given, ExecutionHandle) else given, "id")


def _check_limit(limit: object) -> None:
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= 1000:
        raise InvalidOption(f"limit is {limit!r:.80}: it must be a whole number from 1 to 1000")
