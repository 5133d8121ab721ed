"""A `celery beat` whose flows are due by the lines given: `python -m benchmarks.beat PLACE LINES`.

``LINES`` is a list as JSON; each of them gets a flow, in its order.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.place import Place
from worchflow_celery import Event, Worchflow
from worchflow_celery.servers.child import Child


def main(text: str, lines: str) -> None:
    """Run beat in this process, exactly as `celery beat` does."""
    place = Place.read(text)
    app = place.celery(place.name)
    worchflow = Worchflow(app, database_url=place.database_url, prefix=place.name)
    for number, line in enumerate(json.loads(lines)):
        worchflow.flow(f"flow{number}", cron=line)(_nothing)
    app.Beat(scheduler="worchflow_celery.Scheduler", loglevel="WARNING").run()


@contextmanager
def beat(place: Place, directory: Path, lines: Sequence[str]) -> Iterator[Child]:
    """A running beat, which ends with the block, and with us, however we end."""
    log = directory / f"{place.name}.beat.log"
    program = [sys.executable, "-m", "benchmarks.beat", place.text(), json.dumps(lines)]
    running = Child(program, log=log, doomed=None)
    try:
        yield running
        if not running.alive:
            raise RuntimeError(f"beat ended:\n{log.read_text()[-4000:]}")
    finally:
        running.stop()


def _nothing(event: Event[None]) -> None:
    """What a flow does that no worker runs."""


if __name__ == "__main__":
    main(*sys.argv[1:])
