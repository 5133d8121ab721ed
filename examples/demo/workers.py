"""Worker processes of the demo, each with all of its pool in a process group of its own."""

import os
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from examples.demo import effects

ROOT = Path(__file__).parent.parent.parent
#: What one would type; the demo adds a name and its observers.
COMMAND = "celery -A examples.demo.flows worker"


class WorkerEnded(RuntimeError):
    """A worker has ended by itself."""


class Worker:
    """A `celery worker`. It lives no longer than this process: see `examples.demo.observed`."""

    def __init__(self, name: str, directory: Path, *, processes: int) -> None:
        self.name = name
        self._log = directory / f"worker-{name}.log"
        own = f"-c {processes} -n {name}@%h --include examples.demo.observed"
        quick = "--without-gossip --without-mingle --loglevel INFO"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *shlex.split(f"{COMMAND} {own} {quick}")],
                cwd=ROOT,
                # A killed worker leaves its temporary files behind: here they go with the rest.
                env={**os.environ, effects.WORKER: name, "TMPDIR": str(directory)},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise `WorkerEnded`, with its last words, unless it runs."""
        code = self._process.poll()
        if code is not None:
            words = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
            raise WorkerEnded(f"worker {self.name} ended by itself with code {code}:\n{words}")

    def kill(self) -> None:
        """SIGKILL to it and to all that it started, as when a machine loses its power."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
