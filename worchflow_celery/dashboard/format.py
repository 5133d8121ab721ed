"""How values look to people.  Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

GLYPHS = {
    "queued": "○",
    "processing": "▶",
    "retrying": "↻",
    "waiting": "◔",
    "completed": "✓",
    "failed": "✗",
    "cancelled": "⊘",
    "paused": "‖",
}
#: Of a schedule's window: the glyph, the word, and the class it is drawn with.
MARKS = {
    "fired": ("✓", "fired", "completed"),
    "missed-ran": ("M", "missed, then run", "retrying"),
    "missed-skipped": ("S", "missed and skipped", "failed"),
    "overlap-skipped": ("=", "skipped: the one before still ran", "queued"),
}
#: What moves the cursor, rings, or turns the direction of the text around it.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))
#: Characters of a value that are shown; the rest is for the API.
MOST_SHOWN = 64_000


def clean(text: object) -> str:
    """A text in which nothing is invisible or turns what stands beside it."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


def duration(seconds: float | timedelta | None) -> str:
    """``40 ms``, ``1.9 s``, ``4 min 10 s``, ``3 h 2 min``, ``12 d 4 h``."""
    if seconds is None:
        return "–"
    value = seconds.total_seconds() if isinstance(seconds, timedelta) else float(seconds)
    value = max(0.0, value)
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 59.5:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    whole = round(value)
    for number, (unit, size) in enumerate(_UNITS):
        if whole >= size:
            smaller, lesser = [*_UNITS, ("s", 1)][number + 1]
            rest = whole % size // lesser
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def age(moment: datetime | None, now: datetime) -> str:
    """``just now``, ``12 s ago``, ``in 3 h``: the largest unit only."""
    if moment is None:
        return "–"
    seconds = (now - moment).total_seconds()
    away = abs(seconds)
    if away < 1:
        return "just now"
    unit, size = next(((unit, size) for unit, size in _UNITS if away >= size), ("s", 1))
    text = f"{int(away // size)} {unit}"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def stamp(moment: datetime | None) -> str:
    """A time to the millisecond, in UTC."""
    return "–" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}"


def minute(moment: datetime | None) -> str:
    """A time to the second, in UTC."""
    return "–" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def size(count: int) -> str:
    """``812 B``, ``3.2 KiB``, ``4.0 MiB``."""
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1024**2 else f"{count / 1024**2:.1f} MiB"


def counted(count: int | None, most: int = 10_000) -> str:
    """A count that stops somewhere; nothing when it took too long."""
    if count is None:
        return ""
    return f"{most // 1000}k+" if count > most else f"{count:,}"


def pretty(value: Any) -> str:
    """A value as indented JSON, cut where nobody reads on."""
    text = clean(json.dumps(value, ensure_ascii=False, indent=2))
    if len(text) <= MOST_SHOWN:
        return text
    return f"{text[:MOST_SHOWN]}\n… {len(text) - MOST_SHOWN:,} more characters: see the raw JSON"


def compact(value: Any, most: int = 60) -> str:
    """A value in one line."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shortened(clean(text.replace("\n", " ")), most)


def shortened(text: str, most: int) -> str:
    """A text of so many characters at most."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def summary(data: Any, first: Sequence[str] = (), most: int = 3) -> list[tuple[str, str]]:
    """Up to three scalar fields of some data, named, those of ``first`` first."""
    if not isinstance(data, Mapping):
        return [] if data is None else [("", compact(data, 48))]
    scalars = {k: v for k, v in data.items() if isinstance(v, str | int | float | bool)}
    ranked = {k: scalars[k] for k in first if k in scalars} | scalars
    chosen = list((ranked or data).items())[:most]
    return [(compact(str(key), 24), compact(value, 32)) for key, value in chosen]


def percent(part: int, whole: int) -> str:
    """A share; nothing of nothing."""
    if not whole:
        return "–"
    share = 100 * part / whole
    return f"{share:.1f} %" if 0 < share < 10 else f"{share:.0f} %"


def quantile(values: list[float], share: float) -> float | None:
    """The value that ``share`` of them do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else None
