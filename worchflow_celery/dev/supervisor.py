"""Keeps worker, scheduler and dashboard running until somebody has had enough."""

from collections.abc import Callable, Mapping
from pathlib import Path

from worchflow_celery.clock import elapsed
from worchflow_celery.dev.browser import Browser
from worchflow_celery.dev.changes import Changes
from worchflow_celery.dev.keys import Keys
from worchflow_celery.dev.process import Process, Say

#: Seconds between two looks at the files, and between two at the keyboard.
_LOOK, _KEY = 0.5, 0.2


class Supervisor:
    """The processes of one app, by their names."""

    def __init__(
        self, commands: Mapping[str, list[str]], environment: Mapping[str, str], say: Say
    ) -> None:
        self._say = say
        self._processes = {
            name: Process(name, command, environment, say) for name, command in commands.items()
        }
        self._told: set[str] = set()
        #: Called until it returns true.
        self._greet: Callable[[], bool] | None = None
        #: What a key does, beside ``q``.
        self.keys: dict[str, Callable[[], None]] = {
            "r": self.reload,
            "k": self._kill_worker,
        }

    def show_in(self, browser: Browser) -> None:
        """Open the dashboard when it is there, and its pages with keys."""
        self.keys["o"] = browser.open
        self.keys["s"] = lambda: browser.open("/send")
        self._greet = browser.greet

    def start(self) -> None:
        """Start all."""
        for process in self._processes.values():
            process.start()

    def run(self, keys: Keys) -> None:
        """Watch keys, files and processes until ``q``."""
        changes, looked = Changes(Path.cwd()), elapsed()
        while True:
            key = keys.pressed(_KEY)
            if key == "q":
                return
            if key in self.keys:
                self.keys[key]()
            if self._greet is not None and self._greet():
                self._greet = None
            if elapsed() - looked >= _LOOK:
                looked = elapsed()
                changed = changes.look()
                if changed is not None:
                    self._say("dev", f"{changed} has changed")
                    self.reload()
                self._look_after()

    def reload(self) -> None:
        """Start all anew, with the code that is there now; a worker hands over what it runs."""
        self._say("dev", "reloading")
        self.stop()
        self._told.clear()
        self.start()

    def stop(self) -> None:
        """End all, at once."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.stop()

    def _kill_worker(self) -> None:
        self._say("dev", "killing the worker; what it ran goes on in another one")
        worker = self._processes["worker"]
        worker.kill()
        worker.start()

    def _look_after(self) -> None:
        for process in self._processes.values():
            if not process.alive and process.name not in self._told:
                self._told.add(process.name)
                self._say(
                    "dev",
                    f"{process.name} has ended with {process.returncode}; it starts again when a "
                    "file changes, or with r",
                )
