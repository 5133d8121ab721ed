"""A server process that ends with us, however we end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

#: Seconds a server may take to shut down cleanly before it is killed.
PATIENCE = 20.0


class Child:
    """A process of ours, signalled by its pid and never by its name."""

    # A guard beside the server holds the read end of a pipe, the leash, whose write end only we
    # hold: when the kernel closes ours, even after a SIGKILL, the guard kills the server.
    # PR_SET_PDEATHSIG would fire as soon as the *thread* that started the server ends, needs a
    # preexec_fn that is not safe beside threads, and exists on Linux only.

    def __init__(self, command: Sequence[str], *, log: Path, doomed: Path | None) -> None:
        held, write_end = os.pipe()
        self._leash = os.fdopen(write_end, "wb", buffering=0)
        # Children that fork without exec, such as a prefork pool, must not hold it for us.
        os.register_at_fork(after_in_child=self._leash.close)
        self._paused = False
        self._log = log
        self._log_starts_at = log.stat().st_size if log.exists() else 0
        try:
            self._process = _spawn([str(held), str(doomed or ""), *command], held, log)
        except BaseException:
            self._leash.close()
            raise
        finally:
            os.close(held)

    @property
    def pid(self) -> int:
        """The server's own pid: the launcher has become the server, the guard is its child."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """End it cleanly, or by force if that takes too long."""
        self._process.send_signal(signal.SIGTERM)
        self._process.send_signal(signal.SIGCONT)  # a paused process does not hear the first
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._leash.close()

    def pause(self) -> None:
        """Freeze it: its connections stay open, and nothing answers once this returns."""
        if not self._paused:  # the kernel reports a stop once: a second wait would be in vain
            self._process.send_signal(signal.SIGSTOP)
            wait_until(self._has_stopped, within=1)
            self._paused = True

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._paused = False

    def log(self) -> str:
        """Return what this process, and not an earlier one, has written."""
        with self._log.open("rb") as log:
            log.seek(self._log_starts_at)
            return log.read().decode(errors="replace")

    def _has_stopped(self) -> bool:
        try:
            return os.waitpid(self.pid, os.WUNTRACED | os.WNOHANG)[0] == self.pid
        except ChildProcessError:
            return True  # it is gone, and does not answer either


def _spawn(arguments: Sequence[str], held: int, log: Path) -> subprocess.Popen[bytes]:
    guard = Path(__file__).with_name("guard.py")
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(guard), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(held,),
            # mongod refuses to start under a locale that is not installed.
            env={**os.environ, "LC_ALL": "C"},
            # Out of reach of the terminal's Ctrl-C: the workers must go first.
            start_new_session=True,
        )


def wait_until(condition: Callable[[], bool], *, within: float) -> bool:
    """Wait for a condition, at most so many seconds, and return whether it came true."""
    deadline = time.monotonic() + within
    while not (true := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return true
