"""The dashboard in somebody's browser, where there is one."""

import os
import socket
import sys
import webbrowser
from urllib.parse import urlsplit

from worchflow_celery.dev.process import Say

#: Any of them means that a window can be shown.
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


class Browser:
    """Opens pages of one dashboard."""

    def __init__(self, url: str, say: Say, *, at_once: bool) -> None:
        self._url = url
        self._say = say
        self._at_once = at_once and sys.stdout.isatty() and _has_display()

    def open(self, path: str = "") -> None:
        """Show a page, or say where it is."""
        url = self._url + path
        if not _has_display():
            self._say("dev", f"there is no display here; the page is {url}")
            return
        self._say("dev", f"opening {url}")
        try:
            webbrowser.open(url)
        except (OSError, webbrowser.Error) as error:
            self._say("dev", f"no browser can be started: {error}")

    def greet(self) -> bool:
        """Show the dashboard as soon as it answers; whether it does."""
        place = urlsplit(self._url)
        try:
            socket.create_connection((place.hostname or "", place.port or 80), 0.2).close()
        except OSError:
            return False
        self._say("dev", f"the dashboard is there: {self._url}")
        if self._at_once:
            self.open()
        return True


def _has_display() -> bool:
    return sys.platform == "darwin" or any(os.environ.get(name) for name in _DISPLAYS)
