"""The process of a running execution is ended, as Celery's revoke does, and nothing but that.

Celery's own command would also mark the id as revoked in the memory of its workers: they would
drop the messages by which the execution is undone, or retried later.
"""

import signal
from typing import Any

from celery.worker import state as worker_state
from celery.worker.control import control_command


@control_command(args=[("execution_id", str)])
def worchflow_terminate(state: Any, execution_id: str, **_: Any) -> dict[str, str]:
    """End the pool process that runs an execution."""
    for request in tuple(worker_state.active_requests):
        if request.id == execution_id and request.worker_pid:
            try:
                state.consumer.pool.terminate_job(request.worker_pid, signal.SIGTERM)
            except NotImplementedError:
                return {"error": "this pool cannot end a running task"}
            return {"ok": "terminated"}
    return {"ok": "it does not run here"}
