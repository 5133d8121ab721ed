"""Whether a Python file of the project has changed."""

import os
from collections.abc import Iterator
from pathlib import Path

#: Files that are watched; a project with more is looked at in part.
_MOST = 20_000
_SKIPPED = {"node_modules", "__pycache__", "site-packages"}


class Changes:
    """The ``*.py`` below a directory, as they were at the last look."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen = dict(_files(root))

    def look(self) -> str | None:
        """A file that is new, gone or different since the last look."""
        before, self._seen = self._seen, dict(_files(self._root))
        changed = before.items() ^ self._seen.items()
        return min((os.path.relpath(path, self._root) for path, _ in changed), default=None)


def _files(root: Path) -> Iterator[tuple[str, int]]:
    found = 0
    for directory, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not _is_foreign(directory, name)]
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(directory, name)
                try:
                    yield path, os.stat(path).st_mtime_ns
                except OSError:
                    continue  # gone since
                found += 1
                if found >= _MOST:
                    return


def _is_foreign(directory: str, name: str) -> bool:
    hidden = name.startswith(".") or name in _SKIPPED
    return hidden or os.path.exists(os.path.join(directory, name, "pyvenv.cfg"))
