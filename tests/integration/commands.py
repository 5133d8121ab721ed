"""The commands that MongoDB gets, written down."""

from collections.abc import Iterator
from contextlib import contextmanager

from pymongo import monitoring


class Commands(monitoring.CommandListener):
    """Writes down all commands, while a test wants it, with one prefix's collections."""

    def __init__(self) -> None:
        self.prefix: str | None = None
        self.seen: list[str] = []

    @contextmanager
    def watching(self, prefix: str) -> Iterator[list[str]]:
        """A block, and the commands that MongoDB got in it."""
        self.prefix, self.seen = prefix, []
        seen = self.seen
        try:
            yield seen
        finally:
            self.prefix = None

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if self.prefix is not None:
            collection = str(event.command.get(event.command_name))
            self.seen.append(f"{event.command_name} {collection.removeprefix(self.prefix + '_')}")

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...
