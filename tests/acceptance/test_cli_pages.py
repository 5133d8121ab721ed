"""`dashboard` and `openapi`: the pages, from the command line."""

import json
import re
import signal
import socket
import urllib.request
from contextlib import suppress

import pytest

from tests.acceptance.console import Console
from tests.support import eventually

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_the_dashboard_answers_until_ctrl_c(desk: Console) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    serving = desk.begin("dashboard", "--port", url.rpartition(":")[2])

    def answers() -> bool:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as page:
            return bool(page.status == 200)
        return False

    eventually(answers, within=30)
    serving.send_signal(signal.SIGINT)
    _, err = serving.communicate(timeout=20)
    assert serving.returncode == 130
    assert f"dashboard at {url}" in err and "Traceback" not in err


def test_an_address_for_others_is_refused_without_users_with_7(desk: Console) -> None:
    answer = desk.run("dashboard", "--host", "0.0.0.0", "--port", "0")

    assert answer.code == 7
    assert "--auth-file" in answer.err and "dashboard at" not in answer.err


def test_an_address_that_is_taken_is_5(desk: Console) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        answer = desk.run("dashboard", "--port", str(other.getsockname()[1]))

    assert answer.code == 5
    assert "is it taken?" in answer.err and "Traceback" not in answer.err


def test_openapi_is_json_and_needs_no_app(desk: Console) -> None:
    answer = desk.process("openapi", app=None)

    assert re.fullmatch(r"3\.\d\.\d", json.loads(answer.out)["openapi"])
