"""Words for a terminal: what it would obey is made visible, what is too long is cut.  Pure."""

import unicodedata

#: Beside control characters (C0, C1, DEL): what turns the direction of the text around it, or
#: cannot be seen at all.
_FORMATTING = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def safe(value: object, *, lines: bool = False) -> str:
    """A text in which a terminal finds nothing to obey; ``lines`` keeps its line breaks."""
    return "".join(
        character if _harmless(character) or (lines and character in "\n\t") else _escape(character)
        for character in str(value)
    )


def width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(_columns(character) for character in text)


def cut(text: str, most: int) -> str:
    """A text in at most so many columns; an ellipsis tells that there was more."""
    if width(text) <= most:
        return text
    taken, columns = "", 0
    for character in text:
        columns += _columns(character)
        if columns > most - 1:
            break
        taken += character
    return taken.rstrip() + "…"


def padded(text: str, columns: int, *, right: bool = False) -> str:
    """A text in exactly so many columns, if it is not longer."""
    gap = " " * max(0, columns - width(text))
    return gap + text if right else text + gap


def _harmless(character: str) -> bool:
    return character.isprintable() if character.isascii() else _is_plain(character)


def _is_plain(character: str) -> bool:
    return unicodedata.category(character) not in _FORMATTING


def _escape(character: str) -> str:
    known = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    number = ord(character)
    return known.get(character) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
