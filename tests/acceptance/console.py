"""The app that commands are run on, and a console to run them from: real processes, a real pty."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

from celery import Celery
from celery.bin.base import CLIContext
from click.testing import CliRunner
from pydantic import BaseModel

from tests.support import ROOT, Bench, Worker, eventually, workers
from worchflow_celery import Event, ExecutionHandle, Step, Worchflow
from worchflow_celery.cli import worchflow as commands

MODULE = "tests.acceptance.console"
#: What a terminal would obey: colours, a title, a link, a direction, an erased line.
HOSTILE = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202ereversed\r\x08"


class Payment(BaseModel):
    amount: int
    customer_id: str
    note: str | None = None


def hide(flow: str, value: Any) -> str:
    """What a place that hides everything shows."""
    return f"[of {flow}]"


def build(bench: Bench, *, redact: bool = False) -> tuple[Celery, Worchflow]:
    """The app on a place of its own."""
    prefix = bench.prefix
    app = Celery(prefix, broker=bench.redis_url, set_as_current=False)
    app.conf.update(task_default_queue=prefix, task_ignore_result=True)
    worchflow = Worchflow(
        app,
        database_url=bench.database_url,
        prefix=prefix,
        redact=hide if redact else None,
    )

    @worchflow.flow("pay", retries=1, retry_delay=0.1, search=("customer_id",))
    def pay(event: Event[Payment], step: Step) -> dict[str, Any]:
        """Charge a customer."""
        event.logger.warning("charging %s %s", event.data.customer_id, HOSTILE)
        step.run("Validate", abs, event.data.amount)
        if event.data.amount > 900:
            step.run("Charge", _refuse, event.data.customer_id)
        return {"charged": event.data.amount, "note": event.data.note}

    @worchflow.flow("approve")
    def approve(event: Event[Any], step: Step) -> Any:
        return step.wait_for_signal("answer", timeout=3600)

    @worchflow.flow("daily", cron="0 0 * * *")
    def daily(event: Event[None]) -> str:
        return "done"

    return app, worchflow


def _refuse(customer_id: str) -> None:
    raise ConnectionError(f"gateway timeout for {customer_id} {HOSTILE}")


if "TEST_PREFIX" in os.environ:
    names = ("TEST_REDIS_URL", "TEST_DATABASE_URL", "TEST_PREFIX")
    place = Bench(*(os.environ[name] for name in names))
    app, worchflow = build(place, redact="TEST_REDACT" in os.environ)


@dataclass(frozen=True)
class Answer:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        """The cells of what it printed into a pipe."""
        return [line.split("\t") for line in self.out.splitlines()]


@dataclass
class Console:
    """Runs ``celery -A … worchflow …``."""

    bench: Bench
    directory: Path
    worker: Callable[..., Worker]
    worchflow: Worchflow
    #: Executions by what became of them.
    done: dict[str, ExecutionHandle[Any]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        return {
            **clean,
            "TEST_REDIS_URL": self.bench.redis_url,
            "TEST_DATABASE_URL": self.bench.database_url,
            "TEST_PREFIX": self.bench.prefix,
            "COLUMNS": "160",
        }

    def command(self, *words: str, app: str | None = MODULE) -> list[str]:
        chosen = ["-A", app] if app else []
        return [sys.executable, "-m", "celery", *chosen, "worchflow", *words]

    def run(
        self,
        *words: str,
        stdin: str = "",
        redis_url: str | None = None,
        database_url: str | None = None,
        redact: bool = False,
    ) -> Answer:
        """Run a command to its end in this process, as `celery` runs it, its output in pipes."""
        with self._app(redis_url, database_url, redact) as app:
            runner = CliRunner(env={"COLUMNS": "160", "NO_COLOR": None})
            ended = runner.invoke(commands, words, stdin, obj=CLIContext(app, False, None))
        if ended.exception is not None and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        return Answer(ended.exit_code, ended.stdout, ended.stderr)

    def on_screen(self, *words: str) -> str:
        """The same on a terminal that can only show; what it shows, without colours."""
        screen = _Screen()
        shown = redirect_stdout(screen), redirect_stderr(screen), suppress(SystemExit)
        with self._app() as app, shown[0], shown[1], shown[2]:
            commands.main(list(words), "worchflow", obj=CLIContext(app, True, None))
        return screen.getvalue()

    @contextmanager
    def _app(
        self, redis_url: str | None = None, database_url: str | None = None, redact: bool = False
    ) -> Iterator[Celery]:
        """The app, as another process has it."""
        given = {"redis_url": redis_url, "database_url": database_url}
        place = replace(self.bench, **{name: url for name, url in given.items() if url})
        app, bound = build(place, redact=redact)
        with app:
            yield app
        bound.close()

    def process(self, *words: str, app: str | None = MODULE, **environment: str) -> Answer:
        """Run a command to its end in a process of its own, its output in pipes."""
        ended = subprocess.run(
            self.command(*words, app=app),
            cwd=ROOT,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Answer(ended.returncode, ended.stdout, ended.stderr)

    def begin(self, *words: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a command and leave it running."""
        return subprocess.Popen(
            self.command(*words),
            cwd=ROOT,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def on_terminal(self, *words: str, keys: str = "", **environment: str) -> Answer:
        """Run a command on a terminal; the keys are pressed once it has asked something."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(ROOT)
            command = self.command(*words)
            os.execve(command[0], command, {**self.environment, **environment})
        text, pressed = "", not keys
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0]:
                piece = _read(terminal)
                if not piece:
                    break
                text += piece
            if not pressed and "[y/N]" in text:
                os.write(terminal, keys.encode())
                pressed = True
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        return Answer(os.waitstatus_to_exitcode(status), text, "")


class _Screen(StringIO):
    def isatty(self) -> bool:
        return True


def _read(terminal: int) -> str:
    with suppress(OSError):  # the other end is closed
        return os.read(terminal, 65536).decode(errors="replace")
    return ""


@contextmanager
def console(bench: Bench, directory: Path) -> Iterator[Console]:
    """A console beside a worker, with an execution of each kind."""
    celery, bound = build(bench)
    with workers(bench, directory, MODULE) as start:
        start("-c", "2").ready()
        made = Console(bench, directory, start, bound)
        made.done["completed"] = bound.send("pay", {"amount": 100, "customer_id": "7"})
        made.done["failed"] = bound.send("pay", {"amount": 950, "customer_id": "cust_7"})
        made.done["waiting"] = bound.send("approve", {"text": HOSTILE})
        for status, handle in made.done.items():
            eventually(lambda s=status, h=handle: h.status == s, within=30, what=status)
        yield made
    bound.close()
    celery.close()
