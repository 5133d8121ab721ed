"""The JSON API, under ``/api/v1``; its models are the library's own."""

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from worchflow_celery.clock import utcnow
from worchflow_celery.dashboard import (
    actions,
    forms,
    lists,
    loglines,
    many,
    openapi,
    sending,
    staff,
    stream,
)
from worchflow_celery.dashboard import detail as pages
from worchflow_celery.dashboard.bodies import answer, body_of, known
from worchflow_celery.dashboard.errors import Problem
from worchflow_celery.dashboard.family import family_of
from worchflow_celery.dashboard.flows import about
from worchflow_celery.dashboard.leading import leading
from worchflow_celery.dashboard.queries import moment, whole
from worchflow_celery.dashboard.schedules import coming
from worchflow_celery.dashboard.site import Site, access_of, site_of
from worchflow_celery.models import Execution
from worchflow_celery.options import check_id
from worchflow_celery.store.reading import Row

_BASE = "/api/v1"
_MOST_STEPS = 10_000


def executions(request: Request) -> Response:
    """``GET executions``: a page of them, without results, attempts, and data that is large."""
    site = site_of(request)
    with site.reading() as worchflow:
        query = lists.query_of(worchflow, request)
        found = lists.rows_of(worchflow, query)
    redactor = site.redactor(request)
    items = [_listed(row, redactor.execution(row.execution)) for row in found.rows]
    return answer({"items": items, "cursor": found.cursor, "broken": list(found.broken)})


def execution(request: Request) -> Response:
    """``GET executions/{id}``."""
    site = site_of(request)
    with site.reading() as worchflow:
        found = worchflow.get(request.path_params["id"])
    return answer(site.redactor(request).execution(found).model_dump(mode="json"))


def steps(request: Request) -> Response:
    """``GET executions/{id}/steps``, by first start."""
    site = site_of(request)
    with site.reading() as worchflow:
        found = worchflow.get(request.path_params["id"])
        records = worchflow.steps(found.id)[:_MOST_STEPS]
    redactor = site.redactor(request)
    items = [redactor.step(found.flow, one).model_dump(mode="json") for one in records]
    return answer({"items": items})


def attempts(request: Request) -> Response:
    """``GET executions/{id}/attempts``."""
    site = site_of(request)
    with site.reading() as worchflow:
        found = worchflow.get(request.path_params["id"])
    shown = site.redactor(request).execution(found)
    return answer({"items": [one.model_dump(mode="json") for one in shown.attempts]})


def logs(request: Request) -> Response:
    """``GET executions/{id}/logs``: what it has logged, after the line ``?after=``."""
    site, after = site_of(request), request.query_params.get("after")
    limit = whole(request.query_params.get("limit", ""), "limit", 200, 1000)
    with site.reading() as worchflow:
        found = worchflow.get(request.path_params["id"])
        lines = worchflow.logs(found.id, after=after or None, limit=limit)
    shown = loglines.shown(site.redactor(request), found.flow, lines)
    return answer({"items": [one.model_dump(mode="json") for one in shown]})


def tree(request: Request) -> Response:
    """``GET executions/{id}/tree``: the parent, and the children that steps have begun."""
    site = site_of(request)
    with site.reading() as worchflow:
        found = worchflow.get(request.path_params["id"])
        runs = worchflow.runtime.store.reading.runs(found.id, pages.MOST_RUNS)
        family = family_of(worchflow, found, runs)
    redactor = site.redactor(request)
    children = [_listed(row, redactor.execution(row.execution)) for row in family.children.rows]
    parent = redactor.execution(family.parent).model_dump(mode="json") if family.parent else None
    tree = [
        {"id": one.execution.id, "parent_id": one.execution.parent_id, "depth": one.depth}
        for one in family.nodes
    ]
    told = {"id": found.id, "parent": parent, "children": children, "tree": tree}
    return answer({**told, "more": family.more})


