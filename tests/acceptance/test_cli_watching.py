"""`watch` and the other commands that wait."""

import json
import select
import signal

import pytest

from tests.acceptance.console import Console
from tests.support import eventually

pytestmark = pytest.mark.slow

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.mark.parametrize("redis_url", [None, NOWHERE], ids=["live", "without Redis"])
def test_a_failed_execution_is_shown_from_its_first_step_and_is_1(
    desk: Console, redis_url: str | None
) -> None:
    answer = desk.run("watch", desk.done["failed"].id, "--until-done", redis_url=redis_url)

    assert answer.code == 1
    lines = answer.out.splitlines()
    assert "Validate" in lines[0] and "✓ completed" in lines[0]
    assert "✗ failed" in lines[-1]
    assert ("without Redis" in answer.err) is bool(redis_url)


@pytest.mark.parametrize(
    "environment", [{}, {"TEST_REDIS_URL": NOWHERE}], ids=["live", "without Redis"]
)
def test_everything_is_seen_as_it_happens(desk: Console, environment: dict[str, str]) -> None:
    watching = desk.begin("watch", "--timeout", "30", "--json", **environment)
    assert watching.stdout is not None
    sent = set()

    def heard() -> bool:  # whatever is sent before it has begun, it does not see
        sent.add(desk.worchflow.send("pay", {"amount": 1, "customer_id": "w"}).id)
        return bool(select.select([watching.stdout], [], [], 0.5)[0])

    eventually(heard, within=25)
    update = json.loads(watching.stdout.readline())
    assert update["execution_id"] in sent
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=20)
    assert watching.returncode == 130


def test_a_completed_execution_is_0_for_who_watches(desk: Console) -> None:
    watched = desk.run("watch", desk.done["completed"].id, "--until-done", "--json")

    last = json.loads(watched.out.splitlines()[-1])
    assert (watched.code, last["status"]) == (0, "completed")


@pytest.mark.parametrize(
    "words",
    [["watch", "{waiting}", "--timeout", "1"], ["send", "approve", "--timeout", "0.5s"]],
    ids=["watch", "send"],
)
def test_a_timeout_is_124(desk: Console, words: list[str]) -> None:
    answer = desk.run(*[word.format(waiting=desk.done["waiting"].id) for word in words])

    assert answer.code == 124


def test_ctrl_c_is_130(desk: Console) -> None:
    watching = desk.begin("watch", desk.done["failed"].id)
    assert watching.stdout is not None
    assert watching.stdout.readline()

    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=20)

    assert (watching.returncode, err) == (130, "interrupted\n")
