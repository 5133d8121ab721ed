"""Commands that look: lists, one execution in full, schedules, errors."""

import json
import os
import subprocess

import pytest

from tests.acceptance.console import HOSTILE, MODULE, Console
from tests.support import eventually
from worchflow_celery import Execution

pytestmark = pytest.mark.slow


def test_a_pipe_gets_whole_ids_and_times_between_tabs(desk: Console) -> None:
    (row,) = desk.run("ls", "--status", "failed").rows

    execution = desk.done["failed"].get()
    created = execution.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert row[:5] == ["failed", "pay", "Charge", "2", created]
    assert row[6] == execution.id


def test_a_terminal_gets_headings_glyphs_and_short_ids(desk: Console) -> None:
    answer = desk.on_terminal("ls")

    assert "STATUS" in answer.out and "✗ failed" in answer.out and "2/2" not in answer.err
    assert desk.done["failed"].id[:8] in answer.out
    assert desk.done["failed"].id not in answer.out


def test_json_is_one_object_per_line_with_the_models_keys(desk: Console) -> None:
    answer = desk.run("ls", "--json")

    found = [Execution.model_validate(json.loads(line)) for line in answer.out.splitlines()]
    assert {handle.id for handle in desk.done.values()} <= {one.id for one in found}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--flow", "approve"], {"waiting"}),
        (["--where", "data.customer_id=cust_7"], {"failed"}),
        (["--where", "customer_id=7"], {"completed"}),
        (["--status", "waiting", "--status", "failed"], {"waiting", "failed"}),
        (["--since", "1h"], {"completed", "failed", "waiting"}),
        (["--until", "2020-01-01"], set()),
    ],
)
def test_filters_choose(desk: Console, words: list[str], names: set[str]) -> None:
    found = {row[6] for row in desk.run("ls", *words).rows}

    known = {handle.id: name for name, handle in desk.done.items()}
    assert {known[id] for id in found if id in known} == names


def test_a_page_says_where_the_next_one_begins(desk: Console) -> None:
    first = desk.run("ls", "--limit", "1")
    cursor = first.err.split()[-1]

    second = desk.run("ls", "--limit", "1", "--cursor", cursor)

    assert first.code == second.code == 0
    assert first.rows[0][6] != second.rows[0][6]


def test_show_tells_steps_attempts_error_and_data(desk: Console) -> None:
    text = desk.run("show", desk.done["failed"].id[:8]).out

    assert "✗ failed  pay" in text
    assert "Validate" in text and "▇" in text
    assert "attempt 1  retrying" in text and "attempt 2  failed" in text
    assert 'data  {"amount": 950' in text


def test_show_as_json_is_one_object(desk: Console) -> None:
    shown = json.loads(desk.run("show", desk.done["failed"].id, "--json").out)

    assert shown["execution"]["status"] == "failed"
    assert [step["key"] for step in shown["steps"]] == ["Validate", "Charge"]


@pytest.mark.parametrize(
    "words", [["--step", "Charge"], ["--attempt", "1"]], ids=["step", "attempt"]
)
def test_show_has_the_traceback_of_one_step_or_attempt(desk: Console, words: list[str]) -> None:
    text = desk.run("show", desk.done["failed"].id, *words).out

    assert "Traceback" in text and "in _refuse" in text


