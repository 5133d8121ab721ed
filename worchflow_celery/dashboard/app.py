"""The routes, and what stands before them."""

from collections.abc import Sequence

from celery import Celery
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from worchflow_celery.dashboard import (
    actions,
    api,
    batches,
    detail,
    errors,
    flows,
    lists,
    loglines,
    metrics,
    schedules,
    sending,
    staff,
)
from worchflow_celery.dashboard.errors import Problem
from worchflow_celery.dashboard.guard import Guard
from worchflow_celery.dashboard.security import Auth
from worchflow_celery.dashboard.site import Options, Site, site_of
from worchflow_celery.errors import WorchflowError
from worchflow_celery.redaction import Redact


def create_app(
    celery_app: Celery,
    auth: Auth | None = None,
    redact: Redact | None = None,
    read_only: bool = False,
    *,
    title: str = "worchflow",
    allowed_hosts: Sequence[str] = (),
    trusted_origins: Sequence[str] = (),
    insecure_no_auth: bool = False,
) -> Starlette:
    """The dashboard of a Celery app, an ASGI app that can be mounted under any path.

    ``auth`` is ``basic(...)``, ``token(...)`` or a function of the request (sync or async) that
    returns ``Access``, or ``None`` for nobody; without it the dashboard answers this machine
    only. ``redact`` is given each payload before it is shown. Behind a proxy that changes
    ``Host``, name the address that browsers see in ``trusted_origins``.
    """
    options = Options(
        auth,
        redact,
        read_only,
        title,
        tuple(allowed_hosts),
        tuple(one.rstrip("/") for one in trusted_origins),
        insecure_no_auth,
    )
    return _app(Site(celery_app, options))


def _app(site: Site) -> Starlette:
    kinds: list[type[Exception]] = [WorchflowError, Problem, HTTPException, Exception]
    app = Starlette(
        routes=[*_PAGES, *api.ROUTES],
        middleware=[Middleware(Guard, site=site)],
        exception_handlers=dict.fromkeys(kinds, errors.answer),
    )
    app.state.site = site
    return app


def static(request: Request) -> Response:
    """A static file, out of memory."""
    found = site_of(request).files.files.get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(found[0], media_type=found[1], headers=headers)


def healthz(request: Request) -> Response:
    """This process is there."""
    return PlainTextResponse("ok\n")


def readyz(request: Request) -> Response:
    """Its store is there, too; says no more than that."""
    try:
        with site_of(request).reading():
            return PlainTextResponse("ok\n")
    except WorchflowError:
        return PlainTextResponse("MongoDB is not available\n", 503)


_PAGES = [
    Route("/", lists.executions),
    Route("/executions", detail.by_query),
    Route("/executions/{id:path}", detail.execution),
    Route("/logs", loglines.file),
    Route("/flows", flows.flows),
    Route("/flows/{flow:path}", flows.flow),
    Route("/schedules", schedules.schedules),
    Route("/schedules/{flow:path}", schedules.schedule),
    Route("/workers", staff.workers),
    Route("/audit", staff.audit),
    Route("/send", sending.form),
    Route("/send", sending.send, methods=["POST"]),
    Route("/act", actions.act, methods=["POST"]),
    Route("/bulk", actions.bulk, methods=["POST"]),
    Route("/bulk/{action}", batches.confirm),
    Route("/bulk/{action}", batches.start, methods=["POST"]),
    Route("/batches/{id}", batches.batch),
    Route("/batches/{id}", batches.steer, methods=["POST"]),
    Route("/static/{version}/{name}", static),
    Route("/healthz", healthz),
    Route("/readyz", readyz),
    Route("/metrics", metrics.metrics),
]
