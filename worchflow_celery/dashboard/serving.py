"""Serve the dashboard by itself."""

from collections.abc import Sequence
from pathlib import Path

import uvicorn
from celery import Celery

from worchflow_celery.dashboard.app import create_app
from worchflow_celery.dashboard.security import Auth, Role, basic, is_loopback
from worchflow_celery.errors import InvalidOption

DEFAULT_PORT = 8733


def run(
    celery_app: Celery,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    *,
    auth: Auth | None = None,
    read_only: bool = False,
    root_path: str = "",
    trusted_origins: Sequence[str] = (),
    insecure_no_auth: bool = False,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises ``InvalidOption`` for an address that others can reach without ``auth``, and ``OSError``
    for one that is taken.
    """
    server(
        celery_app,
        host,
        port,
        auth=auth,
        read_only=read_only,
        root_path=root_path,
        trusted_origins=trusted_origins,
        insecure_no_auth=insecure_no_auth,
    ).run()


def server(
    celery_app: Celery,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    *,
    auth: Auth | None = None,
    read_only: bool = False,
    root_path: str = "",
    trusted_origins: Sequence[str] = (),
    insecure_no_auth: bool = False,
) -> uvicorn.Server:
    """The server, for whoever runs it beside other things."""
    if auth is None and not insecure_no_auth and not is_loopback(_bracketed(host)):
        raise InvalidOption(
            f"host is {host!r}: without authentication the dashboard is for this machine only; "
            "give it auth (--auth-file), or let it listen on 127.0.0.1 behind a proxy that asks"
        )
    app = create_app(
        celery_app,
        auth,
        read_only=read_only,
        trusted_origins=trusted_origins,
        insecure_no_auth=insecure_no_auth,
    )
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        root_path=root_path,
        log_level="warning",
        # A page that listens to the stream of events would keep the server for ever.
        timeout_graceful_shutdown=1,
        server_header=False,
        lifespan="off",
    )
    return uvicorn.Server(config)


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
