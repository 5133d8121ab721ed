"""From a program to a process of ours that is known to be the one that answers."""

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worchflow_celery.servers.child import Child
from worchflow_celery.servers.errors import PortTaken, ServersUnavailable

HOST = "127.0.0.1"

#: Seconds from the start of a process to its first answer.  A busy machine is slow.
STARTUP = 30.0


def free_port() -> int:
    """Return a port that is free now; nobody can promise that it still is a moment later."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Launch:
    """All it takes to start a server of our own."""

    binary: Path
    #: For its data and its log; created when missing.
    directory: Path
    options: Sequence[str] = ()
    #: Whether the directory goes, too, if we die before we have stopped the server.
    temporary: bool = False
    pick_port: Callable[[], int] = free_port

    def command(self, fixed: Sequence[str], defaults: Mapping[str, str]) -> list[str]:
        """Return the command line; a default gives way, for mongod takes no option twice."""
        given = {option.partition("=")[0] for option in self.options}
        kept = [pair for pair in defaults.items() if pair[0] not in given]
        return [str(self.binary), *fixed, *(part for pair in kept for part in pair), *self.options]

    def spawn(self, command: Sequence[str]) -> Child:
        self.directory.mkdir(parents=True, exist_ok=True)
        doomed = self.directory if self.temporary else None
        return Child(command, log=self.directory / f"{self.binary.name}.log", doomed=doomed)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers at an address."""

    pid: int
    version: str


def first_answer(child: Child, identify: Callable[[], Identity | None], *, what: str) -> Identity:
    """Wait for the first answer, and take it from nobody but our own process."""
    deadline = time.monotonic() + STARTUP
    while child.alive and time.monotonic() < deadline:
        identity = identify()
        if identity is not None:
            return _checked(identity, child, what=what)
        time.sleep(0.01)
    raise failure(child, what=what)


def _checked(identity: Identity, child: Child, *, what: str) -> Identity:
    if identity.pid != child.pid:
        raise PortTaken(
            f"the address of {what} is answered by a process that was not started here "
            f"(pid {identity.pid}; ours is {child.pid}): it is left alone"
        )
    return identity


def failure(child: Child, *, what: str) -> ServersUnavailable:
    """Tell why a server is of no use, in its own last words."""
    fate = f"was not ready within {STARTUP:.0f} seconds" if child.alive else "ended at once"
    log = child.log()
    # Both servers say it in the words of the C library.
    kind = PortTaken if "Address already in use" in log else ServersUnavailable
    return kind(f"{what} {fate}; the last lines of its log:\n{_tail(log)}")


def _tail(log: str) -> str:
    lines = log.splitlines()
    # mongod puts some forty lines of farewell after the one that says what went wrong.
    severe = [line for line in lines if '"s":"E"' in line or '"s":"F"' in line]
    chosen = severe[-4:] + [line for line in lines[-8:] if line not in severe[-4:]]
    return "\n".join(f"  {line[:400]}" for line in chosen) or "  (it is empty)"
