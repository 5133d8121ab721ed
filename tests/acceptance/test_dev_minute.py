"""The first minute of `dev`: a browser, a demo that has run, a killed worker whose work goes on."""

import json
import re
import stat
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.developing import Development, developing
from tests.support import eventually
from worchflow_celery import demo
from worchflow_celery.servers import Servers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser was told to show."""
    return tmp_path_factory.mktemp("browser") / "opened"


@pytest.fixture(scope="module")
def running(project: Path, opened: Path) -> Iterator[Development]:
    """One `dev` with a browser that writes down what it is to show."""
    with developing(project) as begin:
        one = begin("--port", "0", BROWSER=_browser(opened))
        one.hears("the dashboard is there")
        yield one


def _browser(opened: Path) -> str:
    script = opened.with_name("browser")
    script.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return f"{script} %s"


@pytest.fixture
def develop(tmp_path: Path) -> Iterator[Callable[..., Development]]:
    with developing(tmp_path) as begin:
        yield begin


def url_of(running: Development) -> str:
    found = re.search(r"the dashboard is there: (http://\S+)", running.text)
    assert found is not None
    return found[1]


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_the_browser_is_opened_on_the_dashboard(running: Development, opened: Path) -> None:
    eventually(opened.exists, what=running.text)

    assert opened.read_text().split()[0] == url_of(running)


def test_a_key_opens_the_page_for_sending(running: Development, opened: Path) -> None:
    running.press("s")

    eventually(lambda: f"{url_of(running)}/send" in opened.read_text(), what=running.text)


def test_the_demo_has_run_before_anybody_did_anything(running: Development) -> None:
    shown = f'class="thumb" href="/executions/{demo.FIRST}"><span><span class="status completed"'

    eventually(lambda: shown in page(url_of(running)), within=20, what="the first run")


def test_the_killed_one_goes_on_before_ones_eyes(running: Development) -> None:
    url = url_of(running)
    killed = next(trial for trial in demo.TRIALS if trial.order.killed)
    fields = {"flow": demo.DEMO, "as": "json", "json": killed.order.model_dump_json(), "id": "k"}
    asked = urllib.request.Request(
        f"{url}/send", urllib.parse.urlencode(fields).encode(), {"origin": url}
    )

    urllib.request.urlopen(asked, timeout=10).close()

    def shown() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(running.run("show", "k", "--json").out)["execution"]
        return found

    eventually(lambda: shown()["status"] == "completed", within=40, what=running.text)
    assert shown()["crashes"] == 1


def test_the_demo_is_no_part_of_the_app(running: Development) -> None:
    assert running.run("flows").out.split("\n")[0].startswith("greet")
    assert demo.DEMO not in running.run("flows").out


def test_neither_browser_nor_demo_come_to_who_wants_none(
    develop: Callable[..., Development], tmp_path: Path
) -> None:
    opened = tmp_path / "opened"

    running = develop("--port", "0", "--no-open", "--no-demo", BROWSER=_browser(opened))
    running.hears("the dashboard is there")
    running.hears("ready.")

    assert "The first minute" not in page(url_of(running))
    assert not opened.exists()


def test_nothing_is_added_to_servers_that_are_somebodys(
    develop: Callable[..., Development], running_servers: Servers
) -> None:
    database = running_servers.database_url.replace("/worchflow?", "/somebodys?")
    named = ("--redis", running_servers.redis_url, "--mongo", database)

    running = develop("--port", "0", *named)
    running.hears("the dashboard is there")
    running.hears("ready.")

    assert demo.DEMO not in running.text
    assert "No executions yet" in page(url_of(running))
