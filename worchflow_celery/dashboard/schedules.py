"""The pages of schedules: what comes next, and what became of the windows that passed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response

from worchflow_celery import cron
from worchflow_celery.clock import utcnow
from worchflow_celery.dashboard.errors import Problem
from worchflow_celery.dashboard.site import site_of
from worchflow_celery.models import Schedule, Window

_STRIP, _LOGGED, _COMING = 60, 100, 10
_MOST_SCHEDULES = 200
_MISSED = ("missed-ran", "missed-skipped")


@dataclass(frozen=True, slots=True)
class Shown:
    """A schedule and the last of its windows, oldest first."""

    schedule: Schedule
    windows: list[Window]

    @property
    def missed(self) -> int:
        """How many of them nobody fired in time."""
        return sum(one.outcome in _MISSED for one in self.windows)


def schedules(request: Request) -> Response:
    """Render the list."""
    site = site_of(request)
    with site.reading() as worchflow:
        known = worchflow.schedules()
        shown = [
            Shown(one, worchflow.windows(one.id, limit=_STRIP)[::-1])
            for one in known[:_MOST_SCHEDULES]
        ]
    gaps = missed(shown)
    context = {"shown": shown, "gaps": gaps, "left": len(known) - len(shown), "live": "parts"}
    return site.page(request, "schedules.html", context)


def schedule(request: Request) -> Response:
    """Render one schedule."""
    site, flow = site_of(request), str(request.path_params["flow"])
    with site.reading() as worchflow:
        found = next((one for one in worchflow.schedules() if one.id == flow), None)
        if found is None:
            raise Problem(404, f"flow {flow!r:.100} has no schedule in this app")
        windows = worchflow.windows(flow, limit=_LOGGED)
    context = {
        "schedule": found,
        "policy": worchflow.flows[flow].definition.options,
        "windows": windows,
        "coming": [] if found.paused else coming(found, utcnow()),
        "live": "parts",
    }
    return site.page(request, "schedule.html", context)


def coming(schedule: Schedule, now: datetime) -> list[datetime]:
    """The next windows."""
    found: list[datetime] = []
    after = now
    for _ in range(_COMING):
        after = cron.next_run(schedule.cron, after, schedule.timezone)
        found.append(after)
    return found


def missed(shown: Sequence[Shown]) -> list[Window]:
    """The windows that nobody fired in time, the newest first; the last twenty."""
    gaps = [window for one in shown for window in one.windows if window.outcome in _MISSED]
    gaps.sort(key=lambda window: window.scheduled_for, reverse=True)
    return list(islice(gaps, 20))
