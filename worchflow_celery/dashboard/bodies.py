"""JSON that comes in and goes out."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from worchflow_celery.dashboard import errors, guard
from worchflow_celery.dashboard.errors import Problem
from worchflow_celery.dashboard.site import site_of


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object of a request; none is an empty one."""
    text = await guard.body_of(request, site_of(request))
    kind = request.headers.get("content-type", "").partition(";")[0]
    if text and kind != "application/json":
        raise Problem(415, "the body must be application/json")
    body = errors.body_of(text) if text else {}
    if not isinstance(body, dict):
        raise Problem(400, "the body must be a JSON object")
    return body


def known(body: Mapping[str, Any], names: set[str]) -> None:
    """Refuse a body with anything else in it."""
    unknown = sorted(set(body) - names)
    if unknown:
        raise Problem(400, f"{unknown[0]!r:.60} is not known; there are {', '.join(sorted(names))}")


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer in JSON that nobody keeps."""
    return JSONResponse(body, status, {"cache-control": "no-store", **(headers or {})})
