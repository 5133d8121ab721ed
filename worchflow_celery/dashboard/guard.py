"""Stands before every page: host, access, origin, read-only, size; and headers on every answer."""

import inspect
from collections.abc import MutableMapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from worchflow_celery.dashboard import security
from worchflow_celery.dashboard.errors import Problem, answer
from worchflow_celery.dashboard.security import EVERYBODY, Access, Credentials
from worchflow_celery.dashboard.site import Site

#: What a load balancer asks without a name; it tells nothing but "here".
_OPEN = frozenset({"/healthz", "/readyz"})
#: What a form adds to a payload: names, escapes.
_ENVELOPE = 64 * 1024
_NOBODY = Access("viewer", "-", payloads=False)


class Guard:
    """ASGI middleware; what it refuses no page has seen."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(security.HEADERS)
            await send(message)

        request = Request(scope, receive)
        request.state.access = _NOBODY
        try:
            await self._admit(request)
        except Problem as problem:
            await answer(request, problem)(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)

    async def _admit(self, request: Request) -> None:
        """Raise ``Problem`` for what must not pass."""
        options = self._site.options
        self._check_host(request)
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        if path in _OPEN or path.startswith("/static/"):
            return
        request.state.access = await self._access(request)
        if request.method in security.SAFE_METHODS:
            return
        why = security.cross_site(request, options.trusted_origins)
        if why is not None:
            raise Problem(403, f"this request is refused: {why}. Behind a proxy, trusted_origins=")
        if options.read_only:
            raise Problem(403, "this dashboard is read-only")
        if not request.state.access.may("operator"):
            raise Problem(403, "you may look, and change nothing: this needs the role operator")
        self._check_size(request)

    def _check_host(self, request: Request) -> None:
        """Without authentication only this machine; a name that is ours, against rebinding."""
        options, host = self._site.options, request.headers.get("host")
        if options.auth is None and not options.insecure_no_auth:
            client = request.client.host if request.client else None
            if client is not None and not security.is_loopback(_bracketed(client)):
                raise Problem(403, "without auth= this dashboard answers this machine only")
            if not options.allowed_hosts and not security.is_loopback(host):
                raise Problem(
                    403,
                    f"the host {(host or '')[:100]!r} is not this machine; without auth= this "
                    "dashboard answers localhost only",
                )
        if options.allowed_hosts and not security.host_is_allowed(host, options.allowed_hosts):
            raise Problem(400, f"the host {(host or '')[:100]!r} is not in allowed_hosts")

    async def _access(self, request: Request) -> Access:
        auth = self._site.options.auth
        if auth is None:
            return EVERYBODY
        if isinstance(auth, Credentials):
            found: Any = auth(request)
        elif inspect.iscoroutinefunction(auth):
            found = await auth(request)
        else:
            found = await run_in_threadpool(auth, request)
            found = await found if inspect.isawaitable(found) else found
        if isinstance(found, Access):
            return found
        challenge = getattr(auth, "challenge", None)
        if challenge is None:
            raise Problem(403, "you are not known here")
        problem = Problem(401, "a name and a password are needed")
        problem.headers = {"www-authenticate": challenge}
        raise problem

    def _check_size(self, request: Request) -> None:
        given, most = request.headers.get("content-length", "0"), body_limit(self._site)
        if not given.isdigit() or int(given) > most:
            raise Problem(413, f"the body has {given[:20]} bytes; the limit is {most}")


def body_limit(site: Site) -> int:
    """The most bytes that a request may have: a payload, escaped as forms do."""
    return 3 * site.worchflow.settings.max_payload_bytes + _ENVELOPE


async def body_of(request: Request, site: Site) -> bytes:
    """The body of a request; raises ``Problem`` when it is larger than it said."""
    most, chunks, length = body_limit(site), [], 0
    async for chunk in request.stream():
        length += len(chunk)
        if length > most:
            raise Problem(413, f"the body has more than {most} bytes, which is the limit")
        chunks.append(chunk)
    return b"".join(chunks)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
