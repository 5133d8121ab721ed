"""Single keys of a terminal, without waiting for Enter."""

import os
import select
import sys
import termios
import tty
from contextlib import suppress
from typing import Any, Self


class Keys:
    """The keyboard, if there is one; the terminal is as it was afterwards."""

    def __init__(self) -> None:
        self._file = sys.stdin.fileno() if sys.stdin and sys.stdin.isatty() else None
        self._before: list[Any] | None = None

    @property
    def there(self) -> bool:
        """Whether somebody can press a key."""
        return self._file is not None

    def __enter__(self) -> Self:
        if self._file is not None:
            self._before = termios.tcgetattr(self._file)
            tty.setcbreak(self._file)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None and self._before is not None:
            with suppress(termios.error):  # the terminal may be gone
                termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)

    def pressed(self, within: float) -> str:
        """The next key, or nothing after so many seconds."""
        files = [] if self._file is None else [self._file]
        ready, _, _ = select.select(files, [], [], within)
        if not ready:
            return ""
        pressed = ""
        with suppress(OSError):
            pressed = os.read(ready[0], 1).decode(errors="replace")
        if not pressed:  # the terminal is gone
            self._file = None
        return pressed
