"""How the processes of a worker learn that it shuts down."""

import mmap
from enum import IntEnum


class Phase(IntEnum):
    """How urgent it is."""

    RUNNING = 0
    #: SIGTERM: flows stop at their next step boundary.
    WARM = 1
    #: SIGQUIT: whatever is raised into user code comes from the shutdown.
    COLD = 2


class Shutdown:
    """One byte that a worker shares with the pool processes it forks.

    Celery tells its pool processes nothing: they run their task to the end. A shared anonymous
    page costs them one memory read per step to know better.
    """

    def __init__(self) -> None:
        self._page: mmap.mmap | None = None
        self._phase = Phase.RUNNING

    def share(self) -> None:
        """Make the page; call it before the pool forks."""
        self._page = mmap.mmap(-1, 1)
        self._phase = Phase.RUNNING

    def begin(self, phase: Phase) -> None:
        """Tell all processes that share the page."""
        self._phase = phase
        if self._page is not None:
            self._page[0] = phase

    def end(self) -> None:
        """The worker has ended, and this process goes on without it."""
        self._page = None
        self._phase = Phase.RUNNING

    @property
    def phase(self) -> Phase:
        """How far the worker has got with it."""
        return Phase(self._page[0]) if self._page is not None else self._phase

    @property
    def begun(self) -> bool:
        """Whether a flow is to stop at its next step boundary."""
        return self.phase is not Phase.RUNNING
