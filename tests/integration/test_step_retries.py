"""A step that raises: its own retries, their count, their delays."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, bring_forward, deliver, die, revive
from worchflow_celery import Event, Execution, ExecutionStatus, Step, Worchflow
from worchflow_celery.attempt import attempt
from worchflow_celery.errors import NonRetriableError, RetryAfter


class Trial:
    """A flow of one step, which does what the test says, and the numbers of its runs."""

    def __init__(self, worchflow: Worchflow, app: Celery, bench: Bench) -> None:
        self.worchflow, self.app, self.bench = worchflow, app, bench
        self.runs: list[int] = []
        self.id = ""

    def begin(self, act: Callable[[int], Any], *, flow_retries: int = 0, **step: Any) -> Execution:
        """Send it and run what comes of it; ``act`` is given how often it has run before."""

        def flow(event: Event[Any], step_: Step) -> Any:
            def fn() -> Any:
                self.runs.append(step_.attempt)
                return act(len(self.runs) - 1)

            return step_.run("risky", fn, **{"retry_delay": 0, **step})

        define = self.worchflow.flow("flow", retries=flow_retries, retry_delay=0)
        self.id = define(lambda event, step: flow(event, step)).send().id
        return self.go_on()

    def go_on(self) -> Execution:
        deliver(self.app)
        return self.worchflow.get(self.id)


@pytest.fixture
def trial(worchflow: Worchflow, celery_app: Celery, bench: Bench) -> Trial:
    return Trial(worchflow, celery_app, bench)


def fail(times: int) -> Callable[[int], str]:
    def act(before: int) -> str:
        if before < times:
            raise ConnectionError(f"run {before + 1}")
        return "done"

    return act


@pytest.mark.parametrize(("failures", "result"), [(0, "done"), (1, "done"), (2, "done"), (3, None)])
def test_a_step_runs_again_as_often_as_it_may(
    trial: Trial, failures: int, result: str | None
) -> None:
    execution = trial.begin(fail(failures), retries=2)

    assert execution.result == result
    assert trial.runs == list(range(1, min(failures, 2) + 2))
    assert execution.attempt == 1


def test_the_last_error_of_a_step_reaches_the_flow(trial: Trial) -> None:
    execution = trial.begin(fail(9), retries=2)

    assert execution.error is not None
    assert (execution.error.type, execution.error.message) == ("ConnectionError", "run 3")
    (record,) = trial.worchflow.steps(trial.id)
    assert (record.status, record.attempt) == ("failed", 3)
    assert record.error is not None and record.error.message == "run 3"


def test_the_count_of_a_step_s_runs_survives_a_crash(trial: Trial) -> None:
    def act(before: int) -> None:
        if before == 1:
            die()
        raise ConnectionError

    trial.begin(act, retries=2)
    revive(trial.worchflow, trial.id)
    execution = trial.go_on()

    assert trial.runs == [1, 2, 2, 3]
    assert execution.status == ExecutionStatus.FAILED


def test_a_step_that_failed_for_its_handler_fails_again_after_a_crash(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    ran: list[str] = []

    @worchflow.flow("careful")
    def careful(event: Event[Any], step: Step) -> str:
        try:
            step.run("charge", lambda: ran.append("charge") or 1 / 0)
        except ZeroDivisionError as error:
            step.run("refund", lambda: ran.append("refund"))
            if "crashed" not in ran:
                ran.append("crashed")
                die()
            return str(error)
        return "charged"

    handle = careful.send()
    deliver(celery_app)
    revive(worchflow, handle.id)
    deliver(celery_app)

    assert handle.result(timeout=1) == "division by zero"
    assert ran == ["charge", "refund", "crashed"]


def test_each_attempt_of_the_flow_has_the_step_s_retries_anew(trial: Trial) -> None:
    execution = trial.begin(fail(9), retries=1, flow_retries=1)

    assert trial.runs == [1, 2, 3, 4]
    assert (execution.status, execution.attempt) == (ExecutionStatus.FAILED, 2)


def test_a_manual_retry_has_the_step_s_retries_anew(trial: Trial) -> None:
    trial.begin(fail(3), retries=1)

    trial.worchflow.retry(trial.id)

    assert trial.go_on().result == "done"
    assert trial.runs == [1, 2, 3, 4]


def test_a_non_retriable_error_ends_the_step_and_the_flow(trial: Trial) -> None:
    def act(before: int) -> None:
        raise NonRetriableError("no")

    execution = trial.begin(act, retries=3, flow_retries=3)

    assert trial.runs == [1]
    assert execution.status == ExecutionStatus.FAILED


def after(when: Callable[[], Any]) -> Callable[[int], str]:
    def act(before: int) -> str:
        if before == 0:
            raise RetryAfter(when())
        return "done"

    return act


@pytest.mark.parametrize(
    ("act", "retry_delay"),
    [
        (fail(1), 30),
        (fail(1), timedelta(seconds=30)),
        (after(lambda: 30), 0),
        (after(lambda: datetime.now(UTC) + timedelta(seconds=30)), 0),
        (after(lambda: 1), 30),
    ],
)
def test_a_long_delay_gives_the_worker_free_and_counts_no_attempt(
    trial: Trial, act: Callable[[int], Any], retry_delay: Any
) -> None:
    waiting = trial.begin(act, retries=1, retry_delay=retry_delay)
    messages = trial.bench.messages()
    bring_forward(trial.bench, trial.id)
    flow = trial.worchflow.flows["flow"]
    attempt(trial.worchflow.runtime, flow.definition, trial.id)

    assert waiting.status == ExecutionStatus.WAITING
    assert waiting.due_at is not None
    seconds = (waiting.due_at - waiting.updated_at).total_seconds()
    assert seconds == pytest.approx(30, abs=1)
    assert messages == 0
    done = trial.worchflow.get(trial.id)
    assert (done.result, done.attempt, trial.runs) == ("done", 1, [1, 2])


def test_a_handler_that_swallows_everything_leaves_its_worker_all_the_same(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    @worchflow.flow("swallows")
    def swallows(event: Event[Any], step: Step) -> str:
        try:
            step.run("fails", fail(9), 0, retries=1, retry_delay=30)
        except BaseException:
            return "swallowed"
        raise AssertionError

    handle = swallows.send()
    deliver(celery_app)

    assert handle.status == ExecutionStatus.WAITING


def test_a_waiting_execution_is_not_claimed_before_its_time(trial: Trial) -> None:
    trial.begin(fail(1), retries=1, retry_delay=30)
    flow = trial.worchflow.flows["flow"]

    assert attempt(trial.worchflow.runtime, flow.definition, trial.id) is None
    assert trial.runs == [1]


def test_a_short_delay_is_waited_for_in_place(trial: Trial) -> None:
    times: list[datetime] = []

    def act(before: int) -> str:
        times.append(datetime.now(UTC))
        return fail(1)(before)

    execution = trial.begin(act, retries=1, retry_delay=0.3)

    assert execution.result == "done"
    assert times[1] - times[0] >= timedelta(seconds=0.3)


@pytest.mark.parametrize(
    "options",
    [{"retries": -1}, {"retries": True}, {"retries": 1.5}, {"retry_delay": -1}, {"timeout": 0}],
)
def test_options_of_a_step_that_cannot_be_are_refused(
    trial: Trial, options: dict[str, Any]
) -> None:
    execution = trial.begin(fail(0), **options)

    assert execution.error is not None and execution.error.type == "InvalidOption"
    assert trial.runs == []
