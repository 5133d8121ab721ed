"""What flows log, kept with their executions."""

import logging
import pickle
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, deliver, die, dispatcher, eventually, revive
from worchflow_celery import AsyncStep, Event, Step, Worchflow, errors
from worchflow_celery.clock import utcnow
from worchflow_celery.observed import LogLine
from worchflow_celery.store.logs import KEPT

Run = Callable[[Callable[..., Any]], str]


@pytest.fixture
def run(worchflow: Worchflow, celery_app: Celery) -> Run:
    """Runs a handler as a flow, to its end; the execution's id."""

    def run(handler: Callable[..., Any], **options: Any) -> str:
        id = worchflow.flow("logs", **options)(handler).send().id
        deliver(celery_app)
        return id

    return run


def lines_of(worchflow: Worchflow, id: str, count: int) -> list[LogLine]:
    """So many lines, when they have come."""
    eventually(lambda: len(worchflow.logs(id, limit=1000)) >= count, what=f"{count} lines")
    return worchflow.logs(id, limit=1000)


def test_a_step_keeps_lines_with_its_execution(worchflow: Worchflow, run: Run) -> None:
    def handler(event: Event[Any], step: Step) -> None:
        step.log("begins")
        step.run("charge", lambda: step.log("charged", amount=Decimal("1.50"), name="ann"))

    found = lines_of(worchflow, run(handler), 2)

    assert [(one.message, one.fields, one.step) for one in found] == [
        ("begins", None, None),
        ("charged", {"amount": Decimal("1.50"), "name": "ann"}, "charge"),
    ]
    assert {(one.level, one.attempt) for one in found} == {("INFO", 1)}


def test_an_async_flow_keeps_lines_as_well(worchflow: Worchflow, run: Run) -> None:
    async def handler(event: Event[Any], step: AsyncStep) -> None:
        async def charge() -> None:
            step.log("charged", amount=5)

        await step.run("charge", charge)
        event.logger.info("done")

    found = lines_of(worchflow, run(handler), 2)

    assert [(one.message, one.step) for one in found] == [("charged", "charge"), ("done", None)]


def test_the_logger_of_an_event_keeps_what_a_standard_logger_makes_of_it(
    worchflow: Worchflow, run: Run
) -> None:
    def handler(event: Event[Any]) -> None:
        event.logger.info("%s of %d", "one", 2)
        event.logger.warning("late", extra={"seconds": 3})
        try:
            [].pop()
        except IndexError:
            event.logger.exception("broken")

    one, late, broken = lines_of(worchflow, run(handler), 3)

    assert (one.message, one.level, one.fields) == ("one of 2", "INFO", None)
    assert (late.message, late.level, late.fields) == ("late", "WARNING", {"seconds": 3})
    assert broken.level == "ERROR"
    assert broken.message.startswith("broken\nTraceback")
    assert "IndexError: pop from empty list" in broken.message


