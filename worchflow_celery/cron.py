"""When a cron line is due."""

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from croniter import croniter


def check(expr: str, timezone: str = "UTC") -> None:
    croniter(expr, second_at_beginning=True)
    ZoneInfo(timezone)


def windows(
    expr: str, after: datetime, until: datetime, timezone: str = "UTC"
) -> Iterator[datetime]:
    moment = next_run(expr, after, timezone)
    while moment <= until:
        yield moment
        moment = next_run(expr, moment, timezone)


def next_run(expr: str, after: datetime | None = None, timezone: str = "UTC") -> datetime:
    start = (after or datetime.now(UTC)).astimezone(ZoneInfo(timezone))
    lines = croniter(expr, start, second_at_beginning=True)
    return lines.get_next(datetime).astimezone(UTC)


def previous_run(expr: str, before: datetime | None = None, timezone: str = "UTC") -> datetime:
    start = (before or datetime.now(UTC)).astimezone(ZoneInfo(timezone))
    lines = croniter(expr, start, second_at_beginning=True)
    return lines.get_prev(datetime).astimezone(UTC)
