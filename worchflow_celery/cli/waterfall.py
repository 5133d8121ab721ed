"""The steps of an execution as bars over time, with its idle times folded.  Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

#: What a bar is made of: waited, worked; and where idle time was folded.
WAITING, WORKING, FOLD = "░", "▇", "⫽"

#: A gap is folded when it is longer than this part of all that is not one.
_FOLDED_FROM = 0.25


@dataclass(frozen=True, slots=True)
class Bar:
    """From when to when something was; ``waiting`` holds no worker."""

    start: datetime
    end: datetime
    waiting: bool = False


def drawn(bars: Sequence[Bar], columns: int) -> list[str]:
    """One text for each bar, all on one time axis of so many columns."""
    if not bars:
        return []
    axis = _Axis([(_at(bar.start), _at(bar.end)) for bar in bars if not bar.waiting], bars, columns)
    return [axis.text(bar) for bar in bars]


class _Axis:
    """Time as columns.  Folded gaps take one column, what is between them its share."""

    def __init__(
        self, busy: Sequence[tuple[float, float]], bars: Sequence[Bar], columns: int
    ) -> None:
        spans = list(busy) + [edge for bar in bars for edge in _edges(bar)]
        self._pieces = _merged(spans)
        worked = sum(end - start for start, end in self._pieces)
        self._pieces = _joined(self._pieces, worked * _FOLDED_FROM)
        total = sum(end - start for start, end in self._pieces) or 1.0
        self._columns = columns
        self._scale = (columns - len(self._pieces) + 1) / total

    def column(self, moment: float) -> float:
        """Where a moment is."""
        place = 0.0
        for start, end in self._pieces:
            if moment <= end:
                return place + max(0.0, moment - start) * self._scale
            place += (end - start) * self._scale + 1
        return place - 1

    def text(self, bar: Bar) -> str:
        """A bar in its place, with the folds that it does not cover."""
        cells = [" "] * self._columns
        for place in self._folds():
            cells[place] = FOLD
        first = min(int(self.column(_at(bar.start))), self._columns - 1)
        last = max(first + 1, round(self.column(_at(bar.end))))
        for place in range(first, min(last, self._columns)):
            cells[place] = WAITING if bar.waiting else WORKING
        return "".join(cells).rstrip()

    def _folds(self) -> list[int]:
        ends = [end for _, end in self._pieces[:-1]]
        return [min(int(self.column(end)), self._columns - 1) for end in ends]


def _at(moment: datetime) -> float:
    return moment.timestamp()


def _edges(bar: Bar) -> list[tuple[float, float]]:
    return [(_at(moment), _at(moment)) for moment in (bar.start, bar.end)]


def _merged(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    pieces: list[tuple[float, float]] = []
    for start, end in sorted((start, max(start, end)) for start, end in spans):
        if pieces and start <= pieces[-1][1]:
            pieces[-1] = (pieces[-1][0], max(end, pieces[-1][1]))
        else:
            pieces.append((start, end))
    return pieces


def _joined(pieces: Sequence[tuple[float, float]], most: float) -> list[tuple[float, float]]:
    """Pieces with the gaps between them that are not worth folding."""
    joined = [pieces[0]]
    for start, end in pieces[1:]:
        if start - joined[-1][1] <= max(most, 1.0):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
