"""What a process tells its own code about executions, after MongoDB has said yes.

Connect as with ``celery.signals``; the sender is the ``Worchflow`` binding. A receiver that
raises is logged by Celery and changes nothing.
"""

import os
import threading
from typing import Any

import celery.signals
from celery.utils.dispatch import Signal


class _Signal(Signal):
    """A signal that its binding hears as well: without the cost of a receiver, for live events."""

    def send(self, sender: Any, **named: Any) -> Any:
        hear = getattr(sender, "_hear", None)
        if hear is not None:
            hear(self, named)
        return super().send(sender, **named)


execution_started = _Signal(
    name="execution_started", providing_args=["execution_id", "flow", "attempt"]
)
execution_completed = _Signal(
    name="execution_completed", providing_args=["execution_id", "flow", "result"]
)
execution_failed = _Signal(
    name="execution_failed",
    providing_args=["execution_id", "flow", "error", "attempt", "will_retry"],
)
execution_updated = _Signal(
    name="execution_updated", providing_args=["execution_id", "flow", "status"]
)
scheduler_ready = _Signal(name="scheduler_ready")
scheduler_stopped = _Signal(name="scheduler_stopped")
scheduler_error = _Signal(name="scheduler_error", providing_args=["error"])
leader_acquired = _Signal(name="leader_acquired", providing_args=["token"])
leader_lost = _Signal(name="leader_lost", providing_args=["token"])
schedule_registered = _Signal(
    name="schedule_registered", providing_args=["flow", "cron", "next_run"]
)
schedule_triggered = _Signal(
    name="schedule_triggered",
    providing_args=["flow", "execution_id", "scheduled_for", "is_missed"],
)
schedule_missed = _Signal(
    name="schedule_missed",
    providing_args=["flow", "scheduled_for", "missed_count", "triggered_at"],
)
step_started = _Signal(
    name="step_started", providing_args=["execution_id", "flow", "step", "key", "attempt"]
)
step_completed = _Signal(
    name="step_completed", providing_args=["execution_id", "flow", "step", "key"]
)
step_failed = _Signal(
    name="step_failed", providing_args=["execution_id", "flow", "step", "key", "error"]
)


_ALL = [signal for signal in globals().copy().values() if isinstance(signal, Signal)]


def _forked() -> None:
    """Give a new process locks of its own: its parent may have held one when it forked."""
    own: Any
    for own in [*_ALL, celery.signals.worker_process_shutdown]:
        own.lock = threading.Lock()


os.register_at_fork(after_in_child=_forked)
