"""Every example does what it says, run by the two commands that its docstring names."""

import ast
import itertools
import os
import re
import subprocess
import sys
import textwrap
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pymongo
import pytest
import redis
from celery import Celery

from tests.support import ROOT, Worker
from worchflow_celery import Worchflow
from worchflow_celery.servers import Servers

MOST_LINES = 60
#: So many examples at once: they wait more than they work.
AT_ONCE = 4
#: Each example has Celery's default queue, and so a logical database of Redis of its own.
FIRST_REDIS_DATABASE = 1

COMMANDS = re.compile(r"^    celery -A (\S+) worker\n    python -m (\S+)$", re.MULTILINE)
FILES = [
    path.relative_to(ROOT)
    for path in sorted((ROOT / "examples").rglob("*.py"))
    if path.name != "__init__.py" and "demo" not in path.parts
]


def commands(path: Path) -> tuple[str, str]:
    """The modules that an example's docstring says to run: of the worker and of the program."""
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text()), clean=False) or ""
    (pair,) = COMMANDS.findall(docstring)  # named once
    return pair[0], pair[1]


PAIRS = sorted({commands(path) for path in FILES})


@dataclass(frozen=True)
class Shown:
    """What an example prints, a pattern a line, and in which statuses it leaves executions."""

    lines: str
    #: ``None``: it goes on for as long as there is a beat.
    statuses: dict[str, int] | None
    #: What its worker prints.
    worker: tuple[str, ...] = ()
    #: Options of its worker.
    options: tuple[str, ...] = ()


EXAMPLES = {
    "examples.quickstart.send": Shown(
        r"""
        sent: [0-9a-f-]{36}
        result: ch_cust_7 for 1990
        status: completed
        step: Validate payment is completed
        step: Charge card is completed
        step: Send receipt is completed
        """,
        {"completed": 1},
        ("charging 1990 to cust_7, once for the key", "the receipt for ch_cust_7 is on its way"),
    ),
    "examples.retries": Shown(
        r"""
        result: parcel for 1 Main Street, pickup booked in run 3 of the step
        attempt 1: retrying, the carrier does not answer
        attempt 2: retrying, the carrier asks to wait half a second
        attempt 3: completed
        failed: execution '[0-9a-f-]{36}' failed: NonRetriableError: no such address
        """,
        {"completed": 1, "failed": 1},
    ),
    "examples.timeouts": Shown(
        r"""
        result: 42 rows, in attempt 2
        attempt 1: retrying, flow 'make-report' ran longer than its timeout of 2 s
        attempt 2: completed
        step Download: completed in run 2
        """,
        {"completed": 1},
    ),
    "examples.idempotency": Shown(
        r"""
        the same execution: True
        refused: id 'order-[0-9a-f]{6}' belongs to an execution with other data.*
        result: called 2 times, charged 1 time, key order-[0-9a-f]{6}:Charge
        """,
        {"completed": 1},
    ),
    "examples.async_flow": Shown(
        r"""
        result: Mill
        steps: 4
        three questions of a second each took [12] s
        """,
        {"completed": 1},
    ),
    "examples.value_types": Shown(
        r"""
        Invoice\(total=Decimal\('19\.90'\), due=datetime\.datetime\(.*tzinfo=.*utc\), .*UUID\(.*
        \{'number': 1180591620717411303424, 'pages': \(1, 2\), 'tags': \{'new'\}\}
        \[b'\\x00\\xff', datetime\.timedelta\(days=30\), None\]
        """,
        {"completed": 1},
    ),
    "examples.existing_project": Shown(
        r"""
        chain: dear customer, order 7 is paid
        execution in the chain: completed
        send_task: order 8 is paid
        execution by name: completed
        """,
        {"completed": 2},
        ("reserved for order 7", "charged 70", "reserved for order 8", "charged 80"),
    ),
    "examples.limit_per_customer": Shown(
        r"""
        ann's exports ran one after the other: True
        bob did not wait for ann: True
        the fifth mail began 1 s after the first
        """,
        {"completed": 10},
    ),
    "examples.human_approval": Shown(
        r"""
        both wait, and no worker does
        paid, approved by accounting
        refused by accounting
        """,
        {"completed": 2},
        ("please decide on 120", "paid 120"),
    ),
    "examples.money_transfer": Shown(
        r"""
        failed: the account is closed
        compensated: True
        run Withdraw: completed
        run Charge fee: completed
        run Deposit: failed
        compensate Charge fee: completed
        compensate Withdraw: completed
        run on_failure: completed
        run Apologise: completed
        """,
        {"completed": 1, "failed": 1},
        ("gave back 1 from ada", "gave back 70 from ada", "dear ada, the account is closed"),
    ),
    "examples.drip_campaign": Shown(
        r"""
        ada bought a book
        ben did not answer
        letters to ben: 4
        """,
        {"completed": 2},
        ("welcome, ada", "first tip for ada", "third tip for ben"),
    ),
    "examples.fan_out": Shown(
        r"""
        7 words: IT WAS / A DARK AND STORMY / NIGHT
        not published: there is nothing to translate
        chapters: 5
        """,
        {"completed": 6, "failed": 1},
    ),
    "examples.photo_album": Shown(
        r"""
        result: Holiday: 5 photos from the beach
        attempts: 2
        step Shrink\[0\]: completed in run 2
        step Shrink\[1\]: completed in run 1
        step Shrink\[2\]: completed in run 1
        step Shrink\[3\]: completed in run 1
        step Shrink\[4\]: completed in run 1
        step title: completed in run 1
        step where: completed in run 1
        """,
        {"completed": 1},
        ("shrunk beach.jpg", "shrunk sun.jpg"),
    ),
    "examples.video_encode": Shown(
        r"""
        (?:#+ +frame \d+ of 400
        ){2,}(?:#{40} uploaded
        ){1,2}result: holiday\.mp4
        """,
        {"completed": 1},
        ("uploaded holiday.mp4",),
    ),
    "examples.schedule": Shown(
        r"""
        daily-report: 0 6 \* \* MON-FRI in Europe/Berlin
        take-reading: \*/2 \* \* \* \* \* in UTC
        take-reading fired on an even second: True
        read 21
        paused: \['take-reading'\]
        all is well
        """,
        None,
        ("This scheduler leads",),
        ("-B", "--scheduler", "worchflow", "--schedule", os.devnull),
    ),
    "examples.django_project.send": Shown(
        r"""
        result: /articles/ten-steps-to-a-durable-workflow/ from examples\.django_project\.settings
        status: completed
        lease of 20 s, as the settings say
        """,
        {"completed": 1},
        ("to all subscribers: read ten-steps-to-a-durable-workflow",),
    ),
}


