"""Commands that change something, and what they end with."""

import json

import pytest

from tests.acceptance.console import Console
from tests.support import eventually

pytestmark = pytest.mark.slow


def sent(desk: Console, *words: str) -> str:
    answer = desk.run("send", *words)
    assert answer.code == 0, answer.err
    return answer.out.strip()


def test_send_prints_the_id_alone_and_the_model_reads_the_words(desk: Console) -> None:
    id = sent(desk, "pay", "amount=5", "customer_id=12345", "note=null")

    data = desk.worchflow.get(id).data
    assert data == {"amount": 5, "customer_id": "12345", "note": None} or data["note"] == "null"


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (["--data", '{"amount": 1, "customer_id": "a"}'], ""),
        (["--json-file", "-"], '{"amount": 1, "customer_id": "a"}'),
    ],
    ids=["data", "stdin"],
)
def test_send_takes_json(desk: Console, words: list[str], stdin: str) -> None:
    answer = desk.run("send", "pay", *words, "--wait", stdin=stdin)

    assert answer.code == 0
    assert json.loads(answer.out) == {"charged": 1, "note": None}


def test_a_key_starts_once(desk: Console) -> None:
    words = ["pay", "amount=1", "customer_id=a", "--key", "order-1"]

    assert sent(desk, *words) == sent(desk, *words) == "order-1"


def test_a_signal_lets_a_waiting_execution_go_on(desk: Console) -> None:
    id = sent(desk, "approve")
    eventually(lambda: desk.worchflow.get(id).status == "waiting", within=20)

    answer = desk.run("signal", id, "answer", "ok=true")

    assert answer.code == 0
    assert desk.worchflow.handle(id).result(timeout=20) == {"ok": True}


def test_pause_and_resume_hold_an_execution(desk: Console) -> None:
    id = sent(desk, "approve")

    paused = desk.run("pause", id), desk.worchflow.get(id).paused
    resumed = desk.run("resume", id), desk.worchflow.get(id).paused

    assert (paused[0].code, paused[1]) == (0, True)
    assert (resumed[0].code, resumed[1]) == (0, False)


def test_rerun_starts_another_execution_of_the_same_data(desk: Console) -> None:
    answer = desk.run("rerun", desk.done["completed"].id[:8])

    ((id, verb, of),) = answer.rows
    again = desk.worchflow.get(id)
    assert (verb, of) == ("rerun", desk.done["completed"].id)
    assert again.id != desk.done["completed"].id
    assert again.data == desk.done["completed"].get().data


def test_a_schedule_is_triggered(desk: Console) -> None:
    answer = desk.run("schedules", "trigger", "daily")

    assert desk.worchflow.handle(answer.out.strip()).result(timeout=20) == "done"


def test_a_dry_run_names_what_it_would_be_and_changes_nothing(desk: Console) -> None:
    before = desk.done["failed"].get()

    answer = desk.run("retry", "--status", "failed", "--where", "customer_id=cust_7", "--dry-run")

    assert answer.rows == [[before.id, "would retry"]]
    assert desk.done["failed"].get() == before


def test_who_cannot_be_asked_must_say_yes(desk: Console) -> None:
    words = ["retry", "--flow", "pay", "--where", "customer_id=cust_7"]

    unasked = desk.run(*words)
    sure = desk.run(*words, "--yes")

    assert (unasked.code, unasked.out) == (2, "")
    assert "--yes" in unasked.err
    assert sure.rows == [[desk.done["failed"].id, "retry"]]
    eventually(lambda: desk.done["failed"].status == "failed", within=20)


@pytest.mark.parametrize(("key", "code"), [("n\n", 130), ("y\n", 0)], ids=["no", "yes"])
def test_a_terminal_is_asked_with_the_number(desk: Console, key: str, code: int) -> None:
    id = sent(desk, "pay", "amount=999", f"customer_id=asked-{code}")
    eventually(lambda: desk.worchflow.get(id).status == "failed", within=20)

    answer = desk.on_terminal("retry", "--where", f"customer_id=asked-{code}", keys=key)

    assert "retry 1 execution?" in answer.out
    assert answer.code == code
    assert (desk.worchflow.get(id).trigger.kind == "retry") is (code == 0)


