"""Looking at what a running system does."""

import re
from datetime import datetime
from typing import Any

from worchflow_celery import figures, options
from worchflow_celery.auditing import AuditTrail
from worchflow_celery.errors import InvalidOption
from worchflow_celery.handle import ExecutionHandle
from worchflow_celery.live import Watch
from worchflow_celery.observed import FlowStats, LogLine, WorkerInfo
from worchflow_celery.runtime import Runtime, live_key, redis_url
from worchflow_celery.store import Store

#: Workers that one look brings.
_MOST_WORKERS = 1000
_LINE = re.compile(r"\d{8,12}\.\d{6,8}")


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

    def workers(self, *, gone: bool = False) -> list[WorkerInfo]:
        """The workers that live; with ``gone`` also those that ended within a day.

        The last one seen first, at most 1000. Raises ``StoreUnavailable``.
        """
        found = self.runtime.store.workers.all(_MOST_WORKERS)
        return [worker for worker in found if gone or worker.alive]

    def logs(
        self, id: str | ExecutionHandle[Any], after: str | None = None, limit: int = 200
    ) -> list[LogLine]:
        """What an execution has logged, in its order, ``limit`` (1 to 1000) lines.

        ``after`` is the ``id`` of the last line that is known. Raises ``ExecutionNotFound``.
        """
        execution_id = options.check_id(str(id), "id")
        options.check_limit(limit)
        if after is not None and not (isinstance(after, str) and _LINE.fullmatch(after)):
            raise InvalidOption(f"after is {options.shown(after)}: it must be the id of a line")
        store = self.runtime.store
        return store.logs.read(execution_id, after, limit) or _none(store, execution_id)

    def stats(
        self,
        flow: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        points: int = 60,
    ) -> list[FlowStats]:
        """What ended of each flow, or of one, how long it took, and how long it had waited.

        ``since <= finished_at < until``, both aware: the last hour without them, up to 35 days.
        ``points`` is into how many parts that is cut, of whole minutes. Minutes are counted when
        they are over, once, by whichever worker comes first.
        """
        return figures.stats(self.runtime, flow, since, until, points)

    @property
    def audit(self) -> AuditTrail:
        """What people did to executions and schedules by command line or dashboard."""
        return AuditTrail(self.runtime)


def _none(store: Store, execution_id: str) -> list[LogLine]:
    """No lines, of an execution that is there."""
    store.executions.get(execution_id)
    return []
