"""What roll-ups of minutes come to: counts, percentiles, and a line to draw."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from worchflow_celery import options
from worchflow_celery.errors import InvalidOption
from worchflow_celery.histogram import Histogram
from worchflow_celery.observed import FlowStats, Point, Spread
from worchflow_celery.runtime import Runtime
from worchflow_celery.store.rollups import KEPT, MINUTE

_ENDS = ("completed", "failed", "cancelled")


def stats(
    runtime: Runtime,
    flow: str | None,
    since: datetime | None,
    until: datetime | None,
    points: int,
) -> list[FlowStats]:
    """Of each flow, by its id."""
    options.check_limit(points)
    if flow is not None:
        options.check_id(flow, "flow")
    until = options.check_moment(until, "until") if until else runtime.store.database.now()
    since = options.check_moment(since, "since") if since else until - timedelta(hours=1)
    if not MINUTE <= until - since <= KEPT:
        raise InvalidOption("since and until: from a minute to 35 days lie between them")
    since = since.replace(second=0, microsecond=0)
    width = -((until - since) // -points)
    width = -(width // -MINUTE) * MINUTE  # whole minutes, rounded up
    by_flow: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for minute in runtime.store.rollups.read(flow, since, until):
        place = (minute["_id"] - since) // width
        for one in minute["flows"]:
            by_flow.setdefault(one["flow"], []).append((place, one))
    return [_of_flow(name, by_flow[name], since, until, width) for name in sorted(by_flow)]


def _of_flow(
    flow: str,
    counted: list[tuple[int, Mapping[str, Any]]],
    since: datetime,
    until: datetime,
    width: timedelta,
) -> FlowStats:
    many = -((until - since) // -width)
    line = [dict.fromkeys(_ENDS, 0) for _ in range(many)]
    for place, one in counted:
        for end in _ENDS:
            line[place][end] += one[end]
    return FlowStats(
        flow=flow,
        since=since,
        until=until,
        **{end: sum(point[end] for point in line) for end in _ENDS},
        duration=_spread(one["duration"] for _, one in counted),
        wait=_spread(one["wait"] for _, one in counted),
        points=[Point(at=since + place * width, **point) for place, point in enumerate(line)],
    )


def _spread(stored: Iterable[Mapping[str, Any]]) -> Spread:
    merged = Histogram.sum_of(stored)
    return Spread(
        count=merged.count,
        mean=merged.mean,
        p50=merged.percentile(0.5),
        p95=merged.percentile(0.95),
        p99=merged.percentile(0.99),
        longest=merged.longest / 1000 if merged.count else None,
    )
