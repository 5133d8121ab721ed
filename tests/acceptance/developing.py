"""A running `dev` on a terminal of its own, for a project of one file."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.acceptance.console import Answer
from tests.support import ROOT, eventually

APP = """
from celery import Celery
from worchflow_celery import Worchflow

app = Celery("shop", broker="redis://127.0.0.1:1/0")
app.conf.worchflow_database_url = "mongodb://127.0.0.1:1/shop"
worchflow = Worchflow(app)


@worchflow.flow("greet", cron="0 0 1 1 *")
def greet(event, step):
    return step.run("Say", lambda: "hello")


@worchflow.flow("hold")
def hold(event, step):
    step.run("Wait", lambda: open(event.data["path"]).read())
"""


class Development:
    """A running `dev` on a terminal of its own."""

    def __init__(self, project: Path, *options: str, **environment: str) -> None:
        self.project = project
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in _LEFT_OUT},
            "PYTHONPATH": str(ROOT),
            **environment,
        }
        self.text = ""
        self._hung_up = False
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(project)
            command = [*_CELERY, "-A", "shop", "worchflow", "dev", "-c", "1", *options]
            os.execve(sys.executable, command, self.environment)
        self._code: int | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):
            while piece := os.read(self._terminal, 65536):
                self.text += piece.decode(errors="replace")

    def hears(self, words: str, *, within: float = 40, times: int = 1) -> None:
        eventually(
            lambda: self.text.count(words) >= times, within=within, what=f"{words!r}\n{self.text}"
        )

    def press(self, key: str) -> None:
        os.write(self._terminal, key.encode())

    def hang_up(self) -> None:
        """Close the window that it runs in."""
        self._hung_up = True
        os.close(self._terminal)

    def ended(self, within: float = 40) -> int:
        eventually(lambda: os.waitid(os.P_PID, self.pid, _LOOK), within=within, what="its end")
        _, status = os.waitpid(self.pid, 0)
        self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def run(self, *words: str) -> Answer:
        """A command in another terminal, which has been told where the servers are."""
        variables = self.project / ".worchflow/dev/env"
        told = re.findall(r"export (\w+)='?([^'\n]*)'?", variables.read_text())
        ended = subprocess.run(
            [*_CELERY, "-A", "shop", "worchflow", *words],
            cwd=self.project,
            env={**self.environment, **dict(told)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Answer(ended.returncode, ended.stdout, ended.stderr)

    def send(self, flow: str = "greet") -> str:
        return str(json.loads(self.run("send", flow, "--wait").out))

    def processes(self) -> set[int]:
        """All that it has started, and what those have."""
        return _below(self.pid)

    def end(self) -> None:
        if self._code is None:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
        if not self._hung_up:
            os.close(self._terminal)


#: Nobody who runs the tests wants to see windows.
_LEFT_OUT = ("NO_COLOR", "DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
_CELERY = [sys.executable, "-m", "celery"]
_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT


def _below(pid: int) -> set[int]:
    found: set[int] = set()
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, children.read_text().split()):
                found |= {child} | _below(child)
    return found


def living(pids: set[int]) -> set[int]:
    return {pid for pid in pids if _state(pid) not in ("", "Z")}


def _state(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


@contextmanager
def developing(project: Path) -> Iterator[Callable[..., Development]]:
    """Starts `dev` in a project; what still runs at the end is ended."""
    (project / "shop.py").write_text(APP)
    begun: list[Development] = []

    def begin(*options: str, **environment: str) -> Development:
        begun.append(Development(project, *options, **environment))
        return begun[-1]

    try:
        yield begin
    finally:
        for one in begun:
            one.end()
