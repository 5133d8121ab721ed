"""Ctrl-C and its like: the demo ends at once, and still cleans up."""

import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_received: list[int] = []


class Stopped(BaseException):
    """The demo is to end now."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def listen() -> None:
    """From now on a signal raises `Stopped` wherever the demo is."""
    for number in SIGNALS:
        signal.signal(number, _stop)


def check() -> None:
    """Raise it again if some callback, from which nothing can be raised, has swallowed it."""
    if _received:
        raise Stopped(_received[0])


def finish() -> None:
    """From now on no signal cuts the cleaning short."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _stop(number: int, _: FrameType | None) -> None:
    _received.append(number)
    finish()
    raise Stopped(number)
