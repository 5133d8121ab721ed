"""Act on all executions that a filter finds: the question, and the page that tells how far."""

from dataclasses import replace
from datetime import timedelta

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from worchflow_celery.app import Worchflow
from worchflow_celery.dashboard import jobs, lists
from worchflow_celery.dashboard.actions import first, form_of
from worchflow_celery.dashboard.errors import Problem
from worchflow_celery.dashboard.queries import Query
from worchflow_celery.dashboard.site import Site, access_of, site_of
from worchflow_celery.observed import Batch
from worchflow_celery.redaction import Redactor, nothing

#: From how many on the number has to be typed.
TYPED_ABOVE = 100


def fixed(worchflow: Worchflow, action: str, query: Query) -> Query:
    """The same executions, also later: those that are sent from now on are not among them.

    Raises ``InvalidOption`` for a filter that cannot be meant.
    """
    jobs.filters_of(action, query)
    until = query.before or worchflow.runtime.store.database.now() + timedelta(milliseconds=1)
    return replace(query, last="", cursor="", limit=50, after=query.since, before=until)


def begin(site: Site, request: Request, action: str, query: Query, total: int) -> Batch:
    """Keep a batch, note who began it, and run it."""
    worchflow, who = site.worchflow, access_of(request).user
    batches = worchflow.runtime.store.batches
    batch = batches.insert(action, query.link(), who, min(total, jobs.MOST))
    words = jobs.words_of(query, Redactor(nothing))
    site.audit(who, f"{action}-all", words, batch.total, jobs.note_of(batch, "begun"))
    site.jobs.run(batch.id)
    return batch


def get(worchflow: Worchflow, batch_id: str) -> Batch:
    """Read a batch; raises ``Problem``."""
    found = worchflow.runtime.store.batches.get(batch_id)
    if found is None:
        raise Problem(404, f"there is no batch {batch_id!r:.60}: each is kept for 30 days")
    return found


def shown(site: Site, request: Request, batch: Batch) -> Batch:
    """A batch as it may be seen."""
    query = jobs.shown_query(jobs.query_from(site.worchflow, batch.filter), site.redactor(request))
    return batch.model_copy(update={"filter": query.link()})


def confirm(request: Request) -> Response:
    """``GET /bulk/{action}``: how many the filter finds, and whether all of them are meant."""
    site, action = site_of(request), _action(request)
    check_admin(site, request)
    with site.reading() as worchflow:
        query = fixed(worchflow, action, lists.query_of(worchflow, request))
        found = jobs.count(worchflow, action, query)
    context = {
        "action": action,
        "query": query,
        "count": min(found, jobs.MOST),
        "more": found > jobs.MOST,
    }
    return site.page(request, "confirm.html", {**context, "typed_above": TYPED_ABOVE})


async def start(request: Request) -> Response:
    """``POST /bulk/{action}``: begin, and go to the page of what is done."""
    site, action = site_of(request), _action(request)
    check_admin(site, request)
    form = await form_of(request)
    key = (first(form, "token"), "bulk", action)
    batch_id = await run_in_threadpool(
        site.once, key, lambda: _started(site, request, action, first(form, "typed").strip())
    )
    return RedirectResponse(f"{request.scope.get('root_path', '')}/batches/{batch_id}", 303)


def _started(site: Site, request: Request, action: str, typed: str) -> str:
    with site.reading() as worchflow:
        query = fixed(worchflow, action, lists.query_of(worchflow, request))
        found = min(jobs.count(worchflow, action, query), jobs.MOST)
    if found > TYPED_ABOVE and typed.replace(",", "") != str(found):
        raise Problem(409, f"{found} executions match now: type that number to confirm")
    return begin(site, request, action, query, found).id


def batch(request: Request) -> Response:
    """``GET /batches/{id}``: how far it is."""
    site = site_of(request)
    with site.reading() as worchflow:
        found = get(worchflow, request.path_params["id"])
    query = jobs.shown_query(jobs.query_from(site.worchflow, found.filter), site.redactor(request))
    context = {"batch": found, "query": query, "live": "parts"}
    if found.status in ("completed", "stopped"):
        context["live"] = "off"
    return site.page(request, "batch.html", context)


async def steer(request: Request) -> Response:
    """``POST /batches/{id}``: stop it, or let it go on."""
    site = site_of(request)
    check_admin(site, request)
    form = await form_of(request)
    batch_id, action = request.path_params["id"], first(form, "action")
    if action not in ("stop", "go-on"):
        raise Problem(400, f"action is {action!r:.60}: it must be stop or go-on")
    await run_in_threadpool(_steer, site, request, batch_id, action)
    return RedirectResponse(f"{request.scope.get('root_path', '')}/batches/{batch_id}", 303)


def _steer(site: Site, request: Request, batch_id: str, action: str) -> None:
    batches = site.worchflow.runtime.store.batches
    get(site.worchflow, batch_id)
    found = batches.stop(batch_id) if action == "stop" else batches.wait_again(batch_id)
    if found is None:
        return  # it has ended meanwhile, or goes on: its page says so
    if action == "go-on":
        site.jobs.run(batch_id)
    site.audit(access_of(request).user, f"{action} batch", batch_id)


def check_admin(site: Site, request: Request) -> None:
    """Raise ``Problem`` for who may not act on all that match."""
    if site.options.read_only or not access_of(request).may("admin"):
        raise Problem(403, "to act on all that match needs the role admin")


def _action(request: Request) -> str:
    action: str = request.path_params["action"]
    if action not in jobs.ACTIONS:
        raise Problem(404, f"there is no action {action!r:.60} on all that match")
    return action
