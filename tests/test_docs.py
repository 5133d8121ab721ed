"""The pages say what the code does: every name, every link, every snippet."""

import builtins
import contextlib
import dis
import inspect
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

import pymongo
import pytest
import redis
from celery.utils.dispatch import Signal
from pydantic.fields import FieldInfo

import worchflow_celery as library
from tests.integration.traced import exporting
from tests.support import ROOT, Bench, eventually, workers
from worchflow_celery import AsyncStep, Event, Step, Worchflow, cron, errors, signals
from worchflow_celery.models import (
    Attempt,
    Execution,
    ExecutionStatus,
    Schedule,
    StepRecord,
    Window,
)
from worchflow_celery.observed import (
    AuditRecord,
    LogLine,
    Update,
    WorkerInfo,
)
from worchflow_celery.observing import Observing
from worchflow_celery.settings import Settings

DOCS = ROOT / "docs"
READ = (Event, Execution, StepRecord, Attempt, Schedule, Window)
CRON = "validate next_run previous_run missed_windows should_have_run".split()
README, TUTORIAL = ROOT / "README.md", DOCS / "tutorial.md"
TRACE = DOCS / "howto" / "trace.md"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]

#: A fenced block, with the comment that may stand above it.
BLOCK = re.compile(r"(?:<!-- ([^>]*) -->\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
#: What belongs to one machine alone: home directories, temporary files, package registries.
LOCAL = re.compile(r"(?<![\w.$])/(?:root|home|work|tmp|Users|var)/|pypi\.|pythonhosted")

on_each_page = pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES]
)


def reference(name: str) -> str:
    return (DOCS / "reference" / f"{name}.md").read_text()


def row_of(page: str, name: str) -> list[str]:
    """The cells of the row whose first cell is a name."""
    found = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
    assert len(found) == 1, f"{name} has {len(found)} rows"
    return [cell.strip() for cell in found[0].split("|")[1:-1]]


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """The code blocks of a page in a language, each with the comment above it."""
    found = BLOCK.findall(page.read_text())
    return [(comment, code) for comment, kind, code in found if kind == language]


def links(page: Path) -> list[str]:
    text = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", page.read_text()))
    return [link for link in LINK.findall(text) if not link.startswith("https://")]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def all_errors() -> list[type[BaseException]]:
    roots = (errors.WorchflowError, errors.Interruption)
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind)]
    return [kind for kind in kinds if issubclass(kind, roots) and kind not in roots]


def all_signals() -> dict[str, Signal]:
    return {name: one for name, one in vars(signals).items() if isinstance(one, Signal)}


def public_methods() -> list[str]:
    found = [
        vars(thing) for thing in (Worchflow, Observing, library.ExecutionHandle, Step, AsyncStep)
    ]
    return sorted({name for names in found for name in names if not name.startswith("_")})


@pytest.mark.parametrize(("name", "field"), Settings.model_fields.items())
def test_every_setting_has_a_row_with_its_default(name: str, field: FieldInfo) -> None:
    assert row_of(reference("settings"), f"worchflow_{name}")[1] == f"`{field.default!r}`"


@pytest.mark.parametrize("name", [*library.__all__, *public_methods()])
def test_every_public_name_and_method_is_in_the_api_page(name: str) -> None:
    assert re.search(rf"`(?:worchflow\.)?{name}\b", reference("api"))


@pytest.mark.parametrize("option", [*inspect.signature(Worchflow.flow).parameters][1:-1])
def test_every_option_of_a_flow_is_in_the_api_page(option: str) -> None:
    assert re.search(rf"^\| .*`{option}`", reference("api"), re.MULTILINE)


@pytest.mark.parametrize(
    "thing",
    [
        Event,
        Execution,
        StepRecord,
        Attempt,
        Schedule,
        Window,
        Update,
        LogLine,
        WorkerInfo,
        AuditRecord,
    ],
)
def test_every_field_of_what_is_read_is_in_the_api_page(thing: Any) -> None:
    page = reference("api")

    fields = getattr(thing, "model_fields", None) or thing.__dataclass_fields__
    assert [field for field in fields if f"`{field}`" not in page] == []


