"""What went wrong, as a page or as ``application/problem+json``."""

import json
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from worchflow_celery import errors
from worchflow_celery.dashboard.security import HEADERS
from worchflow_celery.dashboard.site import TooSlow, site_of

#: The first that an error is an instance of counts.
STATUS: list[tuple[type[Exception], int]] = [
    (errors.ExecutionNotFound, 404),
    (errors.ScheduleNotFound, 404),
    (errors.InvalidTransition, 409),
    (errors.ExecutionConflict, 409),
    (errors.InvalidEventData, 422),
    (errors.PayloadTooLarge, 413),
    (TooSlow, 503),
    (errors.StoreUnavailable, 503),
    (errors.CorruptDocument, 500),
    (errors.InvalidOption, 400),
    (errors.WorchflowError, 500),
]
_TITLES = {
    404: "Not found",
    409: "Not possible now",
    422: "The data does not fit",
    503: "MongoDB is not available",
    400: "That cannot be asked",
    413: "Too large",
}


class Problem(Exception):
    """An answer that is not what was asked for."""

    def __init__(self, status: int, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.more = more
        #: Of the answer.
        self.headers: dict[str, str] = {}


class ProblemResponse(JSONResponse):
    """``application/problem+json``."""

    media_type = "application/problem+json"


def answer(request: Request, error: Exception) -> Response:
    """The answer to an error, as whoever asked can read it."""
    status, detail, more = _told(error)
    headers = dict(getattr(error, "headers", None) or {})
    headers |= {"retry-after": "2"} if status == 503 else {}
    headers |= {"cache-control": "no-store", **HEADERS}
    if wants_json(request):
        title = HTTPStatus(status).phrase
        body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
        return ProblemResponse(body, status, headers)
    site = site_of(request)
    context = {
        "status": status,
        "heading": "Too much to find in time"
        if more.get("slow")
        else _TITLES.get(status, HTTPStatus(status).phrase),
        "detail": detail,
        "more": more,
        "down_since": site.down_since if status == 503 else None,
    }
    response = site.page(request, "error.html", context, status)
    response.headers.update(headers)
    return response


def wants_json(request: Request) -> bool:
    """Whether the request is for the API."""
    path = request.scope.get("path", "").removeprefix(request.scope.get("root_path", ""))
    return path.startswith("/api/") or path in ("/metrics", "/readyz", "/healthz")


def body_of(text: bytes) -> Any:
    """The JSON of a request; raises ``Problem``."""
    try:
        return json.loads(text or b"null", parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"the body is not JSON: {str(error)[:200]}") from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _told(error: Exception) -> tuple[int, str, dict[str, Any]]:
    if isinstance(error, Problem):
        return error.status, error.detail, error.more
    if isinstance(error, HTTPException):
        detail = error.detail
        if error.status_code == 404 and detail == "Not Found":
            detail = "there is no such page"
        return error.status_code, detail, {}
    for kind, status in STATUS:
        if isinstance(error, kind):
            return status, str(error), {"slow": True} if kind is TooSlow else {}
    return 500, "an error that was not foreseen: see the dashboard's log", {}