@dataclass(frozen=True)
class Performance:
    """An example that was run: what its program and its worker printed, what MongoDB has of it."""

    program: subprocess.CompletedProcess[str]
    log: str
    statuses: Counter[str]


@pytest.fixture(scope="module")
def performances(
    running_servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, "Future[Performance]"]]:
    """All examples, run side by side, each upon databases of its own."""
    directory = tmp_path_factory.mktemp("examples")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            program: pool.submit(perform, worker, program, directory, place)
            for (worker, program), place in zip(PAIRS, places(running_servers), strict=False)
        }


def places(servers: Servers) -> Iterator[dict[str, str]]:
    """For each example the addresses of a Redis and a MongoDB database, as its environment.

    Redis has fifteen of them; whoever comes later gets one that was left long ago.
    """
    for number in itertools.cycle(range(FIRST_REDIS_DATABASE, 16)):
        name = f"examples-{uuid.uuid4().hex[:10]}"
        yield {
            "WORCHFLOW_REDIS_URL": urlsplit(servers.redis_url)._replace(path=f"/{number}").geturl(),
            "WORCHFLOW_DATABASE_URL": urlsplit(servers.database_url)
            ._replace(path=f"/{name}")
            .geturl(),
        }


def perform(worker: str, program: str, directory: Path, place: dict[str, str]) -> Performance:
    """Start the worker, run the program beside it, and look at what there is then."""
    # A killed worker leaves temporary files behind.
    environment = {**place, "TMPDIR": str(directory)}
    with redis.Redis.from_url(place["WORCHFLOW_REDIS_URL"]) as broker:
        broker.flushdb()
    log, options = directory / f"{program}.log", EXAMPLES[program].options
    running = Worker(worker, environment, log, "-c", "2", *options)
    try:
        finished = subprocess.run(
            [sys.executable, "-m", program],
            cwd=ROOT,
            env={**os.environ, **place},
            capture_output=True,
            text=True,
            timeout=90,
        )
    finally:
        running.end()
    return Performance(finished, running.text(), statuses(place["WORCHFLOW_DATABASE_URL"]))


def statuses(database_url: str) -> Counter[str]:
    """How many executions there are of each status; the database is removed."""
    worchflow = Worchflow(Celery(set_as_current=False), database_url=database_url)
    found = Counter(str(execution.status) for execution in worchflow.find())
    worchflow.close()
    with pymongo.MongoClient[dict[str, object]](database_url) as client:
        client.drop_database(client.get_default_database())
    return found


@pytest.mark.parametrize("program", EXAMPLES)
def test_an_example_prints_what_it_promises(
    performances: dict[str, "Future[Performance]"], program: str
) -> None:
    performance = performances[program].result()

    pattern = textwrap.dedent(EXAMPLES[program].lines).lstrip()

    assert performance.program.returncode == 0, performance.program.stderr + performance.log
    assert re.fullmatch(pattern, performance.program.stdout), performance.program.stdout
    for line in EXAMPLES[program].worker:
        assert line in performance.log
    assert performance.program.stderr == ""


@pytest.mark.parametrize("program", [name for name, of in EXAMPLES.items() if of.statuses])
def test_an_example_leaves_its_executions_finished(
    performances: dict[str, "Future[Performance]"], program: str
) -> None:
    performance = performances[program].result()

    assert performance.statuses == EXAMPLES[program].statuses


@pytest.mark.parametrize("path", FILES, ids=str)
def test_an_example_file_is_short_and_run_here(path: Path) -> None:
    _, program = commands(path)

    assert program in EXAMPLES
    assert len((ROOT / path).read_text().splitlines()) <= MOST_LINES


def test_the_readme_lists_each_example_with_its_commands() -> None:
    readme = (ROOT / "examples/README.md").read_text()

    rows = [line.split(" | ") for line in readme.splitlines() if line.startswith("| [")]

    listed = {(worker, program.removesuffix(" |")) for _, _, worker, program in rows}
    assert listed == {(f"`celery -A {w} worker`", f"`python -m {p}`") for w, p in PAIRS}


def test_the_readme_s_links_lead_somewhere() -> None:
    readme = (ROOT / "examples/README.md").read_text()

    links = re.findall(r"\]\(([^)]+)\)", readme)

    assert links
    assert [link for link in links if not (ROOT / "examples" / link).exists()] == []