@pytest.mark.parametrize("status", ExecutionStatus)
def test_every_status_is_in_the_api_page_and_in_the_diagram(status: ExecutionStatus) -> None:
    ((_, diagram),) = blocks(DOCS / "concepts" / "lifecycle.md", "mermaid")

    assert f"`{status}`" in reference("api")
    assert status in diagram


@pytest.mark.parametrize("name", CRON)
def test_every_function_of_cron_has_a_row_with_its_arguments(name: str) -> None:
    row = re.search(rf"^\| `{name}\((.*?)\)` \|", reference("api"), re.MULTILINE)

    assert row is not None
    named = [one.partition("=")[0] for one in row.group(1).split(", ")]
    assert named == list(inspect.signature(getattr(cron, name)).parameters)


@pytest.mark.parametrize("kind", all_errors())
def test_every_error_has_a_row_with_the_built_in_that_it_is(kind: type[BaseException]) -> None:
    row = row_of(reference("errors"), kind.__name__)

    built_in = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    assert built_in in (Exception, BaseException) or row[1] == f"`{built_in.__name__}`"


@pytest.mark.parametrize("name", all_signals())
def test_every_signal_has_a_row_with_its_arguments(name: str) -> None:
    row = row_of(reference("signals"), name)

    assert set(re.findall(r"`(\w+)`", row[2])) == set(all_signals()[name].providing_args or ())


def test_every_stored_field_and_index_is_in_the_documents_page(bench: Bench) -> None:
    page = reference("documents")
    worchflow = bench.bind(bench.celery(task_always_eager=True), retention=60)

    @worchflow.flow("documented", search=("customer",), retries=1)
    def documented(event: Event[dict[str, str]], step: Step) -> None:
        step.run("step", lambda: step.log("a line", field=1))
        step.run("second", step.progress, 0.5)
        step.send("child", "elsewhere")
        if event.attempt == 1:
            raise ConnectionError

    link = documented.si({"customer": "d"})
    with exporting():
        first = documented.apply_async(({"customer": "c"},), priority=3, link=link)
    worchflow.restart(first.id, "second").pause()
    worchflow.close()

    for name in ("executions", "steps", "logs"):
        fields = {field for one in bench.collection(name).find() for field in one}
        assert [field for field in fields if f"`{field}`" not in page] == []
    indexes = set(bench.collection("executions").index_information()) - {"_id_", "search_customer"}
    assert [index for index in indexes if f"| `{index}` |" not in page] == []


# -- links and text ----------------------------------------------------------------------------


@on_each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


def test_every_page_is_linked_from_the_start_page() -> None:
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in links(DOCS / "index.md")}

    assert [page for page in DOCS.rglob("*.md") if page not in linked] == [DOCS / "index.md"]


@on_each_page
def test_no_page_speaks_of_one_machine(page: Path) -> None:
    assert LOCAL.findall(page.read_text()) == []


def test_the_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    named = re.findall(r"^make ([a-z]+)", README.read_text(), re.MULTILINE)

    targets = re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert named == ["demo", "test"]
    assert set(named) <= set(targets)


# -- code --------------------------------------------------------------------------------------


@pytest.fixture
def namespace(bench: Bench) -> Iterator[dict[str, Any]]:
    """What a page takes for granted: an app, imports made before, and code of the reader's own."""
    own = """late_customers send_reminder read_rows write_rows send_mail file_away reserve charge
        charge_and_reserve weigh ship send_report validate"""
    answer = SimpleNamespace(status=200, charge_id="charge-1", retry_after=1)
    app = bench.celery(task_always_eager=True)
    worchflow = bench.bind(app)
    yield {
        **{name: lambda *args, **options: list(map(str, args)) for name in own.split()},
        "gateway": SimpleNamespace(charge=lambda *args, **options: answer),
        **{"Event": Event, "Step": Step, "AsyncStep": AsyncStep},
        **{"app": app, "worchflow": worchflow, "__name__": "snippets"},
    }
    worchflow.close()


