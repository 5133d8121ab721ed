"""The schedules of an app, as the leading scheduler keeps them.

What becomes of a window is written down first, by whoever is first; then its execution is stored,
if it is to run; then the schedule's cursor moves over it. Whoever repeats the work after a crash,
or does it at the same time, finds the decision and keeps to it.
"""

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from worchflow_celery import dispatch, signals, windows
from worchflow_celery.clock import EPOCH, elapsed
from worchflow_celery.definition import Definition, encode_plain
from worchflow_celery.models import Window
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.schedules import Cursor, Cursors
from worchflow_celery.windows import Gap, Passed

logger = logging.getLogger(__name__)

#: Flows, and windows, that are seen to in one go: between two of them the leader looks up.
BATCH = 1000
#: Seconds between two measurements of MongoDB's clock.
_CLOCK_EVERY = 30.0
#: After which time a schedule that could not be read is tried again.
_AGAIN = timedelta(minutes=1)


class Timetable:
    """When each flow is due next, and what is done then."""

    def __init__(self, runtime: Runtime, definitions: Iterable[Definition]) -> None:
        self._runtime = runtime
        self._flows = {one.id: one for one in definitions if one.options.cron is not None}
        self._lines = {flow: windows.line_of(one) for flow, one in self._flows.items()}
        #: When each flow is to be seen to.
        self._next: dict[str, datetime] = {}
        #: Windows up to here passed before the leader's term.
        self._term = EPOCH
        self._clock = _Clock()

    def open(self) -> None:
        """A term begins: learn how far each schedule has come, and line them up."""
        schedules = self._runtime.store.schedules
        schedules.forget_all_but(list(self._flows))
        known = schedules.cursors()
        strange = [flow for flow in self._flows if not self._is_ours(flow, known)]
        if self._begin(set(strange).difference(known.broken), known):
            known = schedules.cursors()
        self._clock.set(known.now)
        self._term, self._next = known.now, {}
        for flow in self._flows:
            self._line_up(flow, known)

    def fire_due(self) -> float | None:
        """See to the flows whose time has come; return the seconds until the next one."""
        if self._clock.age > _CLOCK_EVERY:
            database = self._runtime.store.database
            database.measure_clock()
            self._clock.set(database.now())
        now = self._clock.now()
        due = [flow for flow, moment in self._next.items() if moment <= now]
        if due:  # the longest waiting first; what fails is still due the next time
            self._see_to(sorted(due, key=self._next.__getitem__)[:BATCH])
        if not self._next:
            return None
        until = min(self._next.values()) - self._clock.now()
        return max(0.0, until.total_seconds())

    def _is_ours(self, flow: str, known: Cursors) -> bool:
        """Whether a cursor is there, and of the expression that our code has."""
        cursor = known.by_flow.get(flow)
        return cursor is not None and cursor.line == self._lines[flow]

    def _begin(self, flows: Collection[str], known: Cursors) -> bool:
        """Store schedules that are new or have changed; whether there are any."""
        lines = [self._lines[flow] for flow in flows]
        self._runtime.store.schedules.begin(lines)
        for line in lines:
            next_run = windows.next_window(line, known.now)
            logger.info(
                "Flow %s is due at %r in %s: next at %s",
                line.flow,
                line.cron,
                line.timezone,
                next_run,
            )
            signals.schedule_registered.send(
                self._runtime.sender, flow=line.flow, cron=line.cron, next_run=next_run
            )
        return bool(lines)

    def _line_up(self, flow: str, known: Cursors, done: datetime = EPOCH) -> None:
        cursor = known.by_flow.get(flow)
        if cursor is None:
            logger.error("The schedule of flow %s cannot be read: it is set aside", flow)
            self._next[flow] = known.now + _AGAIN
            return
        idle = cursor.paused or not self._is_ours(flow, known)
        start = known.now if idle else max(cursor.seen, done)
        self._next[flow] = windows.next_window(self._lines[flow], start)

    def _see_to(self, due: Sequence[str]) -> None:
        """Fresh cursors and MongoDB's own time decide: what another leader did is seen here."""
        schedules = self._runtime.store.schedules
        fresh = schedules.cursors(due)
        if self._begin(set(due).difference(fresh.by_flow, fresh.broken), fresh):
            fresh = schedules.cursors(due)
        self._clock.set(fresh.now)
        plans: list[Passed] = []
        seen_to = []
        for flow in due:
            if self._is_ours(flow, fresh) and not fresh.by_flow[flow].paused:
                plans.append(self._plan(fresh.by_flow[flow], fresh.now))
            seen_to.append(flow)
            if sum(len(plan.windows) for plan in plans) >= BATCH:
                break
        done = self._carry_out(plans, fresh)
        for flow in seen_to:
            self._line_up(flow, fresh, done.get(flow, EPOCH))

    def _plan(self, cursor: Cursor, now: datetime) -> Passed:
        return windows.passed(
            cursor,
            self._flows[cursor.line.flow].options.missed,
            now,
            term=self._term,
            grace=timedelta(seconds=self._runtime.settings.leader_ttl),
        )

    def _carry_out(self, plans: Sequence[Passed], known: Cursors) -> dict[str, datetime]:
        """Decide, start, move on, tell; return how far each flow has come."""
        asked = self._without_overlaps([one for plan in plans for one in plan.windows], known)
        if not asked:
            return {}
        schedules = self._runtime.store.schedules
        decided = schedules.decide(asked)
        running = [window for window in decided if window.execution_id is not None]
        started = dispatch.send_many(self._runtime, [self._request(one) for one in running])
        schedules.advance(decided)
        for plan in plans:
            if plan.gap is not None:
                self._tell_missed(plan.gap, known.now)
        self._tell_triggered(one for one in running if one.execution_id in started)
        return {window.flow: window.scheduled_for for window in decided}

    def _without_overlaps(self, asked: list[Window], known: Cursors) -> list[Window]:
        running = {window.flow for window in asked if window.execution_id is not None}
        careful = {flow for flow in running if self._flows[flow].options.overlap == "skip"}
        if not careful:
            return asked
        last = {flow: known.by_flow[flow].last_execution for flow in careful}
        unfinished = self._runtime.store.executions.unfinished([e for e in last.values() if e])
        busy = [flow for flow, execution_id in last.items() if execution_id in unfinished]
        return windows.without_overlaps(asked, careful, busy)

    def _request(self, window: Window) -> dispatch.Request:
        flow = window.flow
        own = self._flows[flow].options
        return dispatch.Request(
            flow=flow,
            data=encode_plain(flow, None, self._runtime.settings.max_payload_bytes),
            queue=dispatch.queue_of(self._runtime.app, flow, own.queue),
            id=window.execution_id,
            priority=own.priority,
            trigger="missed" if window.outcome == windows.MISSED_RAN else "cron",
            ref=own.cron,
            scheduled_for=window.scheduled_for,
        )

    def _tell_missed(self, gap: Gap, now: datetime) -> None:
        policy = self._flows[gap.flow].options.missed
        logger.warning(
            "Flow %s missed %s windows since %s; policy: %s",
            gap.flow,
            windows.counted(gap),
            gap.since,
            policy,
        )
        signals.schedule_missed.send(
            self._runtime.sender,
            flow=gap.flow,
            scheduled_for=gap.newest[-1],
            missed_count=gap.count,
            triggered_at=now,
        )

    def _tell_triggered(self, started: Iterable[Window]) -> None:
        for window in started:
            signals.schedule_triggered.send(
                self._runtime.sender,
                flow=window.flow,
                execution_id=window.execution_id,
                scheduled_for=window.scheduled_for,
                is_missed=window.outcome == windows.MISSED_RAN,
            )


class _Clock:
    """MongoDB's clock, carried on between two looks by one that nobody sets."""

    def __init__(self) -> None:
        self._now, self._at = EPOCH, elapsed()

    @property
    def age(self) -> float:
        """Seconds since the last look."""
        return elapsed() - self._at

    def set(self, now: datetime) -> None:
        self._now, self._at = now, elapsed()

    def now(self) -> datetime:
        return self._now + timedelta(seconds=self.age)
