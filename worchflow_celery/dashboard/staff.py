"""The pages of workers and of the audit trail."""

import re
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from worchflow_celery import queues as broker
from worchflow_celery.dashboard.site import site_of
from worchflow_celery.observed import AuditRecord, QueueInfo, WorkerInfo

_BATCH = re.compile(r"batch ([0-9a-f]{16}):")


def workers(request: Request) -> Response:
    """Render the workers: who lives, and who has ended."""
    site = site_of(request)
    found = workers_of(request)
    alive = [one for one in found if one.alive]
    queues, why = queues_of(request, alive)
    known = {flow for one in alive for flow in one.flows}
    context = {
        "alive": alive,
        "queues": queues,
        "broker": why,
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


def queues_of(request: Request, workers: Sequence[WorkerInfo]) -> tuple[list[QueueInfo], str]:
    """The queues, or why nobody can tell."""
    site = site_of(request)
    with site.reading() as worchflow:
        try:
            return broker.queues(worchflow.runtime, workers), ""
        except broker.BrokerUnavailable as error:
            return [], str(error)


def records_of(request: Request) -> list[AuditRecord]:
    """The newest records of the audit trail."""
    with site_of(request).reading() as worchflow:
        return worchflow.audit.list(limit=100)
