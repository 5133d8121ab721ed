"""The pages of schedules: what comes next, and what became of the windows that passed."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from worchflow_celery import cron
from worchflow_celery.app import Worchflow
from worchflow_celery.clock import utcnow
from worchflow_celery.dashboard import crontalk
from worchflow_celery.dashboard.errors import Problem
from worchflow_celery.dashboard.leading import leading
from worchflow_celery.dashboard.site import site_of
from worchflow_celery.models import Schedule, Window

_STRIP, _LOGGED, _COMING = 60, 100, 10
_MOST_SCHEDULES = 200
_MISSED = ("missed-ran", "missed-skipped")
#: For how long a window that was missed is worth a line, how many are listed and counted.
_WEEK, _LISTED, _COUNTED = timedelta(days=7), 20, 1001
#: Paused schedules of which it is said who has paused them.
_NAMED = 20


@dataclass(frozen=True, slots=True)
class Shown:
    """A schedule and the last of its windows, oldest first."""

    schedule: Schedule
    windows: list[Window]
    #: Its line in words, where there are any.
    words: str
    paused_by: str = ""

    @property
    def missed(self) -> int:
        """How many of them nobody fired in time."""
        return sum(one.outcome in _MISSED for one in self.windows)


@dataclass(frozen=True, slots=True)
class Gap:
    """Windows of one flow that were missed for one reason."""

    flow: str
    reason: str
    #: Newest first.
    windows: list[Window]

    @property
    def ran(self) -> list[Window]:
        """Those that ran after all."""
        return [one for one in self.windows if one.execution_id]


@dataclass(frozen=True, slots=True)
class Coming:
    """A window that is to come."""

    at: datetime
    #: On the clocks of the schedule's zone.
    local: datetime
    #: What a change of the clocks does to it.
    note: str


def schedules(request: Request) -> Response:
    """Render the list."""
    site = site_of(request)
    with site.reading() as worchflow:
        known = worchflow.schedules()
        listed = known[:_MOST_SCHEDULES]
        paused = [one.id for one in listed if one.paused][:_NAMED]
        by = {flow: paused_by(worchflow, flow) for flow in paused}
        shown = [_shown(worchflow, one, by.get(one.id, "")) for one in listed]
        missed = worchflow.runtime.store.schedules.missed(utcnow() - _WEEK, _COUNTED)
        leader = leading(worchflow) if known else None
    context = {
        "shown": shown,
        "gaps": gaps_of(missed)[:_LISTED],
        "missed": len(missed),
        "leading": leader,
        "left": len(known) - len(shown),
        "live": "parts",
    }
    return site.page(request, "schedules.html", context)


def schedule(request: Request) -> Response:
    """Render one schedule."""
    site, flow = site_of(request), str(request.path_params["flow"])
    with site.reading() as worchflow:
        found = next((one for one in worchflow.schedules() if one.id == flow), None)
        if found is None:
            raise Problem(404, f"flow {flow!r:.100} has no schedule in this app")
        windows = worchflow.windows(flow, limit=_LOGGED)
        leader = leading(worchflow)
        by = paused_by(worchflow, flow) if found.paused else ""
    context = {
        "schedule": found,
        "words": crontalk.words(found.cron),
        "paused_by": by,
        "leading": leader,
        "policy": worchflow.flows[flow].definition.options,
        "windows": windows,
        "shown_strip": windows[:_STRIP][::-1],
        "coming": [] if found.paused else coming(found, utcnow()),
        "live": "parts",
    }
    return site.page(request, "schedule.html", context)


def gaps_of(missed: Iterable[Window]) -> list[Gap]:
    """The same outage in one line, the newest first."""
    found: dict[tuple[str, str], list[Window]] = {}
    for one in missed:
        found.setdefault((one.flow, one.reason or ""), []).append(one)
    return [Gap(flow, reason, windows) for (flow, reason), windows in found.items()]


def paused_by(worchflow: Worchflow, flow: str) -> str:
    """Who has paused a schedule, if the audit trail tells."""
    for record in worchflow.audit.list(target=flow, limit=10):
        if record.action == "pause-schedule":
            return "" if record.who == "-" else record.who
    return ""


def coming(schedule: Schedule, now: datetime) -> list[Coming]:
    """The next windows."""
    moments: list[datetime] = []
    after = now
    for _ in range(_COMING):
        after = cron.next_run(schedule.cron, after, schedule.timezone)
        moments.append(after)
    zone = crontalk.zone_of(schedule.timezone)
    notes = crontalk.notes(schedule.cron, schedule.timezone, now, moments)
    return [Coming(at, at.astimezone(zone), note) for at, note in zip(moments, notes, strict=True)]


def _shown(worchflow: Worchflow, one: Schedule, by: str) -> Shown:
    windows = worchflow.windows(one.id, limit=_STRIP)[::-1]
    return Shown(one, windows, crontalk.words(one.cron), by)
