"""What the demo makes of its evidence, and of its terminal."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from examples.demo import proof, report
from examples.demo.effects import Effect
from examples.demo.proof import Evidence
from examples.demo.screen import CLEAR_LINE, Screen
from worchflow_celery import Execution, ExecutionStatus, StepRecord
from worchflow_celery.models import Attempt, Trigger

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = ("Charge", "Receipt")


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def effect(seconds: float, what: str, step: str, payment: str = "pay-1") -> Effect:
    return Effect(at(seconds), "A" if seconds < 5 else "B", what, f"{payment}:{step}")


def execution(payment: str, *attempts: tuple[float, float, str]) -> Execution:
    return Execution(
        id=payment,
        flow="process-payment",
        status=ExecutionStatus.COMPLETED,
        attempts=[
            Attempt(number=1, worker=None, started_at=at(begin), ended_at=at(end), outcome=outcome)
            for begin, end, outcome in attempts
        ],
        created_at=BEGAN,
        updated_at=BEGAN,
        trigger=Trigger(kind="send"),
    )


def step(payment: str, name: str, begun: float, finished: float) -> StepRecord:
    return StepRecord(
        execution_id=payment,
        key=name,
        name=name,
        status="completed",
        started_at=at(begun),
        finished_at=at(finished),
    )


def evidence() -> Evidence:
    """Two payments; the worker of the first was killed after 5 s, in its second step."""
    return Evidence(
        sent=("pay-1", "pay-2"),
        steps_each=2,
        executions=[
            execution("pay-1", (1, 11, "lost"), (11.5, 13, "completed")),
            execution("pay-2", (7, 9, "completed")),
        ],
        steps=[
            step("pay-1", "Charge", 1, 3),
            step("pay-1", "Receipt", 12, 13),
            step("pay-2", "Charge", 7, 8),
            step("pay-2", "Receipt", 8, 9),
        ],
        effects=[
            effect(1, "begin", "Charge"),
            effect(3, "stored", "Charge"),
            effect(4, "begin", "Receipt"),
            effect(12, "begin", "Receipt"),
            effect(13, "stored", "Receipt"),
            effect(7, "begin", "Charge", "pay-2"),
            effect(8, "begin", "Receipt", "pay-2"),
        ],
        killed_at=at(5),
        replaced_at=at(6),
        lease=5,
    )


def with_effects(*more: Effect) -> Evidence:
    return replace(evidence(), effects=[*evidence().effects, *more])


def with_first(changed: Execution) -> Evidence:
    return replace(evidence(), executions=[changed, evidence().executions[1]])


first = evidence().executions[0]
FORGED: dict[str, tuple[Evidence, str, str]] = {
    "a step runs again after its checkpoint": (
        with_effects(effect(12, "begin", "Charge")),
        "steps repeated after their checkpoint",
        "1 (pay-1 Charge)",
    ),
    "and a later checkpoint hides that in MongoDB": (
        replace(
            with_effects(effect(12, "begin", "Charge")),
            steps=[step("pay-1", "Charge", 12, 13), *evidence().steps[1:]],
        ),
        "steps repeated after their checkpoint",
        "1 (pay-1 Charge)",
    ),
    "a step runs twice though nobody was killed": (
        with_effects(effect(2, "begin", "Charge")),
        "steps interrupted and run again",
        "1, and without a kill 1 (pay-1 Charge)",
    ),
    "the kill hits no step": (
        replace(evidence(), effects=[*evidence().effects[:2], *evidence().effects[3:]]),
        "steps interrupted and run again",
        "0",
    ),
    "the kill hits no execution": (
        with_first(first.model_copy(update={"attempts": first.attempts[1:]})),
        "slowest return",
        "none had to return: the kill came too late",
    ),
    "an execution has not ended": (
        with_first(first.model_copy(update={"status": ExecutionStatus.PROCESSING})),
        "executions lost",
        "1 (pay-1)",
    ),
    "an execution is missing": (
        replace(evidence(), executions=evidence().executions[1:]),
        "executions lost",
        "1 (pay-1)",
    ),
    "an execution has failed": (
        with_first(first.model_copy(update={"status": ExecutionStatus.FAILED})),
        "payments completed",
        "1 of 2",
    ),
    "nothing was sent": (
        Evidence((), 2, [], [], [], at(5), at(6), 5),
        "payments completed",
        "0 of 0",
    ),
    "a step has no checkpoint": (
        replace(evidence(), steps=evidence().steps[:3]),
        "steps finished",
        "3 of 4",
    ),
    "a step has a checkpoint and no side effect": (
        replace(evidence(), effects=evidence().effects[:-1]),
        "steps finished",
        "4 of 4, 1 of them without a side effect",
    ),
    "an execution comes back too late": (
        with_first(execution("pay-1", (1, 14, "lost"), (14.1, 15, "completed"))),
        "slowest return once a worker was there",
        "8.1 s; promised: 5 s lease + 3 s",
    ),
}


def test_what_happened_as_promised_is_proven() -> None:
    claims = proof.examine(evidence())

    assert [claim for claim in claims if not claim.holds] == []
    assert [claim.measured for claim in claims] == [
        "2 of 2",
        "0",
        "4 of 4",
        "0",
        "1",
        "6.5 s; promised: 5 s lease + 3 s",
    ]


@pytest.mark.parametrize("case", FORGED)
def test_what_happened_otherwise_is_not_proven(case: str) -> None:
    forged, text, measured = FORGED[case]

    claims = proof.examine(forged)

    (claim,) = [claim for claim in claims if claim.text == text]
    assert claim.measured == measured
    assert not claim.holds
    assert not report.verdict(Screen(io.StringIO(), {}), claims)


def test_a_return_counts_from_when_another_worker_is_there() -> None:
    late = with_first(execution("pay-1", (1, 13, "lost"), (13.5, 15, "completed")))

    claims = proof.examine(replace(late, replaced_at=at(10)))

    assert (claims[-1].text, claims[-1].holds) == ("slowest return once a worker was there", True)
    assert claims[-1].measured == "3.5 s; promised: 5 s lease + 3 s"


class Terminal(io.TextIOWrapper):
    """A stream that says that it is a terminal."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="")

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        self.seek(0)
        return self.read()


