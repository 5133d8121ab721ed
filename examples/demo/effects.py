"""The side-effect log of the demo: who did what, and when.

A line is one write to a file opened for appending: whole also when its writer is killed.
"""

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

#: Where the log is, and what the worker that writes is called; no log without them.
LOG, WORKER = "DEMO_EFFECTS", "DEMO_WORKER"


@dataclass(frozen=True, slots=True)
class Effect:
    """One line of the log."""

    at: datetime
    worker: str
    #: ``ready`` (a worker), ``begin`` (a step, inside its function), ``stored`` (its checkpoint).
    what: str
    #: The step's idempotency key, which is the same each time that it runs: execution and step.
    key: str = ""

    @property
    def execution(self) -> str:
        """The execution's id."""
        return self.key.partition(":")[0]

    @property
    def step(self) -> str:
        """The step's name."""
        return self.key.partition(":")[2]


def write(what: str, key: str = "") -> None:
    """Append a line, if there is a log."""
    if LOG not in os.environ:
        return
    effect = Effect(datetime.now(UTC), os.environ.get(WORKER, "?"), what, key)
    line = json.dumps({**asdict(effect), "at": effect.at.isoformat()}) + "\n"
    descriptor = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read(log: Path) -> list[Effect]:
    """All lines so far, in the order in which they were written."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [
        Effect(**{**fields, "at": datetime.fromisoformat(fields["at"])})
        for fields in map(json.loads, lines)
    ]