def test_lines_go_to_the_standard_loggers_with_the_ids_of_their_execution(
    worchflow: Worchflow, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(event: Event[Any], step: Step) -> None:
        event.logger.warning("late")

    id = run(handler)

    record: Any = next(one for one in caplog.records if one.getMessage() == "late")
    assert (record.name, record.execution, record.flow) == ("worchflow_celery.flows", id, "logs")
    assert record.funcName == "handler"


def test_debug_lines_are_kept_only_where_they_are_wanted(
    worchflow: Worchflow, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(event: Event[Any], step: Step) -> None:
        with caplog.at_level(logging.WARNING, logger="worchflow_celery.flows"):
            event.logger.debug("not wanted")
            event.logger.info("kept all the same")
        with caplog.at_level(logging.DEBUG, logger="worchflow_celery.flows"):
            event.logger.debug("wanted")

    found = lines_of(worchflow, run(handler), 2)

    assert [one.message for one in found] == ["kept all the same", "wanted"]


def test_an_event_made_by_hand_has_a_logger_that_keeps_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    event = Event("id", "flow", None, utcnow(), 1)

    event.logger.warning("to the standard loggers only")

    assert "to the standard loggers only" in caplog.text
    assert pickle.loads(pickle.dumps(event)) == event


def test_each_attempt_logs_anew_and_in_order(worchflow: Worchflow, run: Run) -> None:
    def handler(event: Event[Any], step: Step) -> None:
        step.log("first")
        step.run("once", lambda: step.log("in the step"))
        if event.attempt == 1:
            raise ConnectionError
        step.log("last")

    found = lines_of(worchflow, run(handler, retries=1, retry_delay=0), 4)

    assert [(one.attempt, one.message) for one in found] == [
        (1, "first"),
        (1, "in the step"),
        (2, "first"),
        (2, "last"),
    ]


def test_a_stay_that_ended_in_a_crash_keeps_its_lines(
    worchflow: Worchflow, celery_app: Celery, run: Run
) -> None:
    def handler(event: Event[Any], step: Step) -> None:
        step.log("goes on")
        if not worchflow.get(event.id).crashes:
            die()

    id = run(handler)
    revive(worchflow, id)
    deliver(celery_app)

    assert [one.message for one in lines_of(worchflow, id, 2)] == ["goes on", "goes on"]


def test_what_undoes_a_flow_logs_and_its_handler_does_not_log_twice(
    worchflow: Worchflow, run: Run
) -> None:
    def undo(result: Any) -> None:
        logged[0].log("undone")

    def on_failure(event: Event[Any], error: Any, step: Step) -> None:
        event.logger.info("failed")
        step.run("tell", lambda: step.log("told"))

    def handler(event: Event[Any], step: Step) -> None:
        logged.append(step)
        step.log("begins")
        step.run("charge", lambda: 1, compensate=undo)
        raise ConnectionError

    logged: list[Step] = []

    found = lines_of(worchflow, run(handler, on_failure=on_failure), 4)

    assert [one.message for one in found] == ["begins", "undone", "failed", "told"]


def test_lines_are_read_on_from_the_last_one_that_is_known(worchflow: Worchflow, run: Run) -> None:
    def handler(event: Event[Any], step: Step) -> None:
        for number in range(5):
            step.log(str(number))

    id = run(handler)
    all_lines = lines_of(worchflow, id, 5)

    first = worchflow.logs(id, limit=2)
    rest = worchflow.logs(id, after=first[-1].id)

    assert first + rest == all_lines


@pytest.mark.parametrize("attempts", [1, 3])
def test_an_execution_keeps_its_first_thousand_lines_and_says_that_there_were_more(
    worchflow: Worchflow, run: Run, attempts: int
) -> None:
    def handler(event: Event[Any], step: Step) -> None:
        for number in range(1200 // attempts):
            step.log(f"{event.attempt} {number}")
        time.sleep(0.3)  # until they are written, and are counted by the next attempt
        if event.attempt < attempts:
            raise ConnectionError

    id = run(handler, retries=attempts - 1, retry_delay=0)

    found = lines_of(worchflow, id, 1000)
    eventually(lambda: len(worchflow.runtime.store.logs.read(id, None, 2000)) == KEPT + 1)
    (more,) = worchflow.logs(id, after=found[-1].id)
    assert "more than the 1000 lines" in more.message
    assert [one.message for one in found[:2]] == ["1 0", "1 1"]


def test_what_cannot_be_kept_as_it_is_is_cut(worchflow: Worchflow, run: Run) -> None:
    def handler(event: Event[Any], step: Step) -> None:
        step.log("x" * 100_000)
        step.log("open file", lock=threading.Lock())
        step.log("large", text="y" * 100_000)
        event.logger.info("%d", "no number")
        event.logger.info("odd", extra={"fields": 5})

    found = lines_of(worchflow, run(handler), 5)

    assert len(found[0].message) == 8192
    assert "lock" in str(found[1].fields)
    assert 0 < len(found[2].fields["text"]) < 200
    assert "do not fit" in found[3].message
    assert found[4].fields == {"fields": 5}


def test_an_execution_without_lines_has_none(worchflow: Worchflow, run: Run) -> None:
    def handler(event: Event[Any]) -> None: ...

    assert worchflow.logs(run(handler)) == []


def test_an_execution_that_is_not_there_has_no_logs(worchflow: Worchflow) -> None:
    with pytest.raises(errors.ExecutionNotFound):
        worchflow.logs("nobody")


@pytest.mark.parametrize(
    ("given", "named"),
    [({"after": {"$gt": ""}}, "after"), ({"after": "1"}, "after"), ({"limit": 0}, "limit")],
)
def test_a_question_that_cannot_be_is_refused(
    worchflow: Worchflow, given: dict[str, Any], named: str
) -> None:
    with pytest.raises(errors.InvalidOption, match=named):
        worchflow.logs("some", **given)


def test_lines_are_removed_with_their_execution(bench: Bench, celery_app: Celery) -> None:
    worchflow = bench.bind(celery_app, retention=3600)

    @worchflow.flow("logs")
    def flow(event: Event[Any], step: Step) -> None:
        step.log("a line")

    id = flow.send().id
    deliver(celery_app)
    lines_of(worchflow, id, 1)
    passed = {"$set": {"expires_at": utcnow() - timedelta(seconds=5)}}
    bench.collection("executions").update_one({"_id": id}, passed)

    dispatcher(worchflow).sweep()

    assert bench.collection("logs").count_documents({}) == 0
    worchflow.close()


def test_lines_of_a_process_that_ends_are_written(worchflow: Worchflow, run: Run) -> None:
    def handler(event: Event[Any], step: Step) -> None:
        step.log("the last word")

    id = run(handler)
    worchflow.close()

    assert [one.message for one in worchflow.logs(id)] == ["the last word"]
