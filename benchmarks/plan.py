"""How much is measured: rounds, their length, and which cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """One run of the benchmarks."""

    rounds: int = 3
    #: Of one contestant in one round, at the least.
    seconds: float = 5.0
    #: A smoke test: one short round and few cells.
    quick: bool = False
    #: Also those cells that the default leaves out, to take less than half an hour.
    every_cell: bool = False

    def some(
        self, usual: Sequence[T], *, quick: Sequence[T], every: Sequence[T] = ()
    ) -> Sequence[T]:
        """Those of a measure's cases that this run takes."""
        if self.quick:
            return quick
        return every if self.every_cell and every else usual


def interleaved(contestants: Sequence[T], number: int) -> Sequence[T]:
    """The order in one round: every other round is reversed, so that nobody is always last."""
    return contestants if number % 2 == 0 else contestants[::-1]
