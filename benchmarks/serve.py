"""A `celery worker` of one contestant: `python -m benchmarks.serve CONTESTANT PLACE OPTIONS...`."""

import sys
from typing import Any

from celery import signals

from benchmarks import probe
from benchmarks.contestant import contestant
from benchmarks.place import Place


def ready_key(place: Place, name: str) -> str:
    """The Redis list in which a worker says that it consumes."""
    return f"{place.name}.ready.{name}"


def main(name: str, text: str, *options: str) -> None:
    """Run the worker in this process, exactly as `celery worker` does."""
    place = Place.read(text)
    if place.probed:
        probe.install(place)

    def ready(**_: Any) -> None:
        with place.broker() as broker:
            broker.rpush(ready_key(place, name), "ready")

    signals.worker_ready.connect(ready, weak=False)
    contestant(name, place).app.worker_main(["worker", *options])


if __name__ == "__main__":
    main(*sys.argv[1:])
