"""The lines that the attempts of executions log: taken in no time, written by a thread."""

from collections.abc import Mapping
from typing import Any

from worchflow_celery import codec
from worchflow_celery.leases import Lease
from worchflow_celery.options import shown
from worchflow_celery.outbox import Outbox
from worchflow_celery.outcome import cut
from worchflow_celery.runtime import Process
from worchflow_celery.store.logs import KEPT, NewLine

_LARGEST_FIELDS = 8192
_MOST_FIELDS = 50


class Logbook:
    """The lines that are logged under one lease, by whatever runs under it."""

    def __init__(self, process: Process, lease: Lease) -> None:
        self._outbox: Outbox[NewLine] = process.logs
        self._now = process.store.database.now
        self._claim = lease.claim
        self._numbers = lease.lines
        #: For a handler that is called again for the sake of what it says, not of what it does.
        self.silent = False

    def write(self, level: str, message: str, fields: Mapping[str, Any], step: str | None) -> None:
        """Keep a line; never fails for MongoDB's sake, and never waits."""
        number = KEPT + 1 if self.silent else next(self._numbers)
        if number > KEPT:
            return
        self._outbox.put(
            NewLine(
                execution_id=self._claim.id,
                epoch=self._claim.epoch,
                number=number,
                at=self._now(),
                level=level,
                message=cut(message),
                fields=_encoded(fields) if fields else None,
                step=step,
                attempt=self._claim.attempt,
            )
        )


def _encoded(fields: Mapping[str, Any]) -> str:
    try:
        return codec.encode(dict(fields), limit=_LARGEST_FIELDS)
    except codec.UnencodableValue:  # too large as well: as texts, then, and short
        some = list(fields.items())[:_MOST_FIELDS]
        return codec.encode({cut(str(name))[:100]: shown(value, 100) for name, value in some})