def test_a_failed_execution_is_1_for_who_waits(desk: Console) -> None:
    waited = desk.run("send", "pay", "amount=999", "customer_id=a", "--wait", "--json")
    watched = desk.run("watch", desk.done["failed"].id, "--until-done")

    assert (waited.code, json.loads(waited.out)["status"]) == (1, "failed")
    assert watched.code == 1
    assert "✗ failed" in watched.out


@pytest.mark.parametrize(
    "words",
    [
        ["send", "pay", "amount=1", "customer_id=a", "--data", "{}"],
        ["send", "pay", "--data", "{"],
        ["send", "pay", "--data", "[" * 100_000],
        ["send", "pay", "amount"],
        ["send", "pay", "--json-file", "/no/such/file"],
        ["ls", "--since", "yesterday"],
        ["ls", "--status", "burning"],
        ["ls", "--limit", "-1"],
        ["ls", "--cursor", "nonsense"],
        ["ls", "--where", "$where=1"],
        ["ls", "--flow", "a flow"],
        ["show", "'; rm -rf / #"],
        ["show", "\x1b[31m"],
        ["retry"],
        ["retry", "abcdef", "--status", "failed"],
        ["watch", "--until-done"],
        ["nonsense"],
    ],
    ids=lambda words: " ".join(words)[:40].replace("\x1b", "ESC"),
)
def test_wrong_usage_is_2_in_a_few_lines(desk: Console, words: list[str]) -> None:
    answer = desk.run(*words)

    assert (answer.code, answer.out) == (2, "")
    assert "Traceback" not in answer.err and "\x1b" not in answer.err


def test_an_ambiguous_id_is_2_and_names_those_it_may_be(desk: Console) -> None:
    for number in "12":
        sent(desk, "pay", "amount=1", "customer_id=a", "--key", f"ambiguous-{number}")

    answer = desk.run("show", "ambiguous")

    assert answer.code == 2
    assert "ambiguous-1, ambiguous-2" in answer.err


@pytest.mark.parametrize(
    "words",
    [
        ["show", "no-such-id"],
        ["show", "x"],
        ["retry", "no-such-id"],
        ["watch", "no-such-id"],
        ["send", "pai"],
        ["schedules", "show", "pay"],
        ["schedules", "trigger", "pay"],
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_3(desk: Console, words: list[str]) -> None:
    answer = desk.run(*words)

    assert (answer.code, answer.out) == (3, "")
    assert answer.err.startswith("error: ") and answer.err.count("\n") == 1


def test_what_the_status_does_not_allow_is_4_and_names_it(desk: Console) -> None:
    answer = desk.run("retry", desk.done["completed"].id)

    assert answer.code == 4
    assert "is completed" in answer.err


def test_a_key_of_another_execution_is_4(desk: Console) -> None:
    sent(desk, "pay", "amount=1", "customer_id=a", "--key", "taken")

    answer = desk.run("send", "pay", "amount=2", "customer_id=a", "--key", "taken")

    assert answer.code == 4


def test_an_unreachable_store_is_5_without_its_password(desk: Console) -> None:
    url = "mongodb://someone:s3cret@127.0.0.1:1/db"

    answer = desk.run("ls", database_url=url)

    assert answer.code == 5
    assert "127.0.0.1:1" in answer.err
    assert "s3cret" not in answer.err and "Traceback" not in answer.err


def test_data_that_does_not_fit_is_6_and_names_the_field(desk: Console) -> None:
    answer = desk.run("send", "pay", "amount=many", "customer_id=a")

    assert (answer.code, answer.out) == (6, "")
    assert "amount" in answer.err


@pytest.mark.parametrize("app", [None, "tests.no_such_module", "tests.support"])
def test_no_app_or_a_wrong_one_is_2(desk: Console, app: str | None) -> None:
    answer = desk.process("ls", app=app)

    assert (answer.code, answer.out) == (2, "")
    assert "Traceback" not in answer.err


def test_what_is_done_is_in_the_audit_trail(desk: Console) -> None:
    id = sent(desk, "approve")

    desk.run("cancel", id)

    trail = [(one.action, one.n) for one in desk.worchflow.audit.list(target=id)]
    assert trail == [("cancel", 1), ("send", 1)]
    assert desk.worchflow.get(id).status == "cancelled"
