"""How statuses, times and errors are written.  Pure: no I/O, no clock."""

from datetime import datetime, timedelta

from worchflow_celery.models import Attempt, ErrorInfo, Execution

#: A glyph and a colour for each status; the word always stands beside them.
LOOKS = {
    "queued": ("○", "cyan"),
    "processing": ("▶", "blue"),
    "retrying": ("↻", "yellow"),
    "waiting": ("◷", "magenta"),
    "completed": ("✓", "green"),
    "failed": ("✗", "red"),
    "cancelled": ("⊘", "bright_black"),
    "paused": ("‖", "yellow"),
}


def status(word: str) -> str:
    """A status with its glyph."""
    return f"{LOOKS.get(word, ('·', ''))[0]} {word}"


def state(execution: Execution) -> str:
    """What an execution is doing: its status, unless somebody holds it."""
    return "paused" if execution.paused and not execution.status.finished else execution.status


def colour(word: str) -> str | None:
    """The colour of a status."""
    return LOOKS.get(word, ("", None))[1]


def duration(seconds: float) -> str:
    """Seconds in at most two units: ``40 ms``, ``1.9 s``, ``4 m 10 s``, ``3 h 5 m``, ``2 d``."""
    if seconds < 0.9995:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 "))


def age(moment: datetime | None, now: datetime) -> str:
    """How long ago something was, or in how long it will be."""
    if moment is None:
        return ""
    gap = (now - moment).total_seconds()
    if gap < -0.5:
        return f"in {duration(round(-gap))}"
    return " ".join(duration(int(gap)).split()[:2]) if gap >= 1 else "now"


def moment(value: datetime | None) -> str:
    """A time in full."""
    return "" if value is None else value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def span(start: datetime | None, end: datetime | None) -> str:
    """The time between two moments."""
    return "" if start is None or end is None else duration((end - start).total_seconds())


def ran(execution: Execution, now: datetime) -> timedelta | None:
    """From the first start of an execution to its end, or to now."""
    if execution.started_at is None:
        return None
    return max(timedelta(), (execution.finished_at or now) - execution.started_at)


def error(info: ErrorInfo | None) -> str:
    """Type and message."""
    return f"{info.type}: {info.message}" if info else ""


def attempt_span(attempt: Attempt) -> str:
    """How long an attempt took."""
    return span(attempt.started_at, attempt.ended_at)
