"""What a process tells its own code about executions, after MongoDB has said yes.

Connect as with ``celery.signals``; the sender is the ``Worchflow`` binding. A receiver that
raises is logged by Celery and changes nothing.
"""

from celery.utils.dispatch import Signal

execution_started = Signal(
    name="execution_started", providing_args=["execution_id", "flow", "attempt"]
)
execution_completed = Signal(
    name="execution_completed", providing_args=["execution_id", "flow", "result"]
)
execution_failed = Signal(
    name="execution_failed",
    providing_args=["execution_id", "flow", "error", "attempt", "will_retry"],
)
execution_updated = Signal(
    name="execution_updated", providing_args=["execution_id", "flow", "status"]
)
step_completed = Signal(
    name="step_completed", providing_args=["execution_id", "flow", "step", "key"]
)
step_failed = Signal(
    name="step_failed", providing_args=["execution_id", "flow", "step", "key", "error"]
)
