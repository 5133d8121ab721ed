"""The scheduler for `celery beat`: any number of them, of which one leads."""

import logging
from datetime import UTC, datetime
from typing import Any

from celery import beat
from kombu.exceptions import OperationalError

from worchflow_celery import signals
from worchflow_celery.clock import elapsed
from worchflow_celery.errors import StoreUnavailable
from worchflow_celery.leader import Leadership, LockUnavailable
from worchflow_celery.runtime import Runtime, redis_url, runtime_of
from worchflow_celery.timetable import Timetable

logger = logging.getLogger(__name__)

#: Seconds between two measurements of MongoDB's clock.
_CLOCK_EVERY = 30.0
#: Seconds until the next try after an outage.
_AGAIN = 1.0


class Scheduler(beat.Scheduler):
    """Fires flows with ``cron=`` and all ordinary entries of the app, while it leads.

    ``celery -A app beat -S worchflow_celery.Scheduler``. Its state is in MongoDB; the options
    ``-s`` and ``--max-interval`` are accepted, the first has no use here.
    """

    max_interval = 5
    sync_every_tasks = None

    def __init__(self, app: Any, **options: Any) -> None:
        self._ticking = self._closed = self._open = self._troubled = False
        self._runtime: Runtime = runtime_of(app)
        self._leadership: Leadership | None = None
        self._timetable: Timetable | None = None
        self._clock_at = float("-inf")
        #: The token of the term that `leader_lost` is to name.
        self._led = ""
        #: When ordinary entries ran last, as MongoDB knows it.
        self._seen: dict[str, datetime] = {}
        #: Names of ordinary entries whose present run is ours to send.
        self._reserved: set[str] = set()
        super().__init__(app, **options)

    def setup_schedule(self) -> None:
        """Called once, when beat really starts; opens no connection yet."""
        super().setup_schedule()
        settings = self._runtime.settings
        flows = list(self._runtime.definitions.values())
        self._timetable = Timetable(self._runtime, flows)
        if settings.leader_election:
            key = f"{settings.prefix}:leader"
            url = redis_url(self._runtime)
            self._leadership = Leadership(url, key, settings.leader_ttl)
        signals.scheduler_ready.send(self._runtime.sender)

    @property
    def info(self) -> str:
        """Lines of beat's banner."""
        election = "on" if self._runtime.settings.leader_election else "off"
        return f"       . leader election -> {election}\n       . state -> MongoDB"

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Fire what is due; return the seconds until the next call."""
        self._ticking = True
        try:
            if not self._leads():
                return self._runtime.settings.leader_check_interval
            wait = self._fire()
            self._troubled = False
            return wait
        except (StoreUnavailable, LockUnavailable, OperationalError, OSError) as error:
            self._report(error)
            return _AGAIN
        finally:
            self._ticking = False

    def reserve(self, entry: Any) -> Any:
        """Record an ordinary entry's run before it is sent: it is sent at most once."""
        now = datetime.now(UTC)
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        seen = self._seen.get(entry.name)
        runs = entry.total_run_count + 1
        if self._runtime.store.schedules.reserve_entry(entry.name, seen, now, runs):
            self._seen[entry.name] = now
            self._reserved.add(entry.name)
            return super().reserve(entry)
        # Another scheduler has sent it: learn what it knows before the next tick.
        self._open = False
        return super().reserve(entry)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send an ordinary entry, when its reservation was ours."""
        if entry.name in self._reserved:
            self._reserved.discard(entry.name)
            super().apply_entry(entry, producer=producer)

    def close(self) -> None:
        """Free the lock and close; called from a signal handler as well, and more than once."""
        if self._ticking or self._closed:
            return  # beat calls again when the tick has unwound
        self._closed = True
        if self._leadership is not None:
            self._leadership.close()
            self._step_down()
        super().close()
        signals.scheduler_stopped.send(self._runtime.sender)

    def _leads(self) -> bool:
        """Whether this scheduler leads now; stands for election when nobody else does."""
        leadership = self._leadership
        if leadership is None or leadership.leads:
            return True
        self._step_down()
        if not leadership.stand():
            return False
        self._open = False
        logger.info("This scheduler leads")
        signals.leader_acquired.send(self._runtime.sender, token=leadership.token)
        return True

    def _step_down(self) -> None:
        if self._open:
            self._open = False
            logger.warning("This scheduler does not lead any more")
            signals.leader_lost.send(self._runtime.sender, token=self._led)

    def _fire(self) -> float:
        assert self._timetable is not None
        if not self._open:
            self._begin_term(self._timetable)
        if elapsed() - self._clock_at > _CLOCK_EVERY:
            self._runtime.store.database.measure_clock()
            self._clock_at = elapsed()
        waits = [float(self.max_interval), self._runtime.settings.leader_check_interval]
        until = self._timetable.fire_due()
        if until is not None:
            waits.append(until)
        if self.schedule:
            waits.append(self._tick_entries())
        return min(waits)

    def _tick_entries(self) -> float:
        """One turn of Celery's own scheduler, when the broker could take what it sends."""
        if self._heap and self._heap[0][0] <= self._when(self._heap[0][2], 0):
            self._ensure_connected()
        return float(super().tick() or 0.0)

    def _begin_term(self, timetable: Timetable) -> None:
        """Learn from MongoDB what former leaders have done."""
        timetable.open()
        stored = self._runtime.store.schedules.entries()
        self._seen = {name: at for name, (at, _) in stored.items()}
        for name, entry in self.schedule.items():
            if name in stored:
                entry.last_run_at, entry.total_run_count = stored[name]
        self._heap = None
        self._led = self._leadership.token if self._leadership else ""
        self._open = True

    def _ensure_connected(self) -> Any:
        """One try: beat must not stand still for a broker that is away."""
        return self.connection.ensure_connection(max_retries=1, timeout=2)

    def _report(self, error: Exception) -> None:
        if not self._troubled:
            logger.warning("Nothing is fired for now: %s", error)
            signals.scheduler_error.send(self._runtime.sender, error=error)
        self._troubled = True
