"""When flows with a cron expression are due, and what becomes of their windows.

A window (flow, scheduled time) becomes an execution whose id is made of both, or a stored
decision. The execution is inserted first and the schedule's cursor moved after it, so that
whoever repeats the work after a crash finds it done.
"""

import heapq
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from worchflow_celery import cron, dispatch, signals
from worchflow_celery.definition import Definition, encode_plain
from worchflow_celery.models import Window
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.schedules import Cursor

logger = logging.getLogger(__name__)

#: Windows of one gap that are run or recorded one by one; older ones are only counted.
MOST_MISSED = 100
#: Windows of one gap that are counted at all.
_MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to become of one window."""

    window: Window
    definition: Definition

    @property
    def runs(self) -> bool:
        return self.window.execution_id is not None


class Timetable:
    """The schedules of an app, as the leading scheduler keeps them."""

    def __init__(self, runtime: Runtime, definitions: Sequence[Definition]) -> None:
        self._runtime = runtime
        self._flows = {one.id: one for one in definitions if one.options.cron is not None}
        self._heap: list[tuple[datetime, str]] = []
        #: Windows up to here passed while nobody fired them.
        self._since = datetime.max

    def open(self) -> None:
        """A term begins: learn how far each schedule has come, and line them up."""
        schedules = self._runtime.store.schedules
        schedules.forget_all_but(list(self._flows))
        known = schedules.cursors()
        for broken in known.broken:
            logger.error("Schedule document %s cannot be read: it is set aside", broken)
        aside = {broken.partition(":")[2] for broken in known.broken}
        self._since = known.now
        self._heap = []
        for flow, definition in self._flows.items():
            if flow in aside:
                continue
            cursor = known.by_flow.get(flow)
            if cursor is None or not _same(cursor, definition):
                cursor = self._begin(definition, cursor, known.now)
            self._line_up(definition, cursor.seen)

    def fire_due(self) -> float | None:
        """See to all windows whose time has come; return the seconds until the next one."""
        now = self._runtime.store.database.now()
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[1])
        if due:
            try:
                self._fire(due)
            except BaseException:
                for flow in due:  # nothing is lost: looked at again, whatever was written
                    heapq.heappush(self._heap, (now, flow))
                raise
        if not self._heap:
            return None
        until = self._heap[0][0] - self._runtime.store.database.now()
        return max(0.0, until.total_seconds())

    def _begin(self, definition: Definition, before: Cursor | None, now: datetime) -> Cursor:
        line, zone = str(definition.options.cron), definition.options.timezone
        paused = before.paused if before else False
        self._runtime.store.schedules.begin(definition.id, line, zone, paused=paused)
        signals.schedule_registered.send(
            self._runtime.sender,
            flow=definition.id,
            cron=line,
            next_run=cron.next_run(line, now, zone),
        )
        return Cursor(definition.id, line, zone, seen=now, paused=paused)

    def _line_up(self, definition: Definition, after: datetime) -> None:
        line, zone = str(definition.options.cron), definition.options.timezone
        heapq.heappush(self._heap, (cron.next_run(line, after, zone), definition.id))

    def _fire(self, due: Sequence[str]) -> None:
        """Fresh cursors and MongoDB's own time decide: what another leader did is seen here."""
        fresh = self._runtime.store.schedules.cursors(due)
        plans: list[_Plan] = []
        for flow in due:
            cursor = fresh.by_flow.get(flow)
            if cursor is not None and not cursor.paused:
                plans += self._plan(self._flows[flow], cursor, fresh.now)
        if plans:
            self._carry_out(self._without_overlaps(plans))
        seen = {plan.window.flow: plan.window.scheduled_for for plan in plans}
        for flow in due:
            cursor = fresh.by_flow.get(flow)
            if cursor is None:
                continue
            skipped = fresh.now if cursor.paused else cursor.seen
            self._line_up(self._flows[flow], max(seen.get(flow, skipped), skipped))

    def _plan(self, definition: Definition, cursor: Cursor, now: datetime) -> list[_Plan]:
        """The windows of a flow since its cursor: those missed by policy, the others fired."""
        line, zone = str(definition.options.cron), definition.options.timezone
        gap_end = min(self._since, now)
        missed = _gap(line, zone, cursor.seen, gap_end)
        plans = self._missed(definition, missed, cursor.seen, now) if missed.newest else []
        begin = max(cursor.seen, gap_end)
        for scheduled_for in cron.windows(line, begin, now, zone):
            plans.append(_plan(definition, scheduled_for, now, "fired"))
        return plans

    def _missed(
        self, definition: Definition, gap: "_Gap", since: datetime, now: datetime
    ) -> list[_Plan]:
        policy = definition.options.missed
        logger.warning(
            "Flow %s missed %s%d windows since %s; policy: %s",
            definition.id,
            "at least " if gap.count >= _MOST_COUNTED else "",
            gap.count,
            since,
            policy,
        )
        why = f"no leader fired it; {gap.count} missed since {since:%Y-%m-%d %H:%M:%S} UTC"
        if policy == "all" and gap.count > MOST_MISSED:
            why += f"; only the newest {MOST_MISSED} run"
        runs = {"all": len(gap.newest), "latest": 1, "skip": 0}[policy]
        first = len(gap.newest) - runs
        signals.schedule_missed.send(
            self._runtime.sender,
            flow=definition.id,
            scheduled_for=gap.newest[-1],
            missed_count=gap.count,
            triggered_at=now,
        )
        return [
            _plan(definition, moment, now, "missed-ran", why)
            if number >= first
            else _plan(definition, moment, now, "missed-skipped", why)
            for number, moment in enumerate(gap.newest)
        ]

    def _without_overlaps(self, plans: list[_Plan]) -> list[_Plan]:
        """Skip windows of flows with ``overlap="skip"`` whose last execution has not ended."""
        careful = {
            p.definition.id for p in plans if p.runs and p.definition.options.overlap == "skip"
        }
        if not careful:
            return plans
        last = self._runtime.store.schedules.last_executions(sorted(careful))
        running = self._runtime.store.executions.unfinished(list(last.values()))
        busy = {flow for flow, execution_id in last.items() if execution_id in running}
        kept = []
        for plan in plans:
            flow = plan.definition.id
            if plan.runs and flow in careful:
                if flow in busy:
                    plan = _skipped(plan)
                busy.add(flow)  # the first of several windows runs, the others overlap it
            kept.append(plan)
        return kept

    def _carry_out(self, plans: list[_Plan]) -> None:
        requests = [self._request(plan) for plan in plans if plan.runs]
        dispatch.send_many(self._runtime, requests)
        self._runtime.store.schedules.record([plan.window for plan in plans])
        for plan in plans:
            if plan.runs:
                signals.schedule_triggered.send(
                    self._runtime.sender,
                    flow=plan.window.flow,
                    execution_id=plan.window.execution_id,
                    scheduled_for=plan.window.scheduled_for,
                    is_missed=plan.window.outcome == "missed-ran",
                )

    def _request(self, plan: _Plan) -> dispatch.Request:
        own, flow = plan.definition.options, plan.definition.id
        return dispatch.Request(
            flow=flow,
            data=encode_plain(flow, None, self._runtime.settings.max_payload_bytes),
            queue=dispatch.queue_of(self._runtime.app, flow, own.queue),
            id=plan.window.execution_id,
            priority=own.priority,
            trigger="missed" if plan.window.outcome == "missed-ran" else "cron",
            ref=own.cron,
            scheduled_for=plan.window.scheduled_for,
        )


