"""A launcher, run as a script: it forks a guard, then becomes the server it was told to start."""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path


def main(leash: int, doomed: str, command: list[str]) -> None:
    """Replace this process by the command, watched from its first moment on."""
    os.set_inheritable(leash, False)
    server = os.getpid()
    if os.fork() == 0:
        _guard(server, leash, doomed)
        os._exit(0)
    os.execv(command[0], command)


def _guard(server: int, leash: int, doomed: str) -> None:
    os.read(leash, 1)  # nobody ever writes: this returns once the owner has let go, or is dead
    if os.getppid() != server:
        return  # the server ended before: its number may belong to another process by now
    os.kill(server, signal.SIGKILL)
    while os.getppid() == server:
        time.sleep(0.01)
    if doomed:
        shutil.rmtree(doomed, ignore_errors=True)
        _remove_if_empty(Path(doomed).parent)


def _remove_if_empty(directory: Path) -> None:
    with suppress(OSError):  # the other server's guard is still at work in it, and comes last
        directory.rmdir()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
