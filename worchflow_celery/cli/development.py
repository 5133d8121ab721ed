"""`dev`: all that an app needs, in one terminal."""

import importlib.util
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import click

from worchflow_celery.cli.group import bound_app, worchflow
from worchflow_celery.cli.text import padded, safe
from worchflow_celery.demo import DEMO
from worchflow_celery.dev import Browser, Places, Supervisor
from worchflow_celery.dev.keys import Keys
from worchflow_celery.dev.places import VARIABLES
from worchflow_celery.runtime import Runtime

_PORT = 8733
#: What is started instead of `celery` for an app that gets the demo.
_WITH_DEMO = "worchflow_celery.dev"
_LOOPBACK = "127.0.0.1"
_COLOURS = {"worker": "cyan", "beat": "magenta", "dashboard": "blue"}


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What the command line says."""

    persist: bool
    concurrency: int
    port: int
    no_open: bool
    no_demo: bool


@worchflow.command()
@click.option("--redis", help="Use this Redis: a URL.")
@click.option("--mongo", help="Use this MongoDB: a URL.")
@click.option("--persist", is_flag=True, help="Keep the data in .worchflow/dev.")
@click.option("--concurrency", "-c", type=click.IntRange(1), default=4, show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=_PORT, help="Of the dashboard.")
@click.option("--no-open", is_flag=True, help="Open no browser.")
@click.option("--no-demo", is_flag=True, help="Leave the demo out.")
@click.pass_context
def dev(ctx: click.Context, /, redis: str | None, mongo: str | None, **given: Any) -> None:
    """Run servers, worker, scheduler and dashboard; Ctrl-C leaves nothing behind."""
    wishes = _Wishes(**given)
    runtime = bound_app(ctx).runtime
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    places = Places(runtime, redis, mongo, wishes.persist)
    supervisor: Supervisor | None = None
    try:
        places.start()
        commands = _commands(ctx, wishes, demo=places.owned and not wishes.no_demo)
        say = _Voice(not ctx.obj.no_color)
        supervisor = Supervisor(commands, places.environment, say)
        supervisor.start()
        with Keys() as keys:
            _introduce(runtime, places, commands, keys, wishes)
            url = _url(commands)
            if url is not None:
                supervisor.show_in(Browser(url, say, at_once=not wishes.no_open))
            supervisor.run(keys)
    finally:
        # A second Ctrl-C must not cut the cleaning short.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if supervisor is not None:
            supervisor.stop()
        places.stop()


class _Voice:
    """Prints the lines of all processes, each with its name."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour and sys.stdout.isatty()

    def __call__(self, name: str, line: str) -> None:
        head = f"{padded(name, 9)} │"
        if self._colour:
            head = click.style(head, fg=_COLOURS.get(name, "yellow"))
        with suppress(OSError):  # a terminal that is gone hears nothing
            click.echo(f"{head} {safe(line)}", color=self._colour)


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)


def _commands(ctx: click.Context, wishes: _Wishes, *, demo: bool) -> dict[str, list[str]]:
    app = ["--quiet", "-A", str(ctx.find_root().params["app"])]
    shown = [_WITH_DEMO if demo else "celery", *app]
    quick = ["--without-gossip", "--without-mingle"]
    where = ["--host", _LOOPBACK, "--port", str(_free(wishes.port))]
    pages = {"dashboard": [*shown, "worchflow", "dashboard", *where]} if _has_dashboard() else {}
    beat = ["beat", "-l", "WARNING", "-S", "worchflow_celery.Scheduler", "--pidfile="]
    return {
        **pages,  # first: somebody waits for them
        "worker": [*shown, "worker", "-l", "INFO", "-c", str(wishes.concurrency), *quick],
        "beat": ["celery", *app, *beat],
    }


def _has_dashboard() -> bool:
    return all(importlib.util.find_spec(name) for name in ("starlette", "jinja2", "uvicorn"))


def _free(port: int) -> int:
    """The port, or another one when it is taken."""
    for wanted in (port, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_LOOPBACK, wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return port


def _url(commands: Mapping[str, list[str]]) -> str | None:
    return f"http://{_LOOPBACK}:{commands['dashboard'][-1]}" if "dashboard" in commands else None


def _introduce(
    runtime: Runtime,
    places: Places,
    commands: Mapping[str, list[str]],
    keys: Keys,
    wishes: _Wishes,
) -> None:
    url = _url(commands)
    facts = _facts(runtime, places, commands, wishes) | {
        "Flows": "  ".join(sorted(runtime.definitions)) or "none yet: write one, and it is there",
    }
    if commands["worker"][0] == _WITH_DEMO:
        facts["Demo"] = f"{DEMO}, in this mode only (--no-demo leaves it out)"
    if keys.there:
        pages = "o open · s send · " if url else ""
        facts["Keys"] = f"{pages}r restart · k kill worker · q quit"
    click.echo("\n  worchflow dev   not for production, no authentication, bound to 127.0.0.1")
    for name, fact in facts.items():
        click.echo(f"  {padded(name, 10)}  {safe(fact)}")
    click.echo()
    sys.stdout.flush()


def _facts(
    runtime: Runtime, places: Places, commands: Mapping[str, list[str]], wishes: _Wishes
) -> dict[str, str]:
    scheduled = [one for one in runtime.definitions.values() if one.options.cron]
    worker = commands["worker"]
    fate = "kept" if wishes.persist else "removed on exit"
    return {
        "Dashboard": _url(commands) or 'none: pip install "worchflow-celery[dashboard]"',
        "Worker": f"{worker[worker.index('-c') + 1]} processes, reload on *.py",
        "Beat": f"{len(scheduled)} schedule{'s' * (len(scheduled) != 1)}",
        "Redis": places.shown(places.redis),
        "MongoDB": places.shown(places.mongod),
        "Data": f"{os.path.relpath(places.directory)} ({fate})",
        "Terminals": f". {VARIABLES}",
    }
