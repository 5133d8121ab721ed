"""The group of commands: what an error becomes, and what all commands share."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, NoReturn

import click
from celery import Celery
from celery.exceptions import ImproperlyConfigured
from celery.utils.imports import cwd_in_path

from worchflow_celery.app import Worchflow
from worchflow_celery.cli import codes
from worchflow_celery.cli.output import Output
from worchflow_celery.cli.text import safe
from worchflow_celery.models import Execution, Page, StepRecord
from worchflow_celery.redaction import Redactor
from worchflow_celery.runtime import runtime_of


class Refused(click.ClickException):
    """A failure that is told in one line."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        vars(self)["exit_code"] = code

    def show(self, file: Any = None) -> None:
        """Say it on stderr."""
        click.echo(f"error: {safe(self.message)}", err=True)


class Commands(click.Group):
    """A group whose commands end in one line and an exit code, whatever happens."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            answer = super().invoke(ctx)
            sys.stdout.flush()
            return answer
        except BrokenPipeError:
            _close_pipe()
            ctx.exit(codes.PIPE_CLOSED)
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            ctx.exit(codes.INTERRUPTED)
        except codes.EXPECTED as error:
            raise Refused(str(error), codes.code_of(error)) from error


def _close_pipe() -> None:
    """Let the interpreter flush what nobody reads any more to nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass(frozen=True, slots=True)
class Session:
    """What a command works with; of payloads it reads what may be shown."""

    worchflow: Worchflow
    out: Output

    @property
    def redactor(self) -> Redactor:
        """What is asked before a payload is shown."""
        return Redactor(self.worchflow.settings.redact)

    def get(self, id: str) -> Execution:
        """An execution; raises ``ExecutionNotFound``."""
        return self.redactor.execution(self.worchflow.get(id))

    def steps(self, execution: Execution) -> list[StepRecord]:
        """The steps of an execution."""
        found = self.worchflow.steps(execution.id)
        return [self.redactor.step(execution.flow, step) for step in found]

    def find(self, **arguments: Any) -> Page:
        """A page of executions."""
        page = self.worchflow.find(**arguments)
        return Page([self.redactor.execution(one) for one in page], page.cursor)


@click.group(name="worchflow", cls=Commands)
def worchflow(**preload: Any) -> None:
    """See and operate durable flows.

    Lists are tables on a terminal, tab-separated in a pipe, JSON Lines with --json. An id may be
    cut to its first 6 or more characters.
    """


def with_session(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command its session, and the option ``--json``."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON; lists as JSON Lines.")
    @click.pass_context
    @wraps(function)
    def call(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
        bound = bound_app(ctx)
        try:
            function(Session(bound, Output(as_json=as_json, colour=not ctx.obj.no_color)), **given)
        finally:
            bound.close()

    return call


def bound_app(ctx: click.Context) -> Worchflow:
    """The binding of the app that ``-A`` names, with all its flows.

    Without ``-A`` Celery makes up an app, which has none: that is refused.
    """
    app: Celery = ctx.obj.app
    if ctx.find_root().params.get("app") is None and not hasattr(app, "worchflow"):
        fail(f"no app is given: celery -A yourapp worchflow {ctx.info_name}", codes.USAGE)
    try:
        with cwd_in_path():
            app.loader.import_default_modules()
            app.finalize()
        runtime = runtime_of(app)
        assert runtime.settings
    except ImproperlyConfigured:
        raise
    except Exception as error:  # an app's modules may raise anything
        fail(f"the app cannot be loaded: {type(error).__name__}: {error}", codes.USAGE)
    bound: Worchflow = vars(app)["worchflow"]
    return bound


def fail(message: str, code: int) -> NoReturn:
    """End a command."""
    raise Refused(message, code)
