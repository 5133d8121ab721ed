"""Columns over time, completed and failed.  Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from worchflow_celery.observed import FlowStats, Point


@dataclass(frozen=True, slots=True)
class Column:
    """One part of the time, in per cent of width and height."""

    x: str
    width: str
    done: str
    failed: str
    top: str
    low: str
    title: str
    #: Of a list of what was sent then.
    link: str


Link = Callable[[datetime, datetime], str]


def together(stats: Iterable[FlowStats]) -> list[Point]:
    """The points of several flows as one line."""
    found: dict[datetime, Point] = {}
    for one in stats:
        for point in one.points:
            known = found.get(point.at)
            found[point.at] = _sum(known, point) if known else point
    return [found[at] for at in sorted(found)]


def columns(points: Sequence[Point], link: Link) -> list[Column]:
    """A column for each point; none where nothing has ended."""
    highest = max((one.completed + one.failed + one.cancelled for one in points), default=0)
    if not highest:
        return []
    length = points[1].at - points[0].at if len(points) > 1 else timedelta(minutes=1)
    made = [_column(n, one, len(points), highest) for n, one in enumerate(points)]
    return [
        replace(column, title=_title(one, length), link=link(one.at, one.at + length))
        for column, one in zip(made, points, strict=True)
    ]


def _title(point: Point, length: timedelta) -> str:
    return (
        f"{point.at:%Y-%m-%d %H:%M} – {point.at + length:%H:%M}: "
        f"{point.completed + point.cancelled} ended well or were cancelled, {point.failed} failed"
    )


def _column(number: int, point: Point, count: int, highest: int) -> Column:
    ended = point.completed + point.cancelled
    done, failed = 100 * ended / highest, 100 * point.failed / highest
    return Column(
        x=f"{number * 100 / count:.2f}",
        width=f"{80 / count:.2f}",
        done=f"{done:.1f}",
        failed=f"{failed:.1f}",
        top=f"{100 - done - failed:.1f}",
        low=f"{100 - failed:.1f}",
        title="",
        link="",
    )


def _sum(one: Point, other: Point) -> Point:
    names = ("completed", "failed", "cancelled")
    return one.model_copy(
        update={name: getattr(one, name) + getattr(other, name) for name in names}
    )
