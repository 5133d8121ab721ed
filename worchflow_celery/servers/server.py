"""What Redis and MongoDB servers have in common: an address, a process, a life we control."""

import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import ClassVar, Self

from worchflow_celery.servers.binaries import VARIABLES
from worchflow_celery.servers.child import Child
from worchflow_celery.servers.errors import PortTaken, ServersUnavailable, masked
from worchflow_celery.servers.launch import Identity, Launch, first_answer

#: How often a start tries another port, or its own again.
ATTEMPTS = 5


class Server(ABC):
    """A server of our own, given a `Launch`; or somebody else's, given its URL.

    Ours keeps its port and its directory over every stop, kill and restart.
    """

    #: The name of its program.
    name: ClassVar[str]
    #: What its driver raises over a malformed URL, or a server that does not answer as it should.
    errors: ClassVar[tuple[type[Exception], ...]]

    def __init__(self, source: Launch | str) -> None:
        self._launch = source if isinstance(source, Launch) else None
        self._given_url = source if isinstance(source, str) else ""
        self._port: int | None = None
        self._version = ""
        self._child: Child | None = None

    @property
    def owned(self) -> bool:
        """Whether it is ours to stop."""
        return self._launch is not None

    @property
    def running(self) -> bool:
        """Whether our process lives, be it paused; always false for somebody else's server."""
        return self._child is not None and self._child.alive

    @property
    def pid(self) -> int:
        return self._running_child("tell the pid of").pid

    @property
    def port(self) -> int:
        if self._port is None:
            raise ServersUnavailable(f"{self.name} was never started: it has no port yet")
        return self._port

    @property
    def url(self) -> str:
        return self._given_url or self._url_at(self.port)

    @property
    def version(self) -> str:
        """What it called itself when it was last started; empty before."""
        return self._version

    def start(self) -> None:
        """Start it and wait until it takes writes.  Somebody else's only has to answer."""
        if self._launch is None:
            self._visit()
        elif not self.running:
            self.stop()  # it may have ended by itself, and its guard still waits for our word
            self._start(self._launch)

    def stop(self) -> None:
        """End it cleanly, if it is ours and runs."""
        child, self._child = self._child, None
        if child is not None:
            child.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        self._running_child("kill").kill()

    def pause(self) -> None:
        """Freeze it: connections stay open, and nobody answers."""
        self._running_child("pause").pause()

    def resume(self) -> None:
        self._running_child("resume").resume()

    def restart(self) -> None:
        """Stop it if it runs, and start it on the same port and directory."""
        self._assert_owned("restart")
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def _url_at(self, port: int) -> str: ...

    @abstractmethod
    def _command(self, launch: Launch, port: int) -> list[str]: ...

    @abstractmethod
    def _identify(self, port: int) -> Identity | None:
        """Ask who answers at a port of this machine; None as long as nobody does."""

    @abstractmethod
    def _look(self, url: str) -> tuple[int, str]:
        """Return the port and the version of somebody else's server."""

    @abstractmethod
    def _make_writable(self, child: Child, port: int) -> None:
        """Do what is missing between the first answer and the first write."""

    def _assert_owned(self, verb: str) -> None:
        if not self.owned:
            raise ServersUnavailable(
                f"cannot {verb} the {self.name} at {masked(self._given_url)}: it was not started "
                f"here; unset {VARIABLES[self.name]} to get one that is"
            )

    def _running_child(self, verb: str) -> Child:
        self._assert_owned(verb)
        if self._child is None or not self._child.alive:
            raise ServersUnavailable(
                f"cannot {verb} {self.name}: it is not running, start it first"
            )
        return self._child

    def _visit(self) -> None:
        try:
            self._port, self._version = self._look(self._given_url)
        except self.errors as error:
            raise ServersUnavailable(
                f"the {self.name} at {masked(self._given_url)}, which {VARIABLES[self.name]} "
                f"names, cannot be used: {type(error).__name__}"
            ) from None  # the driver's own words may quote the password of a malformed URL

    def _start(self, launch: Launch) -> None:
        for attempt in range(1, ATTEMPTS):
            with suppress(PortTaken):
                self._start_at(launch, self._port or launch.pick_port())
                return
            if self._port is not None:
                # A client that retried while we were down may hold our port as its own end.
                time.sleep(0.1 * 2**attempt)
        self._start_at(launch, self._port or launch.pick_port())

    def _start_at(self, launch: Launch, port: int) -> None:
        child = launch.spawn(self._command(launch, port))
        try:
            what = f"{self.name} on port {port}"
            identity = first_answer(child, lambda: self._identify(port), what=what)
            self._make_writable(child, port)
        except BaseException:
            child.kill()
            raise
        self._child, self._port, self._version = child, port, identity.version
