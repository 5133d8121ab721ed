"""A started execution, as its sender holds it."""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from worchflow_celery import calling, cancelling, codec, dispatch, pausing
from worchflow_celery.clock import elapsed
from worchflow_celery.errors import ExecutionFailed
from worchflow_celery.models import ErrorInfo, Execution, ExecutionStatus
from worchflow_celery.options import positive_seconds
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.records import corrupt

Out = TypeVar("Out", covariant=True)

#: Seconds between two looks for a result: the first, and the longest.
_FIRST_LOOK, _LONGEST_LOOK = 0.01, 0.5


class ExecutionHandle(Generic[Out]):
    """Names an execution; nothing is read before it is asked for."""

    def __init__(self, runtime: Runtime, execution_id: str, returns: Any = None) -> None:
        self._runtime = runtime
        #: The execution's id.
        self.id = execution_id
        self._returns = returns

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"ExecutionHandle({self.id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExecutionHandle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def get(self) -> Execution:
        """Read the execution; raises ``ExecutionNotFound``."""
        return self._runtime.store.executions.get(self.id)

    @property
    def status(self) -> ExecutionStatus:
        """The present status; raises ``ExecutionNotFound``."""
        status, _ = self._runtime.store.executions.status(self.id)
        return status

    def result(self, timeout: float | timedelta | None = None) -> Out:
        """Wait for the end, ``timeout`` seconds at most (``None``: as long as it takes).

        Returns what the flow returned. Raises ``ExecutionFailed`` with the stored error for a
        failed or cancelled execution, and ``TimeoutError``.
        """
        patience = None if timeout is None else positive_seconds(timeout or 0.001, "timeout")
        limit = None if patience is None else elapsed() + patience
        pause = _FIRST_LOOK
        while True:
            status, result, error = self._runtime.store.executions.raw_result(self.id)
            if ExecutionStatus(status).finished:
                return self._outcome(status, result, error)
            left = pause if limit is None else min(pause, limit - elapsed())
            if left <= 0:
                raise TimeoutError(f"execution {self.id!r} is {status} after {patience:g} s")
            time.sleep(left)
            pause = min(pause * 1.5, _LONGEST_LOOK)

    def signal(self, name: str, data: Any = None) -> None:
        """Send it a signal; see ``Worchflow.signal``."""
        calling.signal(self._runtime, self.id, name, data)

    def cancel(self, *, terminate: bool = False) -> Execution:
        """Cancel the execution; see ``Worchflow.cancel``."""
        cancelling.cancel(self._runtime, self.id, terminate=terminate)
        return self.get()

    def retry(self) -> "ExecutionHandle[Out]":
        """Put the failed or cancelled execution back in line; see ``Worchflow.retry``."""
        dispatch.retry(self._runtime, self.id)
        return self

    def pause(self) -> Execution:
        """Hold the execution where it is; see ``Worchflow.pause``."""
        return pausing.pause(self._runtime, self.id)

    def resume(self) -> Execution:
        """Let the paused execution go on; see ``Worchflow.resume``."""
        return pausing.resume(self._runtime, self.id)

    def _outcome(self, status: str, result: str | None, error: Mapping[str, Any] | None) -> Out:
        try:
            if status == ExecutionStatus.COMPLETED:
                value: Out = codec.decode(result or "null", annotation=self._returns)
                return value
            info = ErrorInfo.model_validate(error) if error else None
        except (codec.UndecodableValue, TypeError, ValidationError) as fault:
            raise corrupt("execution", self.id, fault) from fault
        reason = f"{info.type}: {info.message}" if info else "no error was stored"
        raise ExecutionFailed(f"execution {self.id!r} {status}: {reason}", self.id, info)
