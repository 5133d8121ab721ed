"""The terminal: colour where it can be had, plain letters where it cannot."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from typing import TextIO

STYLES = {
    "dim": "2",
    "bold": "1",
    "good": "32",
    "bad": "1;31",
    "alarm": "1;37;41",
    "back": "1;32",
    "pay-1": "36",
    "pay-2": "35",
    "pay-3": "94",
    "pay-4": "33",
}
PLAIN_LETTERS = {"→": "->", "✓": "ok", "✗": "NO", "─": "-", "·": "-"}
CLEAR_LINE = "\r\033[K"


class Screen:
    """Lines that stay, and below them, on a terminal, one that tells how things are."""

    def __init__(self, stream: TextIO, environment: Mapping[str, str]) -> None:
        self._stream = stream
        self._live = stream.isatty() and environment.get("TERM", "dumb") != "dumb"
        self._colour = self._live and not environment.get("NO_COLOR")
        self._plain = not _encodes("".join(PLAIN_LETTERS), stream.encoding or "utf-8")
        self._status = ""

    def line(self, *parts: str | tuple[str, str]) -> None:
        """Write a line out of texts and of (text, style)."""
        self._write(self._clearing() + "".join(map(self._styled, parts)) + "\n" + self._status)

    def status(self, text: str) -> None:
        """Show how things are now, on a terminal; the next status takes its place."""
        if self._live:
            clearing = self._clearing()
            most = shutil.get_terminal_size().columns - 1  # a second line could not be cleared
            self._status = self._styled((text[:most], "dim")) if text else ""
            self._write(clearing + self._status)

    def close(self) -> None:
        """Leave nothing but lines; the terminal may be gone by now."""
        with suppress(OSError):
            self.status("")

    def _clearing(self) -> str:
        return CLEAR_LINE if self._status else ""

    def _styled(self, part: str | tuple[str, str]) -> str:
        text, style = part if isinstance(part, tuple) else (part, "")
        if self._plain:
            for letter, plain in PLAIN_LETTERS.items():
                text = text.replace(letter, plain)
        code = STYLES.get(style) if self._colour else None
        return f"\033[{code}m{text}\033[0m" if code else text

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _encodes(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
