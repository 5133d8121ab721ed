"""What hostile, careless or tired hands give to an app: refused before anything is written."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from pydantic import BaseModel

from tests.support import Bench, deliver
from worchflow_celery import Event, ExecutionStatus, Step, Worchflow
from worchflow_celery.errors import (
    ExecutionConflict,
    ExecutionNotFound,
    InvalidEventData,
    InvalidOption,
    InvalidTransition,
    PayloadTooLarge,
    WorchflowError,
)

BAD_IDS: dict[str, Any] = {
    "empty": "",
    "too long": "a" * 2000,
    "a list": ["a"],
    "an operator": {"$gt": ""},
    "bytes": b"a",
    "a number": 7,
    "a newline": "a\n",
    "an escape code": "\x1b[31mred",
    "a NUL": "a\x00",
    "a space": "a b",
    "umlauts": "größe",
}
#: Values that MongoDB would evaluate, or take for something else.
LIKE_OPERATORS: dict[str, Any] = {
    "a field path": {"a": "$status"},
    "a variable": "$$NOW",
    "an operator": {"$set": 1},
    "an expression": {"$concat": ["$owner.token", "x"]},
    "a dotted key": {"a.b": 1, "": 2, "$x": 3},
    "a tag of ours": {"$class": ["os:system", {}]},
    "a removal": "$$REMOVE",
}


class Payment(BaseModel):
    amount: int


@pytest.fixture(autouse=True)
def flows(worchflow: Worchflow) -> None:
    @worchflow.flow("pay")
    def pay(event: Event[Payment]) -> int:
        return event.data.amount

    @worchflow.flow("echo")
    def echo(event: Event[Any], step: Step) -> Any:
        return step.run("echo", lambda: event.data)

    @worchflow.flow("fail")
    def fail(event: Event[Any]) -> None:
        raise ValueError(event.data)


def nothing_is_stored(bench: Bench) -> bool:
    return bench.collection("executions").count_documents({}) == bench.messages() == 0


each_bad_id = pytest.mark.parametrize("bad", BAD_IDS.values(), ids=BAD_IDS)


@each_bad_id
@pytest.mark.parametrize(
    "start",
    [
        lambda worchflow, bad: worchflow.flows["echo"].send(1, id=bad),
        lambda worchflow, bad: worchflow.send("echo", 1, id=bad),
        lambda worchflow, bad: worchflow.send("elsewhere", 1, id=bad),
        lambda worchflow, bad: worchflow.flows["echo"].apply_async((1,), task_id=bad),
        lambda worchflow, bad: worchflow.flows["echo"].s(1).set(task_id=bad).delay(),
        lambda worchflow, bad: worchflow.flows["echo"].apply((1,), task_id=bad),
    ],
    ids=["send", "send by name", "send to another app's", "apply_async", "signature", "apply"],
)
def test_an_execution_does_not_start_with_an_id_that_is_none(
    bench: Bench, worchflow: Worchflow, start: Callable[..., object], bad: Any
) -> None:
    with pytest.raises(InvalidOption, match=r"id is .*it must be a string of 1 to 200 characters"):
        start(worchflow, bad)

    assert nothing_is_stored(bench)


@pytest.mark.parametrize(
    "start",
    [
        lambda worchflow: worchflow.flows["echo"].send(1, id="cron:x"),
        lambda worchflow: worchflow.send("echo", 1, id="cron:x"),
        lambda worchflow: worchflow.flows["echo"].apply_async((1,), task_id="cron:x"),
        lambda worchflow: worchflow.flows["echo"].apply((1,), task_id="cron:x"),
    ],
    ids=["send", "send by name", "apply_async", "apply"],
)
def test_ids_of_windows_are_reserved(
    bench: Bench, worchflow: Worchflow, start: Callable[..., object]
) -> None:
    with pytest.raises(InvalidOption, match="'cron:x': ids that begin with 'cron:' are reserved"):
        start(worchflow)

    assert nothing_is_stored(bench)


READS = {
    "get": lambda worchflow, which: worchflow.get(which),
    "handle": lambda worchflow, which: worchflow.handle(which),
    "steps": lambda worchflow, which: worchflow.steps(which),
    "retry": lambda worchflow, which: worchflow.retry(which),
}
each_read = pytest.mark.parametrize("read", READS.values(), ids=READS)


@each_bad_id
@each_read
def test_what_is_no_id_is_not_looked_for(
    worchflow: Worchflow, read: Callable[..., object], bad: Any
) -> None:
    with pytest.raises(InvalidOption, match=r"^id is "):
        read(worchflow, bad)


@each_read
def test_none_is_no_id(worchflow: Worchflow, read: Callable[..., object]) -> None:
    worchflow.send("echo", 1, id="None")

    with pytest.raises(InvalidOption, match=r"^id is None"):
        read(worchflow, None)


@each_read
def test_an_id_that_nobody_knows_is_not_found(
    worchflow: Worchflow, read: Callable[..., object]
) -> None:
    with pytest.raises(ExecutionNotFound, match="no execution has the id 'nobody'"):
        read(worchflow, "nobody")


def test_an_execution_that_ended_well_cannot_be_retried(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    handle = worchflow.send("echo", 1)
    deliver(celery_app)

    with pytest.raises(InvalidTransition, match=f"'{handle}' is completed"):
        handle.retry()


BAD_DATA: dict[str, Any] = {
    "of another type": "much",
    "a list": [1],
    "None": None,
    "another model": {"total": 5},
    "not a number": {"amount": math.nan},
    "huge text": {"amount": "9" * 5000},
}


@pytest.mark.parametrize("data", BAD_DATA.values(), ids=BAD_DATA)
@pytest.mark.parametrize(
    "start",
    [
        lambda worchflow, data: worchflow.flows["pay"].send(data),
        lambda worchflow, data: worchflow.send("pay", data),
        lambda worchflow, data: worchflow.flows["pay"].delay(data),
        lambda worchflow, data: worchflow.flows["pay"].s(data).apply_async(),
        lambda worchflow, data: worchflow.flows["pay"].apply((data,)),
    ],
    ids=["send", "send by name", "delay", "signature", "apply"],
)
def test_data_that_does_not_fit_is_refused_whoever_sends_it(
    bench: Bench, worchflow: Worchflow, start: Callable[..., object], data: object
) -> None:
    with pytest.raises(InvalidEventData, match=r"^data for flow 'pay': "):
        start(worchflow, data)

    assert nothing_is_stored(bench)


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


UNSTORABLE: dict[str, tuple[Any, type[WorchflowError], str]] = {
    "not a number": ([math.nan], InvalidEventData, r"\$\[0\]: nan is no finite number"),
    "infinity": (float("1e400"), InvalidEventData, "inf is no finite number"),
    "an object": ({"a": object()}, InvalidEventData, r"\$\.a: object cannot be stored"),
    "a function": (print, InvalidEventData, "cannot be stored"),
    "a surrogate": ("\ud800", InvalidEventData, r"U\+D800"),
    "too deep": (endless(), InvalidEventData, "nesting > 100"),
    "17 MiB": ("x" * (17 << 20), PayloadTooLarge, "the limit is 4194304 .*send a reference"),
}


@pytest.mark.parametrize(("data", "error", "why"), UNSTORABLE.values(), ids=UNSTORABLE)
@pytest.mark.parametrize("flow", ["echo", "elsewhere"])
def test_data_that_cannot_be_stored_is_refused(
    bench: Bench, worchflow: Worchflow, flow: str, data: Any, error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        worchflow.send(flow, data)

    assert nothing_is_stored(bench)


@pytest.mark.parametrize("value", [2**63, -(10**40), 10**5000], ids=lambda value: "")
def test_an_integer_of_any_size_comes_through(
    worchflow: Worchflow, celery_app: Celery, value: int
) -> None:
    handle = worchflow.flows["echo"].send(value)
    deliver(celery_app)

    assert handle.result(1) == value
    assert handle.get().data == value


@pytest.mark.parametrize("value", LIKE_OPERATORS.values(), ids=LIKE_OPERATORS)
def test_what_looks_like_an_operator_comes_through_as_data(
    worchflow: Worchflow, celery_app: Celery, value: Any
) -> None:
    handle = worchflow.flows["echo"].send(value)
    deliver(celery_app)

    (step,) = worchflow.steps(handle.id)
    assert handle.result(1) == handle.get().data == handle.get().result == step.result == value


@pytest.mark.parametrize("text", ["$status", "$$REMOVE", "$$NOW", "$owner.token", "a\x00b"])
def test_what_looks_like_an_operator_is_an_error_s_text(
    worchflow: Worchflow, celery_app: Celery, text: str
) -> None:
    handle = worchflow.flows["fail"].send(text)
    deliver(celery_app)

    execution = handle.get()
    assert execution.error is not None
    assert execution.error.message == text
    assert execution.attempts[0].error == execution.error


@pytest.mark.parametrize("name", ["$status", "$$NOW", "a.b", "$set", "..", "#2", " ", "größe"])
def test_what_looks_like_an_operator_is_a_step_s_name(
    worchflow: Worchflow, celery_app: Celery, name: str
) -> None:
    @worchflow.flow("named")
    def named(event: Event[Any], step: Step) -> None:
        step.run(name, int)

    handle = named.send()
    deliver(celery_app)

    assert [(step.name, step.key) for step in worchflow.steps(handle.id)] == [(name, name)]


def test_an_operator_in_the_data_takes_nothing_from_a_conflict(worchflow: Worchflow) -> None:
    worchflow.send("echo", {"$gt": ""}, id="e1")

    with pytest.raises(ExecutionConflict, match="'e1' belongs to an execution with other data"):
        worchflow.send("echo", {"$gt": "a"}, id="e1")


@pytest.mark.parametrize("flow", ["", "a" * 201, "größe", "a b", None, ["a"], {"$gt": ""}, b"pay"])
def test_a_flow_s_id_is_an_id(bench: Bench, worchflow: Worchflow, flow: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^flow id is "):
        worchflow.send(flow, 1)

    assert nothing_is_stored(bench)


def test_a_flow_that_nobody_knows_here_is_stored_for_those_who_do(worchflow: Worchflow) -> None:
    handle = worchflow.send("elsewhere", {"$set": 1})

    assert handle.status == ExecutionStatus.QUEUED
    assert handle.get().data == {"$set": 1}
