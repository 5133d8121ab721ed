"""A process of development: its lines go to one place, and it ends with us."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from worchflow_celery.servers import guard

#: Seconds that a process may take to end by itself.
_PATIENCE = 10.0

Say = Callable[[str, str], None]


class Process:
    """A Python module with its arguments, in a session of its own, which Ctrl-C does not reach.

    A guard beside it kills it when we are gone, even by SIGKILL.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], say: Say
    ) -> None:
        self.name = name
        self._command = [sys.executable, "-m", *command]
        self._environment = dict(environment)
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._leash: int | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """How it ended; ``None`` while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it."""
        held, self._leash = os.pipe()
        launcher = [sys.executable, "-I", "-S", str(guard.__file__), str(held), ""]
        try:
            self._process = subprocess.Popen(
                [*launcher, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(held,),
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._environment},
                start_new_session=True,
            )
        finally:
            os.close(held)
        threading.Thread(target=self._pump, args=(self._process,), daemon=True).start()

    def terminate(self) -> None:
        """Ask it to end: a worker hands over what it runs."""
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Wait for its end after ``terminate``; what takes too long is killed."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE)
        self.kill()

    def kill(self) -> None:
        """End it as a crash would, with all that it has started."""
        process, self._process = self._process, None
        if process is not None:
            # Its session holds its own children and the guard, whose ids nobody else can have.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self._leash is not None:
            os.close(self._leash)
            self._leash = None

    def _pump(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._say(self.name, line.decode(errors="replace").rstrip())
