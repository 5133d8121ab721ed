"""Durations in buckets: what comes out of them again."""

import math
from typing import Any

import pytest

from worchflow_celery.histogram import Histogram


def histogram_of(*milliseconds: float) -> Histogram:
    histogram = Histogram()
    for one in milliseconds:
        histogram.add(max(0, math.ceil(math.log2(max(one, 1)))), 1, one, one)
    return histogram


@pytest.mark.parametrize("part", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("top", [10, 1000, 60_000])
def test_a_percentile_is_right_within_a_factor_of_two(part: float, top: int) -> None:
    values = [top * (number + 1) / 500 for number in range(500)]
    exact = values[math.ceil(part * 500) - 1] / 1000

    found = histogram_of(*values).percentile(part)

    assert found is not None
    assert exact / 2 <= found <= max(exact * 2, 0.001)


def test_no_percentile_is_longer_than_the_longest() -> None:
    assert histogram_of(*[65] * 100).percentile(0.99) == 0.065


def test_mean_and_count_are_exact() -> None:
    histogram = histogram_of(10, 20, 60)

    assert (histogram.count, histogram.mean) == (3, 0.03)


def test_nothing_has_no_figures() -> None:
    histogram = Histogram()

    assert (histogram.count, histogram.mean, histogram.percentile(0.5)) == (0, None, None)


def test_histograms_that_were_stored_are_added_up() -> None:
    parts = [histogram_of(10, 500), histogram_of(20), histogram_of()]

    merged = Histogram.sum_of(part.dump() for part in parts)

    assert merged.dump() == histogram_of(10, 500, 20).dump()


@pytest.mark.parametrize(
    "stored",
    [{}, {"buckets": 5}, {"buckets": {"x": 1, "3": "y"}}, {"total": math.nan, "longest": "long"}],
)
def test_what_is_no_histogram_counts_for_nothing(stored: dict[str, Any]) -> None:
    assert Histogram.sum_of([stored]).dump() == Histogram().dump()
