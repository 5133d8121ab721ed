"""Looking at what a running system does."""

from typing import Any

from worchflow_celery import options
from worchflow_celery.handle import ExecutionHandle
from worchflow_celery.live import Watch
from worchflow_celery.runtime import Runtime, live_key, redis_url


class Observing:
    """What one sees of a running system from outside."""

    runtime: Runtime

    def watch(
        self, execution_id: str | ExecutionHandle[Any] | None = None, since: str | None = None
    ) -> Watch:
        """Updates from all processes as they happen, or those of one execution.

        An iterator that waits for the next one, to be closed by ``close()`` or ``with``. ``since``
        is the ``id`` of an update, to go on after it; ``"0"`` begins with the oldest that is kept.
        It survives a Redis that goes away. Raises ``LiveUnavailable`` when Redis is away at the
        beginning, ``ImproperlyConfigured`` when there is none.
        """
        id = None if execution_id is None else options.check_id(str(execution_id), "execution_id")
        return Watch(redis_url(self.runtime), live_key(self.runtime.settings), id, since)
