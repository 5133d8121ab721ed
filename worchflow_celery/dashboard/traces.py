"""A traceback with the frames of libraries set apart.  Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

_FRAME = re.compile(r'\s+File "([^"]*)", line \d+')
_OURS = str(Path(__file__).parent.parent)
_LIBRARY = re.compile(r"[/\\](site-packages|dist-packages|lib[/\\]python3[^/\\]*)[/\\]|^<frozen ")


@dataclass(frozen=True, slots=True)
class Part:
    """Lines that belong together."""

    text: str
    #: Frames of libraries, which are folded; 0: something of one's own.
    frames: int = 0


def parts(traceback: str) -> list[Part]:
    """The lines of a traceback in order."""
    found = []
    for library, pieces in groupby(_pieces(traceback), key=lambda piece: piece[0]):
        together = list(pieces)
        text = "".join(text for _, text in together)
        found.append(Part(text.rstrip("\n"), len(together) if library else 0))
    return found


def _pieces(traceback: str) -> Iterator[tuple[bool, str]]:
    """Frames with the lines of code below them, and whatever is between; whether of a library."""
    library, piece = False, ""
    for line in traceback.splitlines(keepends=True):
        frame = _FRAME.match(line)
        if frame or not line.startswith("    "):
            if piece:
                yield library, piece
            library = bool(frame and _is_library(frame[1]))
            piece = ""
        piece += line
    if piece:
        yield library, piece


def _is_library(path: str) -> bool:
    return bool(_LIBRARY.search(path)) or path.startswith(_OURS)
