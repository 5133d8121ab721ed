"""The plan of the package: imports only go down, outside libraries have their doors."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "worchflow_celery"

#: From the ground up: a module imports only from what stands before it. A folder counts as one.
ORDER = """
version clock histogram flowlog models observed signals errors allowance
options annotations inbox codec redaction results outcome settings shutdown deadlines cronline
cron callables definition
outbox servers publisher redis_client leader live store
tracing leases reporter windows runtime auditing logbook figures
dispatch calling pausing restarting canvas cuts replay cancelling bulk
journal waits children answers tasks context parallel step
async_step handler settlement undoing unwinding limits attempt delivery timetable scheduling
handle flow operations observing heartbeat termination recovery presence beat decorator app demo
inspection queues checkup dashboard dev cli
__init__
""".split()

#: Who may speak to what outside: each library behind a door of its own.
DOORS = {
    "pymongo": {"store", "servers"},
    "bson": {"store"},
    "redis": {"inspection", "leader", "live", "redis_client", "servers"},
    "kombu": {"publisher", "dispatch", "tasks", "recovery", "beat"},
    "billiard": {"recovery"},
    "croniter": {"cronline"},
    "starlette": {"dashboard"},
    "jinja2": {"dashboard"},
    "uvicorn": {"dashboard"},
    "click": {"cli"},
    "opentelemetry": {"tracing"},
    "pytest": set(),
}

MOST_LINES = 300
MOST_LINES_OF_A_FUNCTION = 30
#: Functions that may be longer, each with its reason.
LONG_FUNCTIONS = {
    "app.py:flow": "the contract gives it twenty options, and each has its words",
}

FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(file.relative_to(PACKAGE)) for file in FILES]


def place_of(file: Path) -> str:
    """The module, or the folder, that a file belongs to."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def imports(file: Path) -> Iterator[str]:
    """Dotted names of all that a file imports, in functions and for type checkers too."""
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name} imports by a relative name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(place: str) -> set[str]:
    """The places of this package that a place imports from."""
    found = set()
    for file in FILES:
        if place_of(file) == place:
            names = [name.split(".") for name in imports(file)]
            found |= {parts[1] for parts in names if parts[0] == "worchflow_celery"}
    return found - {place}


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_every_module_has_its_place() -> None:
    assert sorted({place_of(file) for file in FILES}) == sorted(ORDER)


@pytest.mark.parametrize("place", ORDER)
def test_a_module_imports_only_what_stands_below_it(place: str) -> None:
    assert ours(place) <= set(ORDER[: ORDER.index(place)])


@pytest.mark.parametrize("library", DOORS)
def test_a_library_is_met_at_its_door_only(library: str) -> None:
    met = {
        place_of(file)
        for file in FILES
        if any(name.partition(".")[0] == library for name in imports(file))
    }

    assert met <= DOORS[library]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_opens_with_a_sentence_about_itself(name: str) -> None:
    words = ast.get_docstring(parsed(PACKAGE / name))

    assert words and words.splitlines()[0].endswith((".", "?", ":"))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_imports_at_its_top_and_for_everybody(name: str) -> None:
    file = PACKAGE / name
    hidden = [
        node.lineno
        for function in functions(file)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]

    assert hidden == []
    assert "typing.TYPE_CHECKING" not in imports(file)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_fits_in_the_head(name: str) -> None:
    assert len((PACKAGE / name).read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("name", NAMES)
def test_a_function_fits_in_the_eye(name: str) -> None:
    lengths = {
        f"{name}:{one.name}": (one.end_lineno or 0) - one.lineno + 1
        for one in functions(PACKAGE / name)
    }

    long = {where for where, lines in lengths.items() if lines > MOST_LINES_OF_A_FUNCTION}
    assert long <= set(LONG_FUNCTIONS)


def test_what_may_be_long_is_long() -> None:
    lengths = {
        f"{name}:{one.name}": (one.end_lineno or 0) - one.lineno + 1
        for name in NAMES
        for one in functions(PACKAGE / name)
    }

    assert all(lengths[where] > MOST_LINES_OF_A_FUNCTION for where in LONG_FUNCTIONS)


def test_the_wall_clock_is_read_in_one_place() -> None:
    readers = {
        name
        for name in NAMES
        for node in ast.walk(parsed(PACKAGE / name))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"datetime.now", "datetime.utcnow", "time.time"}
    }

    assert readers == {"clock.py"}


@pytest.mark.parametrize("name", NAMES)
def test_a_line_in_the_log_about_an_execution_has_its_id_beside_the_text(name: str) -> None:
    about = [
        call
        for call in ast.walk(parsed(PACKAGE / name))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func).startswith("logger.")
        and re.search(r"xecution %", ast.unparse(call))
    ]

    bare = [call.lineno for call in about if "extra" not in {one.arg for one in call.keywords}]
    assert bare == []
