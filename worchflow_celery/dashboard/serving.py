"""Serve the dashboard by itself."""

from pathlib import Path
from typing import Any

import uvicorn
from celery import Celery
from starlette.types import ASGIApp, Receive, Scope, Send

from worchflow_celery.dashboard.app import create_app
from worchflow_celery.dashboard.security import Auth, Role, basic, is_loopback
from worchflow_celery.errors import InvalidOption

DEFAULT_PORT = 8733


def run(
    celery_app: Celery,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    *,
    root_path: str = "",
    auth: Auth | None = None,
    **options: Any,
) -> None:
    """Serve until SIGINT or SIGTERM; ``options`` are those of ``create_app``.

    Raises ``InvalidOption`` for an address that others can reach without ``auth``, and ends with
    exit code 1 when the port is taken.
    """
    server(celery_app, host, port, root_path=root_path, auth=auth, **options).run()


def server(
    celery_app: Celery,
    host: str,
    port: int,
    *,
    root_path: str = "",
    auth: Auth | None = None,
    **options: Any,
) -> uvicorn.Server:
    """The server, for whoever runs it beside other things."""
    alone = auth is None and not options.get("insecure_no_auth")
    if alone and not is_loopback(_bracketed(host)):
        raise InvalidOption(
            f"host is {host!r}: without authentication the dashboard is for this machine only; "
            "give it auth (--auth-file), or let it listen on 127.0.0.1 behind a proxy that asks"
        )
    config = uvicorn.Config(
        Under(root_path, create_app(celery_app, auth, **options)),
        host=host,
        port=port,
        log_level="warning",
        # A page that listens to the stream of events would keep the server for ever.
        timeout_graceful_shutdown=1,
        server_header=False,
        lifespan="off",
    )
    return uvicorn.Server(config)


class Under:
    """Puts an app under a path, whether the proxy before it leaves the path in or takes it off."""

    def __init__(self, path: str, app: ASGIApp) -> None:
        self._path = f"/{path.strip('/')}" if path.strip("/") else ""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with the whole path, and which part of it is ours."""
        if "path" in scope:
            given = scope["path"]
            inside = given == self._path or given.startswith(f"{self._path}/")
            whole = given if inside else self._path + given
            scope = {**scope, "root_path": self._path, "path": whole}
        await self._app(scope, receive, send)


def auth_file(path: str | Path) -> Auth:
    """Users from a file with a line ``name:role:password`` for each.

    Not by the command line: what stands there, others see. Raises ``InvalidOption`` naming the
    line that is none.
    """
    users: dict[str, tuple[str, Role]] = {}
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        role, _, password = rest.partition(":")
        try:
            users[name] = (password, role)  # type: ignore[assignment]
            basic({name: users[name]})
        except ValueError as error:
            raise InvalidOption(f"{path}, line {number}: {error}; name:role:password") from None
    if not users:
        raise InvalidOption(f"{path} names no user: write a line name:role:password")
    return basic(users)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
