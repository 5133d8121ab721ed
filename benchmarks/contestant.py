"""Who is compared: an app of its own, found by name so that its worker imports nothing else."""

from typing import Protocol

from celery import Celery
from celery.utils.imports import symbol_by_name

from benchmarks.place import Place

_HOMES = {"hand": "benchmarks.hand:Hand", "ours": "benchmarks.ours:Ours"}


class Contestant(Protocol):
    """A durable execution of so many steps, sent to a queue and recorded in two collections."""

    name: str
    app: Celery
    queue: str
    #: Of its collections.
    prefix: str

    def send(self, steps: int, *, fails: bool = False) -> str:
        """Start an execution; return its id."""
        ...


def contestant(name: str, place: Place) -> Contestant:
    """One of them at a place."""
    found: Contestant = symbol_by_name(_HOMES[name])(place)
    return found


def both(place: Place) -> dict[str, Contestant]:
    """By hand and ours, by name."""
    return {name: contestant(name, place) for name in _HOMES}
