"""What every measure is handed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.feed import Feeders
from benchmarks.place import Place
from benchmarks.plan import Plan
from worchflow_celery.servers import Servers


@dataclass(frozen=True, slots=True)
class Stage:
    """One pair of servers, and how much is to be measured on it."""

    servers: Servers
    feeders: Feeders
    plan: Plan
    #: For the workers' logs.
    directory: Path

    @contextmanager
    def place(self, *, probed: bool = False) -> Iterator[Place]:
        """A place of its own for one measure, cleaned after it."""
        urls = (self.servers.redis_url, self.servers.database_url)
        place = Place.new(*urls, probed=probed)
        try:
            yield place
        finally:
            place.clean()