async def send(request: Request) -> Response:
    """``POST executions``: ``{"flow": …, "data": …, "id": …, "delay": …}``; 202 with its id."""
    site, body = site_of(request), await body_of(request)
    flow = check_id(body.get("flow"), "flow id")
    key = body.get("id") or request.headers.get("idempotency-key")
    delay = body.get("delay")
    if delay is not None and (isinstance(delay, bool) or not isinstance(delay, int | float)):
        raise Problem(400, f"delay is {delay!r:.60}: it must be seconds")
    known(body, {"flow", "data", "id", "delay"})
    return await run_in_threadpool(_send, site, request, (flow, key, delay), body.get("data"))


def _send(site: Site, request: Request, draft: tuple[str, Any, Any], data: Any) -> Response:
    flow, key, delay = draft
    schema = _schema(site, flow)
    fields = forms.fields_of(schema)
    refusal = sending.check(site.worchflow, flow, data, fields)
    if refusal:
        faults = [
            {"field": k.removeprefix("data."), "message": v} for k, v in refusal.by_field.items()
        ]
        faults += [{"field": "", "message": one} for one in refusal.rest]
        raise Problem(422, f"the data does not fit the event of {flow!r}", errors=faults)
    handle = site.worchflow.send(flow, data, id=key, delay=delay)
    site.audit(access_of(request).user, "send", handle.id)
    base = request.scope.get("root_path", "")
    headers = {"location": f"{base}{_BASE}{actions.url_of(handle.id)}"}
    return answer({"id": handle.id, "status": handle.status.value}, 202, headers)


async def act(request: Request) -> Response:
    """``POST executions/{id}/{action}``: 202, or 409 with the present status."""
    site, body = site_of(request), await body_of(request)
    execution_id, action = request.path_params["id"], request.path_params["action"]
    if action not in actions.ON_EXECUTIONS:
        raise Problem(404, f"there is no action {action!r:.60}")
    known(body, {"from_step"})
    key = (request.headers.get("idempotency-key", ""), action, execution_id)
    found = await run_in_threadpool(
        site.once,
        key,
        lambda: actions.perform(site, request, action, execution_id, body.get("from_step")),
    )
    status = await run_in_threadpool(lambda: site.worchflow.get(found).status.value)
    return answer({"id": found, "status": status}, 202)


def flows(request: Request) -> Response:
    """``GET flows``: those that this app defines."""
    site = site_of(request)
    return answer({"items": [_flow(site, name) for name in sorted(site.worchflow.flows)]})


def flow(request: Request) -> Response:
    """``GET flows/{flow}``."""
    site, name = site_of(request), request.path_params["flow"]
    if name not in site.worchflow.flows:
        raise Problem(404, f"this app defines no flow {name!r:.100}")
    return answer(_flow(site, name))


def stats(request: Request) -> Response:
    """``GET flows/{flow}/stats``: what ended from ``since`` to ``until``; the last hour."""
    params = request.query_params
    since, until = (moment(params.get(name, ""), name) for name in ("since", "until"))
    with site_of(request).reading() as worchflow:
        found = worchflow.stats(request.path_params["flow"], since=since, until=until)
    return answer({"items": [one.model_dump(mode="json") for one in found]})


def schema(request: Request) -> Response:
    """``GET flows/{flow}/schema``: the JSON schema of its event's data."""
    site, name = site_of(request), request.path_params["flow"]
    if name not in site.worchflow.flows:
        raise Problem(404, f"this app defines no flow {name!r:.100}")
    return answer(_schema(site, name) or {})


def schedules(request: Request) -> Response:
    """``GET schedules``."""
    with site_of(request).reading() as worchflow:
        items = [one.model_dump(mode="json") for one in worchflow.schedules()]
        led = leading(worchflow)
    leader = led.leader.model_dump(mode="json", exclude={"token"}) if led.leader else None
    return answer({"items": items, "leader": {"state": led.state, "is": leader, "left": led.left}})


def windows(request: Request) -> Response:
    """``GET schedules/{flow}/windows``: the last 60, and the next ten."""
    flow = request.path_params["flow"]
    with site_of(request).reading() as worchflow:
        found = next((one for one in worchflow.schedules() if one.id == flow), None)
        if found is None:
            raise Problem(404, f"flow {flow!r:.100} has no schedule in this app")
        items = [one.model_dump(mode="json") for one in worchflow.windows(flow, limit=60)]
    ahead = [] if found.paused else coming(found, utcnow())
    return answer(
        {
            "items": items,
            "coming": [one.at.isoformat() for one in ahead],
            "notes": [one.note for one in ahead],
        }
    )


