"""What a measure found: one value for each contestant and round, and what they say together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

#: One value for each round.
Series = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table."""

    measure: str
    case: str
    unit: str
    series: Series


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours divided by another contestant's, round by round."""

    median: float
    least: float
    most: float


def medians(series: Series) -> dict[str, float]:
    """One value for each contestant."""
    return {name: median(values) for name, values in series.items()}


def ratio(series: Series, other: str) -> Ratio | None:
    """``None`` where one of the two was not measured."""
    if "ours" not in series or other not in series:
        return None
    each = [mine / theirs for mine, theirs in zip(series["ours"], series[other], strict=True)]
    return Ratio(median(each), min(each), max(each))
