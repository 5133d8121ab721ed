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
from worchflow_celery.dashboard.strides import MOST_RUNS, Stride, stride
from worchflow_celery.dashboard.tour import tour_of
from worchflow_celery.models import Execution, ExecutionStatus
from worchflow_celery.observed import FlowStats
from worchflow_celery.redaction import Redactor
from worchflow_celery.store.finding import filters_of
from worchflow_celery.store.reading import Rows, searched, status_filters
from worchflow_celery.store.rollups import KEPT, MINUTE


def executions(request: Request) -> Response:
    """Render the list."""
    site = site_of(request)
    with site.reading() as worchflow:
        query = query_of(worchflow, request)
        rows = rows_of(worchflow, query)
        counts = counts_of(worchflow, query)
        since, until = period(query, worchflow.runtime.store.database.now())
        stats = worchflow.stats(query.flow or None, since=since, until=until)
        strides = strides_of(site, worchflow, rows)
        tour = tour_of(worchflow) if site.may_change(request) and query.is_first else None
    context = _context(site, query, rows, site.redactor(request), access_of(request))
    return site.page(
        request,
        "executions.html",
        {
            **context,
            **_chart(query, stats, since),
            "strides": strides,
            "counts": counts,
            "tour": tour,
            "live": "list",
        },
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


def period(query: Query, now: datetime) -> tuple[datetime, datetime]:
    """The time of the chart: that of the filter, or the last hour, in whole minutes."""
    until = min(query.before or now, now).replace(second=0, microsecond=0) + MINUTE
    begin = until - queries.PERIODS[query.last or "1h"][1]
    since = query.after if query.after and (not query.last or query.after > begin) else begin
    since = max(since.replace(second=0, microsecond=0), until - KEPT)
    return min(since, until - MINUTE), until


def strides_of(site: Site, worchflow: Worchflow, rows: Rows) -> dict[str, Stride | None]:
    """How far each execution of a list has come."""
    begun = [row.execution for row in rows.rows if row.execution.started_at]
    runs = worchflow.runtime.store.reading.last_runs([one.id for one in begun], MOST_RUNS)
    return {one.id: stride(one, runs.get(one.id, ()), site.hub.running(one.id)) for one in begun}


def _chart(query: Query, stats: list[FlowStats], since: datetime) -> dict[str, Any]:
    """What ended in each part of a time; a click on it shows what was sent then."""
    return {
        "since": since,
        "columns": columns(
            together(stats), lambda at, until: query.link(last="", after=at, before=until)
        ),
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
        "firsts": {name: flow.definition.options.search for name, flow in flows.items()},
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