def globals_of(code: CodeType) -> set[str]:
    """What the functions of a snippet will look for when they are called."""
    own = {one.argval for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL"}
    return own.union(*map(globals_of, filter(inspect.iscode, code.co_consts)))


@on_each_page
def test_every_snippet_compiles_and_those_of_a_page_run_in_their_order(
    page: Path, namespace: dict[str, Any]
) -> None:
    used: set[str] = set()
    for comment, text in blocks(page, "python"):
        code = compile(text, page.name, "exec")
        if page in (README, TUTORIAL) or comment.startswith("compiled only:"):
            continue  # the first two are run as they are shown, below
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, namespace)
        used |= globals_of(code)

    assert used <= {*namespace, *vars(builtins)}
    for name, found in list(namespace.items()):
        if name.startswith("test_"):
            found()


@pytest.fixture
def place(bench: Bench, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a program that a page shows: databases of its own."""
    broker = bench.redis_url.rpartition("/")[0] + "/9"
    database = bench.database_url.replace("/worchflow", f"/{bench.prefix}")
    urls = {"WORCHFLOW_REDIS_URL": broker, "WORCHFLOW_DATABASE_URL": database}
    yield {**urls, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with pymongo.MongoClient[dict[str, Any]](database) as client:
        client.drop_database(bench.prefix)
    with redis.Redis.from_url(broker) as client:
        client.flushdb()


def saved(page: Path, name: str, directory: Path) -> Path:
    """The program that a page shows, as its reader saves it; only that it does not dawdle."""
    program = directory / name
    program.write_text(blocks(page, "python")[0][1].replace("time.sleep(3)", "time.sleep(0)"))
    return program


def run(program: Path, *arguments: str, place: dict[str, str]) -> str:
    command = [sys.executable, program, *arguments]
    ended = subprocess.run(command, env=place, capture_output=True, text=True, timeout=40)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_quickstart_runs(bench: Bench, tmp_path: Path, place: dict[str, str]) -> None:
    program = saved(README, "shop.py", tmp_path)

    with workers(bench, tmp_path, "shop", **place) as start:
        worker = start("-c", "1").ready()
        printed = run(program, place=place)

    assert printed == "charged 100 to cust_7\n"
    assert worker.text().count("charged 100 to cust_7") == 1


def test_the_tutorial_shows_what_its_program_prints(
    bench: Bench, tmp_path: Path, place: dict[str, str]
) -> None:
    program = saved(TUTORIAL, "orders.py", tmp_path)
    _, _, (_, shown), *_ = blocks(TUTORIAL, "text")

    with workers(bench, tmp_path, "orders", **place) as start:
        worker = start("--pool", "solo").ready()
        sent = run(program, "send", "1", "pens", "ink", place=place)
        eventually(lambda: "order-1 of order is completed" in worker.text(), within=20)
        printed = run(program, "show", "order-1", place=place)

    assert sent in ("order-1 queued\n", "order-1 processing\n")  # the worker may be quick
    assert printed == shown


def shape(spans: str) -> list[str]:
    """Spans as they are printed, their random ids numbered in the order in which they are met."""
    ids = re.findall(r"^(\w+) in ", spans, re.MULTILINE)
    number = {id: str(ids.index(id)) for id in ids}
    return [
        " ".join(number.get(word, word) for word in line.split()) for line in spans.splitlines()
    ]


def test_the_page_about_traces_shows_what_its_program_prints(
    tmp_path: Path, place: dict[str, str]
) -> None:
    program = saved(TRACE, "traced.py", tmp_path)
    ((_, shown),) = blocks(TRACE, "text")

    printed = run(program, place=place)

    assert shape(printed) == shape(shown)
