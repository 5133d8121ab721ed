"""Options and arguments that commands share, and how their words are read."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from worchflow_celery.clock import utcnow
from worchflow_celery.models import ExecutionStatus

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_SPAN = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")
_LONGEST = 10 * 366 * 86400


class Span(click.ParamType):  # type: ignore[type-arg]
    """Seconds: ``90``, ``60s``, ``1h30m``."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Read it, or end the command."""
        seconds = seconds_of(value) if isinstance(value, str) else float(value)
        if seconds is None or seconds > _LONGEST:
            self.fail(f"{value!r:.80} is no duration: write 90, 60s, 5m or 1h30m", param, ctx)
        return seconds


class Moment(click.ParamType):  # type: ignore[type-arg]
    """A time: how long ago (``24h``), or ISO 8601; without an offset it is UTC."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        """Read it, or end the command."""
        if isinstance(value, datetime):
            return value
        ago = seconds_of(value)
        if ago is not None and not value.isdigit() and ago <= _LONGEST:
            return utcnow() - timedelta(seconds=ago)
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            text = f"{value!r:.80} is no time: write 24h, 7d or 2026-01-31T12:00:00Z"
            self.fail(text, param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def seconds_of(text: str) -> float | None:
    """The seconds that a duration means; ``None`` for what is none."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not _SPAN.fullmatch(text):
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def pair(text: str) -> tuple[str, str]:
    """``name=value`` in two; raises ``BadParameter``."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text!r:.80} is not of the form name=value")
    return name, value


def scalar(text: str) -> Any:
    """A word as JSON where it is JSON, otherwise as it stands."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text


def _no_constant(word: str) -> Any:
    raise ValueError(word)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which executions: the arguments of ``Worchflow.find``."""

    status: tuple[str, ...] = ()
    flow: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    where: tuple[str, ...] = ()

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return self != Filters()

    def arguments(self, *, literal: bool = False) -> dict[str, Any]:
        """For ``find``.  ``literal`` takes every value of ``--where`` for a string."""
        wanted = [pair(one) for one in self.where]
        read: Callable[[str], Any] = str if literal else scalar
        return {
            "status": list(self.status) or None,
            "flow": self.flow,
            "after": self.since,
            "before": self.until,
            "search": {name.removeprefix("data."): read(value) for name, value in wanted} or None,
        }


def filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that make up ``Filters``."""
    made = [
        click.option(
            "--status",
            "-s",
            multiple=True,
            type=click.Choice([str(one) for one in ExecutionStatus]),
            help="Only these; may be repeated.",
        ),
        click.option("--flow", help="Only of this flow."),
        click.option("--since", type=Moment(), help="Sent since: 24h, 7d, or a time."),
        click.option("--until", type=Moment(), help="Sent before."),
        click.option("--where", multiple=True, help="data.FIELD=VALUE, of a flow's search fields."),
    ]
    for option in reversed(made):
        function = option(function)
    return function


def filters_of(given: dict[str, Any]) -> Filters:
    """Take the filters out of what a command was given."""
    return Filters(**{name: given.pop(name) for name in ("status flow since until where".split())})


limit = click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many."
)