def test_a_terminal_gets_colours() -> None:
    terminal = Terminal()

    Screen(terminal, {"TERM": "xterm"}).line("a ", ("b", "good"))

    assert terminal.text() == "a \033[32mb\033[0m\n"


@pytest.mark.parametrize("environment", [{"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_a_terminal_that_wants_no_colours_gets_none(environment: dict[str, str]) -> None:
    terminal = Terminal()

    Screen(terminal, environment).line("a ", ("b", "good"))

    assert terminal.text() == "a b\n"


def test_a_terminal_of_few_letters_gets_plain_ones() -> None:
    terminal = Terminal("ascii")

    Screen(terminal, {}).line("✓ one → two · ✗")

    assert terminal.text() == "ok one -> two - NO\n"


def test_a_line_takes_the_place_of_the_status_which_stays_below_it() -> None:
    terminal = Terminal()
    screen = Screen(terminal, {"TERM": "xterm", "NO_COLOR": "1"})

    screen.status("busy")
    screen.line("done")
    screen.close()

    assert terminal.text() == f"busy{CLEAR_LINE}done\nbusy{CLEAR_LINE}"


def test_a_status_is_cut_to_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    terminal = Terminal()

    Screen(terminal, {"TERM": "xterm", "NO_COLOR": "1"}).status("0123456789abc")

    assert terminal.text() == "012345678"


def test_only_a_terminal_is_told_how_things_are() -> None:
    stream = io.StringIO()

    Screen(stream, {"TERM": "xterm"}).status("busy")

    assert stream.getvalue() == ""