async def steer(request: Request) -> Response:
    """``POST schedules/{flow}/pause``, ``resume`` or ``trigger``."""
    site, name = site_of(request), request.path_params["action"]
    await body_of(request)
    action = name if name == "trigger" else f"{name}-schedule"
    if action not in actions.ON_SCHEDULES:
        raise Problem(404, f"there is no action {name!r:.60}")
    flow = request.path_params["flow"]
    key = (request.headers.get("idempotency-key", ""), action, flow)
    where = await run_in_threadpool(
        site.once, key, lambda: actions.steer(site, request, action, flow)
    )
    return answer({"flow": flow, "action": name, "see": where}, 202)


def workers(request: Request) -> Response:
    """``GET workers``: those that live, and those that ended within a day."""
    return answer({"items": [one.model_dump(mode="json") for one in staff.workers_of(request)]})


def queues(request: Request) -> Response:
    """``GET queues``: what waits in the broker; ``broker`` says why nobody can tell."""
    found, why = staff.queues_of(request, staff.workers_of(request))
    items = [one.model_dump(mode="json") for one in found]
    return answer({"items": items, "broker": why or None})


def audit(request: Request) -> Response:
    """``GET audit``: who did what."""
    return answer({"items": [one.model_dump(mode="json") for one in staff.records_of(request)]})


def description(request: Request) -> Response:
    """``GET openapi.json``."""
    return answer(openapi.describe(request.scope.get("root_path", "") + _BASE))


def _listed(row: Row, shown: Execution) -> dict[str, Any]:
    listed = shown.model_dump(mode="json", exclude={"result", "attempts"})
    if not row.shows_data:
        del listed["data"]
    return {**listed, "data_bytes": row.data_bytes}


def _flow(site: Site, name: str) -> dict[str, Any]:
    known = site.worchflow.flows[name].definition
    own = known.options
    names = "retries retry_delay timeout search cron timezone missed overlap queue priority".split()
    return {
        "id": name,
        "about": about(site, name),
        **{one: getattr(own, one) for one in names},
    }


def _schema(site: Site, flow: str) -> dict[str, Any] | None:
    known = site.worchflow.flows.get(flow)
    return forms.schema_of(known.definition.event_type) if known else None


ROUTES: list[BaseRoute] = [
    Route(f"{_BASE}/openapi.json", description),
    Route(f"{_BASE}/events", stream.events),
    Route(f"{_BASE}/workers", workers),
    Route(f"{_BASE}/queues", queues),
    Route(f"{_BASE}/audit", audit),
    Route(f"{_BASE}/executions", executions),
    Route(f"{_BASE}/executions", send, methods=["POST"]),
    Route(f"{_BASE}/executions:bulk", many.act, methods=["POST"]),
    Route(f"{_BASE}/batches/{{id}}", many.batch),
    Route(f"{_BASE}/executions/{{id:path}}/steps", steps),
    Route(f"{_BASE}/executions/{{id:path}}/attempts", attempts),
    Route(f"{_BASE}/executions/{{id:path}}/logs", logs),
    Route(f"{_BASE}/executions/{{id:path}}/tree", tree),
    Route(f"{_BASE}/executions/{{id:path}}/{{action}}", act, methods=["POST"]),
    Route(f"{_BASE}/executions/{{id:path}}", execution),
    Route(f"{_BASE}/flows", flows),
    Route(f"{_BASE}/flows/{{flow:path}}/schema", schema),
    Route(f"{_BASE}/flows/{{flow:path}}/stats", stats),
    Route(f"{_BASE}/flows/{{flow:path}}", flow),
    Route(f"{_BASE}/schedules", schedules),
    Route(f"{_BASE}/schedules/{{flow:path}}/windows", windows),
    Route(f"{_BASE}/schedules/{{flow:path}}/{{action}}", steer, methods=["POST"]),
]
