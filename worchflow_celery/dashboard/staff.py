"""The pages of workers and of the audit trail."""

from starlette.requests import Request
from starlette.responses import Response

from worchflow_celery.dashboard.site import site_of
from worchflow_celery.observed import AuditRecord, WorkerInfo


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


def workers_of(request: Request) -> list[WorkerInfo]:
    """All that were seen within a day."""
    with site_of(request).reading() as worchflow:
        return worchflow.workers(gone=True)


def records_of(request: Request) -> list[AuditRecord]:
    """The newest records of the audit trail."""
    with site_of(request).reading() as worchflow:
        return worchflow.audit.list(limit=100)
