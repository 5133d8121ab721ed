"""The pages of workers and of the audit trail."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from worchflow_celery.dashboard.errors import Problem
from worchflow_celery.dashboard.site import site_of


def workers(request: Request) -> Response:
    """Render the workers: who lives, and who has ended."""
    site = site_of(request)
    found = workers_of(request)
    alive = [one for one in found if one.alive]
    known = {flow for one in alive for flow in one.flows}
    context = {
        "alive": alive,
        "gone": [one for one in found if not one.alive],
        "unknown": sorted(set(site.worchflow.flows) - known) if alive else [],
        "live": "parts",
    }
    return site.page(request, "workers.html", context)


def audit(request: Request) -> Response:
    """Render what people did."""
    site = site_of(request)
    return site.page(request, "audit.html", {"records": records_of(request), "live": "parts"})


def workers_of(request: Request) -> list[Any]:
    """All that were seen within a day."""
    site = site_of(request)
    with site.reading() as worchflow:
        if not site.can("workers"):
            raise Problem(404, "this version keeps no record of its workers")
        found: list[Any] = getattr(worchflow, "workers")(gone=True)  # noqa: B009
        return found


def records_of(request: Request) -> list[Any]:
    """The newest records of the audit trail."""
    with site_of(request).reading() as worchflow:
        trail = getattr(worchflow, "audit", None)
        if trail is None:
            raise Problem(404, "this version keeps no audit trail")
        found: list[Any] = trail.list(limit=100)
        return found
