"""Durations as counts in fixed buckets, each twice as wide as the one before."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: The last bucket: from 2^30 ms on, twelve days.
LAST = 31


@dataclass(slots=True)
class Histogram:
    """How long things took. Bucket ``n`` counts those of up to 2^n ms."""

    counts: dict[int, int] = field(default_factory=dict)
    #: In milliseconds.
    total: float = 0.0
    longest: float = 0.0

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts.values())

    @property
    def mean(self) -> float | None:
        """Seconds."""
        return self.total / self.count / 1000 if self.count else None

    def add(self, bucket: int, count: int, total: float, longest: float) -> None:
        """Count some of one bucket."""
        self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.total += total
        self.longest = max(self.longest, longest)

    def percentile(self, part: float) -> float | None:
        """Seconds within which this part of them took, as well as buckets can tell."""
        wanted, seen = part * self.count, 0
        for bucket, count in sorted(self.counts.items()):
            if seen + count >= wanted:
                within = math.pow(2, bucket - 1 + (wanted - seen) / count)
                return min(within, self.longest) / 1000
            seen += count
        return None

    def dump(self) -> dict[str, object]:
        """As it is stored."""
        counts = {str(bucket): count for bucket, count in sorted(self.counts.items())}
        return {"buckets": counts, "total": self.total, "longest": self.longest}

    @staticmethod
    def sum_of(stored: Iterable[Mapping[str, object]]) -> "Histogram":
        """Of several that were stored; what is none of ours counts for nothing."""
        merged = Histogram()
        for one in stored:
            buckets = one.get("buckets")
            for name, count in buckets.items() if isinstance(buckets, Mapping) else ():
                if str(name).isdigit() and isinstance(count, int):
                    merged.add(min(int(name), LAST), count, 0, 0)
            merged.total += _number(one.get("total"))
            merged.longest = max(merged.longest, _number(one.get("longest")))
        return merged


def _number(value: object) -> float:
    good = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if good else 0.0  # type: ignore[arg-type]
