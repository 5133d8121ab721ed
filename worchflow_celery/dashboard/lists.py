"""The page of executions: filtered, counted, page by page."""

from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from worchflow_celery.app import Worchflow
from worchflow_celery.dashboard import jobs, queries
from worchflow_celery.dashboard.charts import columns, together
from worchflow_celery.dashboard.queries import Query
from worchflow_celery.dashboard.security import Access
from worchflow_celery.dashboard.site import Site, access_of, site_of
from worchflow_celery.models import Execution, ExecutionStatus
from worchflow_celery.observed import FlowStats
from worchflow_celery.redaction import Redactor
from worchflow_celery.store.finding import filters_of
from worchflow_celery.store.reading import Rows, searched, status_filters


def executions(request: Request) -> Response:
    """Render the list."""
    site = site_of(request)
    with site.reading() as worchflow:
        query = query_of(worchflow, request)
        rows = rows_of(worchflow, query)
        counts = counts_of(worchflow, query)
        stats = worchflow.stats(query.flow or None)
    context = _context(site, query, rows, site.redactor(request), access_of(request))
    return site.page(
        request, "executions.html", {**context, **_chart(stats), "counts": counts, "live": "list"}
    )


def query_of(worchflow: Worchflow, request: Request) -> Query:
    """What the address asks for; raises ``InvalidOption``."""
    return queries.read(request.query_params, jobs.searchable(worchflow))


def rows_of(worchflow: Worchflow, query: Query) -> Rows:
    """The executions of a list."""
    reading = worchflow.runtime.store.reading
    if query.id:
        return reading.by_id(query.id, query.limit)
    filters = _filters(query, query.status)
    return reading.rows(filters, limit=query.limit, cursor=query.cursor or None)


def counts_of(worchflow: Worchflow, query: Query) -> dict[str, int | None]:
    """How many there are of each status, up to a limit, as long as it takes no time."""
    if query.id:
        return dict.fromkeys(["all", *ExecutionStatus])
    base = _filters(query, ())
    return worchflow.runtime.store.reading.counts(status_filters(base))


def took(execution: Execution, now: datetime) -> timedelta | None:
    """For how long it has run, from its first start; sleeping and waiting count."""
    if execution.started_at is None:
        return None
    return (execution.finished_at or now) - execution.started_at


def _chart(stats: list[FlowStats]) -> dict[str, Any]:
    """The last hour: what ended in each minute."""
    return {
        "columns": columns(together(stats)),
        "ended": sum(one.completed + one.cancelled for one in stats),
        "failed": sum(one.failed for one in stats),
    }


def _filters(query: Query, status: tuple[str, ...]) -> dict[str, Any]:
    filters = filters_of(
        status=list(status) or None,
        flow=query.flow or None,
        search=None,
        after=query.since,
        before=query.before,
    )
    return filters | searched(*query.search) if query.search else filters


def _context(
    site: Site, query: Query, rows: Rows, redactor: Redactor, access: Access
) -> dict[str, Any]:
    flows = site.worchflow.flows
    names = sorted({*flows, *([query.flow] if query.flow else [])})
    fields = sorted({one for flow in flows.values() for one in flow.definition.options.search})
    found = [row.execution for row in rows.rows]
    return {
        "query": query,
        "rows": rows,
        "shown": {one.id: redactor.value(one.flow, one.data) for one in found},
        "errors": {one.id: redactor.error(one.flow, one.error) for one in found},
        "flows": names,
        "limits": {name: flow.definition.options.retries + 1 for name, flow in flows.items()},
        "periods": queries.PERIODS,
        "statuses": [status.value for status in ExecutionStatus],
        "hint": f"id, or {fields[0]}:value" if fields else "the beginning of an id",
        "took": took,
        "on_all": on_all(query) if access.may("admin") else [],
    }


def on_all(query: Query) -> list[str]:
    """What may be done with all that match; without a filter, that would be everything."""
    if query.id or not query.filters_anything:
        return []
    return [
        name for name, (allowed, _) in jobs.ACTIONS.items() if set(query.status) <= set(allowed)
    ]