@pytest.mark.parametrize(
    "words",
    [
        ["ls"],
        ["ls", "--json"],
        ["errors"],
        ["show", "{failed}"],
        ["show", "{failed}", "--json"],
        ["show", "{failed}", "--step", "Charge"],
        ["show", "{waiting}"],
        ["logs", "{failed}"],
        ["watch", "{failed}", "--until-done"],
        ["send", "pay", "amount=999", "customer_id=x", "--wait"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_a_terminal_finds_nothing_to_obey(desk: Console, words: list[str], terminal: bool) -> None:
    ids = {name: handle.id for name, handle in desk.done.items()}
    given = [word.format(**ids) for word in words]

    if terminal:
        text = desk.on_screen(*given)
    else:
        answer = desk.run(*given)
        text = answer.out + answer.err

    assert text
    assert {c for c in HOSTILE if not c.isprintable()}.isdisjoint(text)


@pytest.mark.parametrize(
    "words",
    [
        ["ls"],
        ["ls", "--json"],
        ["errors"],
        ["show", "{failed}"],
        ["show", "{failed}", "--json"],
        ["show", "{failed}", "--step", "Charge"],
        ["show", "{failed}", "--attempt", "1"],
        ["logs", "{failed}"],
        ["watch", "{failed}", "--until-done"],
        ["send", "pay", "amount=999", "customer_id=cust_8", "--wait"],
    ],
    ids=" ".join,
)
def test_what_is_to_be_hidden_is_hidden(desk: Console, words: list[str]) -> None:
    ids = {name: handle.id for name, handle in desk.done.items()}

    answer = desk.run(*[word.format(**ids) for word in words], redact=True)

    assert "[of pay]" in answer.out + answer.err
    assert "cust_" not in answer.out + answer.err


def test_logs_are_printed_with_their_level_until_the_execution_has_ended(desk: Console) -> None:
    answer = desk.run("logs", desk.done["failed"].id, "--follow")

    lines = answer.out.splitlines()
    assert answer.code == 0
    assert len(lines) == 2 and all("WARNING  charging cust_7" in line for line in lines)


def test_errors_are_grouped_with_their_count_and_newest_execution(desk: Console) -> None:
    rows = desk.run("errors", "--flow", "pay").rows

    ours = [row for row in rows if "cust_7" in row[5]]
    assert [row[:3] for row in ours] == [["1", "pay", "ConnectionError"]]
    assert ours[0][4] == desk.done["failed"].id


def test_flows_are_listed_with_what_their_decorators_say(desk: Console) -> None:
    rows = {row[0]: row for row in desk.run("flows").rows}

    assert set(rows) == {"pay", "approve", "daily"}
    assert rows["pay"][1] == "1" and rows["pay"][6] == "Charge a customer."
    assert rows["daily"][4] == "0 0 * * *"


def test_workers_are_listed_with_their_flows(desk: Console) -> None:
    (row,) = eventually(lambda: desk.run("workers").rows, within=20)

    assert (row[1], row[2]) == ("alive", "prefork")
    assert row[6] == "approve, daily, pay"


def test_a_schedule_is_paused_and_resumed(desk: Console) -> None:
    paused = desk.run("schedules", "pause", "daily")
    listed = desk.run("schedules", "ls")
    resumed = desk.run("schedules", "resume", "daily")

    assert paused.rows == [["daily", "paused"]]
    assert listed.rows[0][5] == "paused"
    assert resumed.rows == [["daily", "active"]]


def test_a_schedule_is_shown_with_its_next_times(desk: Console) -> None:
    shown = json.loads(desk.run("schedules", "show", "daily", "--json").out)

    assert shown["schedule"]["cron"] == "0 0 * * *"
    assert len(shown["next_runs"]) == 10


def test_no_missed_window_is_no_line(desk: Console) -> None:
    answer = desk.run("schedules", "missed")

    assert (answer.code, answer.out) == (0, "")


def test_no_color_and_pipes_have_no_colours(desk: Console) -> None:
    coloured = desk.on_terminal("ls").out
    plain = desk.on_terminal("ls", NO_COLOR="1").out

    assert "\x1b[" in coloured
    assert "\x1b[" not in plain and "\x1b[" not in desk.process("ls").out


def test_a_closed_pipe_is_left_without_a_word(desk: Console) -> None:
    read, write = os.pipe()
    os.close(read)

    with os.fdopen(write, "w") as closed:
        ended = subprocess.run(
            desk.command("ls"),
            env=desk.environment,
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )

    assert (ended.returncode, ended.stderr) == (141, b"")


def test_help_needs_no_app(desk: Console) -> None:
    answer = desk.process("--help", app=None)

    assert answer.code == 0
    assert all(f"  {name} " in answer.out for name in ("ls", "show", "send", "doctor", "dev"))
    assert MODULE not in answer.out


@pytest.mark.parametrize(
    "words",
    [
        ["ls", "--status", "failed"],
        ["ls", "--json"],
        ["ls", "--status", "burning"],
        ["show", "{failed}", "--json"],
        ["show", "no-such-id"],
        ["logs", "{failed}"],
        ["errors"],
        ["flows"],
        ["schedules", "ls"],
        ["watch", "{failed}", "--until-done", "--json"],
    ],
    ids=" ".join,
)
def test_a_process_says_what_is_heard_in_this_one(desk: Console, words: list[str]) -> None:
    ids = {name: handle.id for name, handle in desk.done.items()}
    given = [word.format(**ids) for word in words]

    answer, heard = desk.process(*given), desk.run(*given)

    assert (answer.code, answer.out) == (heard.code, heard.out)
    assert answer.err.splitlines()[-1:] == heard.err.splitlines()[-1:]
    assert bool(heard.out) is (heard.code in (0, 1))
