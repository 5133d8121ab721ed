"""The pages of workers and of the audit trail."""

import re

from starlette.requests import Request
from starlette.responses import Response

from worchflow_celery.dashboard.site import site_of
from worchflow_celery.observed import AuditRecord, WorkerInfo

_BATCH = re.compile(r"batch ([0-9a-f]{16}):")


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
    context = {"records": records_of(request), "batch_of": batch_of, "live": "parts"}
    return site.page(request, "audit.html", context)


def batch_of(record: AuditRecord) -> str | None:
    """The batch that a record tells of."""
    found = _BATCH.match(record.note or "")
    return found[1] if found else None


def workers_of(request: Request) -> list[WorkerInfo]:
    """All that were seen within a day."""
    with site_of(request).reading() as worchflow:
        return worchflow.workers(gone=True)


def records_of(request: Request) -> list[AuditRecord]:
    """The newest records of the audit trail."""
    with site_of(request).reading() as worchflow:
        return worchflow.audit.list(limit=100)