@dataclass(frozen=True, slots=True)
class _Gap:
    """Windows that passed without a leader."""

    count: int
    #: The newest of them, oldest first.
    newest: list[datetime]


def execution_id(flow: str, scheduled_for: datetime) -> str:
    """The id of a window's execution: it can exist once."""
    return f"cron:{flow}@{scheduled_for:%Y-%m-%dT%H:%M:%SZ}"


def _gap(line: str, zone: str, since: datetime, until: datetime) -> _Gap:
    if since >= until:
        return _Gap(0, [])
    newest: deque[datetime] = deque(maxlen=MOST_MISSED)
    counted = 0
    for moment in islice(cron.windows(line, since, until, zone), _MOST_COUNTED):
        newest.append(moment)
        counted += 1
    if counted >= _MOST_COUNTED:  # a long gap: walk back from its end instead
        newest.clear()
        before = until + timedelta(seconds=1)
        while len(newest) < MOST_MISSED:
            before = cron.previous_run(line, before, zone)
            if before <= until:
                newest.appendleft(before)
    return _Gap(counted, list(newest))


def _plan(
    definition: Definition, moment: datetime, now: datetime, outcome: str, why: str | None = None
) -> _Plan:
    runs = outcome in {"fired", "missed-ran"}
    window = Window(
        flow=definition.id,
        scheduled_for=moment,
        fired_at=now,
        outcome=outcome,
        execution_id=execution_id(definition.id, moment) if runs else None,
        reason=why,
    )
    return _Plan(window, definition)


def _skipped(plan: _Plan) -> _Plan:
    changes = {
        "outcome": "overlap-skipped",
        "execution_id": None,
        "reason": "the execution of an earlier window had not ended",
    }
    return _Plan(plan.window.model_copy(update=changes), plan.definition)


def _same(cursor: Cursor, definition: Definition) -> bool:
    own = definition.options
    return (cursor.cron, cursor.timezone) == (own.cron, own.timezone)
