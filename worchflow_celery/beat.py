"""The scheduler for `celery beat`: any number of them, of which one leads."""

import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from celery import beat
from celery.exceptions import ImproperlyConfigured
from kombu.exceptions import OperationalError

from worchflow_celery import signals
from worchflow_celery.clock import utcnow
from worchflow_celery.errors import StoreUnavailable
from worchflow_celery.leader import Leadership, LockUnavailable
from worchflow_celery.presence import Presence
from worchflow_celery.runtime import Runtime, leader_key, redis_url, runtime_of
from worchflow_celery.store.database import hosts
from worchflow_celery.timetable import Timetable

logger = logging.getLogger(__name__)

#: Seconds until the next try after an error.
_AGAIN = 1.0
#: Seconds that one turn may take, however much there is to do, before another may lead.
_HANGS = 60.0
#: What an outage looks like; anything else is worth a traceback.
_OUTAGES = (StoreUnavailable, LockUnavailable, OperationalError)


class Scheduler(beat.Scheduler):
    """Fires flows with ``cron=`` and all ordinary entries of the app, while it leads.

    ``celery -A app beat -S worchflow_celery.Scheduler``. Its state is in MongoDB: ``-s`` is
    accepted and has no use here. A setting that cannot be ends beat with one line.
    """

    max_interval = 5

    def __init__(self, app: Any, **options: Any) -> None:
        self._ticking = self._ending = self._closed = False
        #: The token of the term that `leader_acquired` told of.
        self._told = ""
        #: Whether the timetable was opened in this term.
        self._opened = False
        #: What MongoDB held of ordinary entries' last runs; ``None``: to be read again.
        self._stamps: dict[str, object] | None = None
        #: Names of ordinary entries whose present run is ours to send.
        self._reserved: set[str] = set()
        #: The kinds of errors of the last turn: each is told once, until a turn is without it.
        self._troubles: set[type[Exception]] = set()
        try:
            self._runtime: Runtime = runtime_of(app)
            self._interval = self._runtime.settings.leader_check_interval
            self._leadership = _leadership(self._runtime)
            self._presence = Presence(self._runtime)
        except ImproperlyConfigured as error:
            raise SystemExit(f"celery beat cannot start: {error}") from None
        super().__init__(app, **options)

    def setup_schedule(self) -> None:
        """Called once, when beat really starts; opens no connection yet."""
        # Not super's: it would drop Celery's default entries when it merges the others.
        self.merge_inplace(self.app.conf.beat_schedule)
        self.install_default_entries(self.schedule)
        self._timetable = Timetable(self._runtime, self._runtime.definitions.values())
        signals.scheduler_ready.send(self._runtime.sender)

    @property
    def info(self) -> str:
        """Lines of beat's banner."""
        settings = self._runtime.settings
        lock = "none (worchflow_leader_election is False)"
        if settings.leader_election:
            place = urlsplit(redis_url(self._runtime))
            lock = f"Redis at {place.netloc.rpartition('@')[2] or place.path}"
        return f"    . state -> MongoDB at {hosts(settings.database_url)}\n    . lock -> {lock}"

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Fire what is due; return the seconds until the next call."""
        self._ticking = not self._closed
        try:
            wait = self._interval
            if self._ticking:
                leads = self._leads()
                if leads:
                    wait = self._turn()
                if StoreUnavailable not in self._troubles:
                    self._presence.tell(self._term if leads else None)
        finally:
            self._ticking = False
        if self._ending:
            # Beat's signal handler has raised it before. Where it struck while an object was
            # being finalized, Python has swallowed it.
            raise SystemExit
        return wait

    def reserve(self, entry: Any) -> Any:
        """Record an ordinary entry's run before it is sent: it is sent at most once."""
        self._check_broker()
        stamps = self._stamps or {}
        now = utcnow()
        if self._runtime.store.schedules.reserve_entry(
            entry.name, stamps.get(entry.name), now, entry.total_run_count + 1
        ):
            stamps[entry.name] = now
            self._reserved.add(entry.name)
        else:  # another scheduler has sent it
            self._stamps = None
        return super().reserve(entry)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send an ordinary entry, when its reservation was ours."""
        if entry.name in self._reserved:
            self._reserved.discard(entry.name)
            super().apply_entry(entry, producer=producer)

    @cached_property
    def connection(self) -> Any:
        """To the broker, with short timeouts: beat must not stand still for one that is away."""
        return self._runtime.process.publisher.connect()

    def close(self) -> None:
        """Free the lock and close; called from a signal handler as well, and more than once."""
        self._ending = True
        if self._ticking or self._closed:
            return  # beat calls again when the tick has unwound
        self._closed = True
        if self._leadership is not None:
            self._leadership.close()
        self._step_down()
        super().close()
        signals.scheduler_stopped.send(self._runtime.sender)

    def _leads(self) -> bool:
        """Whether this scheduler leads now; stands for election when it does not."""
        leadership = self._leadership
        if leadership is None:
            return True
        leads = leadership.leads()
        if not leads:
            self._step_down()
            leads = self._stands(leadership)
        while leadership.outages:
            self._tell(leadership.outages.popleft())
        return leads

    def _stands(self, leadership: Leadership) -> bool:
        try:
            won = leadership.stand()
        except LockUnavailable:
            return False  # told as an outage
        if won:
            logger.info("This scheduler leads")
            self._told, self._opened = leadership.token, False
            self._stamps, self._troubles = None, set()
            signals.leader_acquired.send(self._runtime.sender, token=self._told)
        return won

    @property
    def _term(self) -> str:
        """What its term is known by; without an election there is one term only."""
        return self._leadership.token if self._leadership else "alone"

    def _step_down(self) -> None:
        token, self._told = self._told, ""
        if token:
            logger.info("This scheduler does not lead any more")
            signals.leader_lost.send(self._runtime.sender, token=token)

    def _turn(self) -> float:
        """Flows, then ordinary entries; neither may keep the other, or beat, from going on."""
        waits, troubles = [float(self.max_interval), self._interval], set()
        parts: tuple[Callable[[], float], ...] = (self._fire_flows, self._fire_entries)
        for part in parts:
            try:
                waits.append(part())
            except Exception as error:  # whatever it is, beat would end with it
                waits.append(_AGAIN)
                troubles.add(type(error))
                if type(error) not in self._troubles:
                    self._tell(error)
                if isinstance(error, StoreUnavailable):
                    break  # the other part would wait for it in vain
        self._troubles = troubles
        return max(0.0, min(waits))

    def _fire_flows(self) -> float:
        if StoreUnavailable in self._troubles:  # it is over when MongoDB says so
            self._runtime.store.database.ping()
        if not self._opened:
            self._timetable.open()
            self._opened = True
        until = self._timetable.fire_due()
        return float(self.max_interval) if until is None else until

    def _fire_entries(self) -> float:
        """One turn of Celery's own scheduler."""
        if not self.schedule:
            return float(self.max_interval)
        if OperationalError in self._troubles:
            self._check_broker()
        if self._stamps is None:
            self._learn()
        try:
            return float(super().tick() or 0.0)
        except BaseException:
            self._stamps = None  # an entry may be half done
            raise

    def _learn(self) -> None:
        """Read from MongoDB when ordinary entries ran last, whoever sent them."""
        schedules, now = self._runtime.store.schedules, utcnow()
        schedules.forget_entries_but(list(self.schedule))
        stored = schedules.entries()
        schedules.begin_entries(set(self.schedule).difference(stored), now)
        for name, entry in self.schedule.items():
            if (run := stored.get(name)) is not None:
                # A time to come is of a clock that was wrong: it must not stop the entry.
                last = min(run.last_run_at or now, now)
                entry.last_run_at = last.astimezone(self.app.timezone)
                entry.total_run_count = run.runs
        self._stamps = {
            name: stored[name].stamp if name in stored else now for name in self.schedule
        }
        self._heap = None

    def _check_broker(self) -> None:
        """A run that is reserved and cannot be sent would be lost: ask first."""
        if self._runtime.process.publisher.depth(self.app.conf.task_default_queue) is None:
            raise OperationalError("the broker does not answer: ordinary entries wait for it")
        self.producer  # noqa: B018 - connects

    def _ensure_connected(self) -> Any:
        """One try, where Celery makes a hundred."""
        return self.connection.ensure_connection(max_retries=1, timeout=2)

    def _tell(self, error: Exception) -> None:
        if isinstance(error, _OUTAGES):
            logger.warning("Not everything is fired for now: %s", error)
        else:
            logger.error("Not everything could be fired", exc_info=error)
        signals.scheduler_error.send(self._runtime.sender, error=error)


def _leadership(runtime: Runtime) -> Leadership | None:
    settings = runtime.settings
    if not settings.leader_election:
        return None
    return Leadership(
        redis_url(runtime),
        leader_key(settings),
        settings.leader_ttl,
        hangs=_HANGS + settings.leader_check_interval,
    )
