"""What an operator does with one execution or schedule, or with several."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from urllib.parse import parse_qs, quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from worchflow_celery.dashboard.errors import Problem
from worchflow_celery.dashboard.guard import body_of
from worchflow_celery.dashboard.site import Site, access_of, site_of
from worchflow_celery.errors import InvalidTransition, WorchflowError

ON_EXECUTIONS = ("retry", "cancel", "pause", "resume", "restart")
ON_SELECTED = ("retry", "cancel", "restart")
ON_SCHEDULES = ("trigger", "pause-schedule", "resume-schedule")
#: A selection of a page is no more than this.
MOST_SELECTED = 200

Form = Mapping[str, list[str]]


async def act(request: Request) -> Response:
    """``POST /act``: one action on one execution or schedule, then its page."""
    site, form = site_of(request), await form_of(request)
    action, token = first(form, "action"), first(form, "token")
    if action in ON_EXECUTIONS:
        target, from_step = first(form, "id"), first(form, "from_step") or None
        where = await run_in_threadpool(
            site.once,
            (token, action, target),
            lambda: url_of(perform(site, request, action, target, from_step)),
        )
    elif action in ON_SCHEDULES:
        target = first(form, "flow")
        where = await run_in_threadpool(
            site.once, (token, action, target), lambda: steer(site, request, action, target)
        )
    else:
        raise Problem(400, f"action is {action!r:.60}: there is no such action")
    return RedirectResponse(request.scope.get("root_path", "") + where, 303)


def perform(
    site: Site, request: Request, action: str, execution_id: str, from_step: str | None = None
) -> str:
    """Do it, and return the id of the execution to look at; raises ``Problem`` 409."""
    worchflow = site.worchflow
    try:
        if action == "restart":
            found = getattr(worchflow, action)(execution_id, from_step)
        else:
            found = getattr(worchflow, action)(execution_id)
    except InvalidTransition as error:
        status = worchflow.get(execution_id).status.value
        raise Problem(409, str(error), current_status=status, execution_id=execution_id) from error
    site.audit(access_of(request).user, action, execution_id)
    return str(getattr(found, "id", execution_id))


def steer(site: Site, request: Request, action: str, flow: str) -> str:
    """Do something with a schedule, and return the page to go to."""
    worchflow = site.worchflow
    if action == "trigger":
        where = url_of(worchflow.trigger_schedule(flow).id)
    else:
        change = (
            worchflow.pause_schedule if action == "pause-schedule" else worchflow.resume_schedule
        )
        change(flow)
        where = f"/schedules/{quote(flow)}"
    site.audit(access_of(request).user, action, flow)
    return where


async def bulk(request: Request) -> Response:
    """``POST /bulk``: the selected ones."""
    site, form = site_of(request), await form_of(request)
    action = first(form, "action")
    ids, token = form.get("id", []), first(form, "token")
    done, refused = await run_in_threadpool(each, site, request, action, ids, token)
    context = {"action": action, "done": done, "refused": refused, "back": first(form, "back")}
    return site.page(request, "bulk.html", context)


def each(
    site: Site, request: Request, action: str, ids: Sequence[str], token: str
) -> tuple[list[str], list[tuple[str, str]]]:
    """Act on each, once: ids of what there is to see, and those that refused, with the reason."""
    check_selected(action, ids)
    done, refused = [], []
    for one in dict.fromkeys(ids):
        try:
            key = (token, action, one)
            done.append(site.once(key, partial(perform, site, request, action, one)))
        except Problem as problem:
            refused.append((one, problem.detail))
        except WorchflowError as error:
            refused.append((one, str(error)))
    return done, refused


def check_selected(action: str, ids: Sequence[str]) -> None:
    """Raise ``Problem`` for what cannot be done with a selection."""
    if action not in ON_SELECTED:
        raise Problem(400, f"action is {action!r:.60}: it must be one of {', '.join(ON_SELECTED)}")
    if not 1 <= len(ids) <= MOST_SELECTED:
        raise Problem(400, f"{len(ids)} executions are selected: select 1 to {MOST_SELECTED}")


async def form_of(request: Request) -> Form:
    """The fields of a form; raises ``Problem`` when it is none."""
    kind = request.headers.get("content-type", "").partition(";")[0]
    if kind != "application/x-www-form-urlencoded":
        raise Problem(415, "the form must be application/x-www-form-urlencoded")
    text = await body_of(request, site_of(request))
    with suppress(ValueError):
        return parse_qs(text.decode(), keep_blank_values=True, max_num_fields=5000)
    raise Problem(400, "the form cannot be read")


def first(form: Form, name: str) -> str:
    """The first value of a field, or nothing."""
    return form.get(name, [""])[0]


def url_of(execution_id: str) -> str:
    """The path of an execution's page."""
    bends = "/." in f"/{execution_id}" or "//" in execution_id or execution_id.endswith("/")
    if bends:
        return f"/executions?id={quote(execution_id, safe='')}"
    return f"/executions/{quote(execution_id)}"
