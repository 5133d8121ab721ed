"""The demo shows what it says, proves it by what happened, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support import ROOT, eventually

COMMAND = [sys.executable, "-m", "examples.demo"]
PROOF = [
    "payments completed                      4 of 4",
    "executions lost                         0",
    "steps finished                          12 of 12",
    "steps repeated after their checkpoint   0",
    "steps interrupted and run again         [12]",
    r"slowest return .*  \d\.\d s; promised: 5 s lease \+ 3 s",
]


def environment(directory: Path, **more: str) -> dict[str, str]:
    """Temporary files go to the directory, which also tells the demo's processes from others."""
    return {**os.environ, "TMPDIR": str(directory), "PYTHONIOENCODING": "utf-8", **more}


def processes_of(directory: Path) -> dict[int, str]:
    """Command lines of the processes that were told to use the directory, by their pids."""
    mark = f"TMPDIR={directory}".encode()
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                command = (process / "cmdline").read_text()
                found[int(process.name)] = command.replace("\0", " ")
        except OSError:  # it has ended, or is somebody else's
            continue
    return found


def left_by_demo(directory: Path) -> list[object]:
    """Its files and processes."""
    return [*directory.iterdir(), *processes_of(directory).values()]


@contextmanager
def demo_until(line: str, directory: Path) -> Iterator["subprocess.Popen[str]"]:
    """A demo that has just written a line."""
    with subprocess.Popen(
        COMMAND,
        cwd=ROOT,
        env=environment(directory),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        said = ""
        while line not in said:
            more = demo.stdout.readline()
            assert more, said
            said += more
        yield demo


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def shown(directory: Path) -> "subprocess.CompletedProcess[str]":
    """The whole demo, once."""
    return subprocess.run(
        COMMAND, cwd=ROOT, env=environment(directory), capture_output=True, text=True, timeout=120
    )


def test_the_demo_succeeds(shown: "subprocess.CompletedProcess[str]") -> None:
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stderr == ""


@pytest.mark.parametrize("line", PROOF)
def test_the_demo_ends_with_what_it_has_proven(
    shown: "subprocess.CompletedProcess[str]", line: str
) -> None:
    assert re.search(f"^  ✓ {line}$", shown.stdout, re.MULTILINE), shown.stdout


@pytest.mark.parametrize(
    "line",
    [
        r"worker A  ready",
        r"pay-\d     sent",
        r"pay-1     Validate payment  begins",
        r"pay-1     Validate payment  ✓ done, checkpoint stored",
        r"worker A  KILLED with SIGKILL, and all of its processes",
        r"worker B  ready",
        r"pay-1     its lease is over: taken back from the dead worker",
        r"pay-1     RESUMED by worker B at: Send receipt",
        r"pay-1     COMPLETED",
    ],
)
def test_the_demo_tells_what_happens_and_when(
    shown: "subprocess.CompletedProcess[str]", line: str
) -> None:
    assert re.search(rf"^ +\d+\.\d  {line}$", shown.stdout, re.MULTILINE), shown.stdout


def test_a_resumed_payment_names_the_steps_that_are_read_from_checkpoints(
    shown: "subprocess.CompletedProcess[str]",
) -> None:
    assert "read from their checkpoints: Validate payment, Charge card\n" in shown.stdout


def test_the_timeline_is_in_order(shown: "subprocess.CompletedProcess[str]") -> None:
    times = [float(one) for one in re.findall(r"^ +(\d+\.\d)  \S", shown.stdout, re.MULTILINE)]

    # What comes late from another process is written late, and not left out.
    assert all(later > earlier - 1 for earlier, later in pairwise(times))
    assert len(times) > 30


def test_output_that_is_not_a_terminal_has_no_control_characters_and_fits_80_columns(
    shown: "subprocess.CompletedProcess[str]",
) -> None:
    lines = shown.stdout.splitlines()

    assert [line for line in lines if not line.isprintable()] == []
    assert max(map(len, lines)) <= 80


def test_the_demo_leaves_neither_files_nor_processes(
    shown: "subprocess.CompletedProcess[str]", directory: Path
) -> None:
    assert shown.returncode == 0
    assert left_by_demo(directory) == []


@pytest.mark.parametrize(
    ("number", "moment"), [(signal.SIGINT, "worker A  starts"), (signal.SIGTERM, "pay-2     sent")]
)
def test_a_demo_that_is_stopped_ends_all_that_it_has_started(
    tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    with demo_until(moment, tmp_path) as demo:
        demo.send_signal(number)
        rest = demo.communicate(timeout=60)[0]

    assert demo.returncode == 128 + number
    assert "Traceback" not in rest
    assert eventually(lambda: left_by_demo(tmp_path) == [])


def test_a_demo_whose_worker_ends_by_itself_tells_its_last_words_and_fails(tmp_path: Path) -> None:
    with demo_until("worker A  ready", tmp_path) as demo:
        (worker,) = [
            pid
            for pid, command in processes_of(tmp_path).items()
            if " -n A@" in command and os.getpgid(pid) == pid
        ]
        os.killpg(worker, signal.SIGTERM)
        rest = demo.communicate(timeout=60)[0]

    assert demo.returncode == 1
    assert "error: worker A ended by itself with code 0:\n" in rest
    assert "Traceback" not in rest
    assert eventually(lambda: left_by_demo(tmp_path) == [])


def test_a_demo_without_servers_says_what_helps_and_exits_with_5(tmp_path: Path) -> None:
    nobody = "redis://:secret@127.0.0.1:1/0"

    demo = subprocess.run(
        COMMAND,
        cwd=ROOT,
        env=environment(tmp_path, WORCHFLOW_TEST_REDIS_URL=nobody),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert demo.returncode == 5
    assert demo.stderr.startswith("error: the redis-server at redis://:***@127.0.0.1:1/0, which ")
    assert "Traceback" not in demo.stderr
    assert left_by_demo(tmp_path) == []
