"""`dashboard` and `openapi`: the pages, which need an extra."""

import importlib
import json
from pathlib import Path
from typing import Any

import click

from worchflow_celery.cli import codes
from worchflow_celery.cli.group import bound_app, fail, worchflow
from worchflow_celery.errors import InvalidOption

#: By name: without the extra, what is imported here must not keep the other commands from working.
_DASHBOARD = "worchflow_celery.dashboard"
_PORT = 8733


@worchflow.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=_PORT, show_default=True)
@click.option("--read-only", is_flag=True, help="Show everything and change nothing.")
@click.option(
    "--auth-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Users: a line name:role:password for each.",
)
@click.option("--root-path", default="", help="The path under which a proxy has it.")
@click.option("--trusted-origin", multiple=True, help="An origin that may send forms, too.")
@click.option("--insecure-no-auth", is_flag=True, help="Let everybody in who reaches the address.")
@click.pass_context
def dashboard(
    ctx: click.Context,
    /,
    auth_file: Path | None,
    trusted_origin: tuple[str, ...],
    **given: Any,
) -> None:
    """Serve the dashboard until Ctrl-C."""
    serving = _module(f"{_DASHBOARD}.serving")
    auth = serving.auth_file(auth_file) if auth_file else None
    app = bound_app(ctx).app
    place = f"http://{given['host']}:{given['port']}"
    try:
        server = serving.server(app, auth=auth, trusted_origins=trusted_origin, **given)
    except InvalidOption as error:
        fail(str(error), codes.REFUSED)
    click.echo(f"dashboard at {place}{given['root_path']}", err=True)
    try:
        server.run()
    except (OSError, SystemExit) as error:  # uvicorn leaves when the address is taken
        fail(f"nothing can be served at {place}: is it taken? ({error})", codes.UNREACHABLE)


@worchflow.command()
def openapi() -> None:
    """Print the description of the dashboard's JSON API."""
    click.echo(json.dumps(_module(f"{_DASHBOARD}.openapi").describe("/api/v1"), indent=2))


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        fail(str(error), codes.USAGE)
