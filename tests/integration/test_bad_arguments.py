"""Arguments that cannot be are refused by name, and none of them becomes a query."""

import base64
import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, deliver
from worchflow_celery import Event, Step, Worchflow
from worchflow_celery.errors import InvalidOption, StepMisuse

NAIVE = datetime(2030, 1, 1)


def nothing_is_stored(bench: Bench) -> bool:
    return bench.collection("executions").count_documents({}) == bench.messages() == 0


def handler(event: Event[Any]) -> Any:
    return event.data


BAD_OPTIONS = [
    ("delay", -1),
    ("delay", math.nan),
    ("delay", math.inf),
    ("delay", 10**12),
    ("delay", "soon"),
    ("delay", timedelta(days=-1)),
    ("eta", datetime(2030, 1, 1)),
    ("eta", "2030-01-01T00:00:00Z"),
    ("eta", datetime.max.astimezone()),
    ("eta", 5),
    ("queue", ""),
    ("queue", ["celery"]),
    ("queue", "a\nb"),
    ("priority", -1),
    ("priority", "high"),
    ("priority", True),
]


@pytest.mark.parametrize(("name", "value"), BAD_OPTIONS, ids=str)
@pytest.mark.parametrize("flow", ["echo", "elsewhere"])
def test_an_option_of_a_send_that_cannot_be_is_named(
    bench: Bench, worchflow: Worchflow, flow: str, name: str, value: Any
) -> None:
    with pytest.raises(InvalidOption, match=f"^{name} is "):
        worchflow.send(flow, {"amount": 1}, **{name: value})

    assert nothing_is_stored(bench)


def cursor_of(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


BAD_QUERIES: list[tuple[str, Any]] = [
    ("status", "done"),
    ("status", {"$ne": "failed"}),
    ("status", [{"$ne": "failed"}]),
    ("status", 5),
    ("status", ["failed", None]),
    ("flow", {"$gt": ""}),
    ("flow", ["echo"]),
    ("flow", ""),
    ("flow", "a\nb"),
    ("search", "customer_id"),
    ("search", [("customer_id", 1)]),
    ("search", {"$where": "sleep(1000)"}),
    ("search", {"a.b": 1}),
    ("search", {"": 1}),
    ("search", {5: 1}),
    ("after", NAIVE),
    ("after", "2030-01-01"),
    ("before", {"$gt": 0}),
    ("before", 0),
    ("limit", 0),
    ("limit", -1),
    ("limit", 1001),
    ("limit", 10**12),
    ("limit", "5"),
    ("limit", 1.5),
    ("limit", True),
    ("limit", None),
    ("cursor", "nonsense"),
    ("cursor", "größe"),
    ("cursor", 5),
    ("cursor", {"$gt": ""}),
    ("cursor", cursor_of(5)),
    ("cursor", cursor_of("now", "e1")),
    ("cursor", cursor_of(10**40, "e1")),
]


@pytest.mark.parametrize(("name", "value"), BAD_QUERIES, ids=str)
def test_what_cannot_be_looked_for_is_named(worchflow: Worchflow, name: str, value: Any) -> None:
    with pytest.raises(InvalidOption, match=f"^{name} "):
        worchflow.find(**{name: value})


@pytest.mark.parametrize("value", ["$status", "cust_.*", "\x00", {"$gt": ""}, ["cust"]])
def test_what_is_searched_for_is_a_value_and_nothing_more(worchflow: Worchflow, value: Any) -> None:
    worchflow.flow("echo", search=("customer_id",))(handler)
    sought = worchflow.flows["echo"].send({"customer_id": value})
    worchflow.flows["echo"].send({"customer_id": "other"})

    found = worchflow.find(search={"customer_id": value})

    assert [one.id for one in found] == [sought.id]


@pytest.mark.parametrize("timeout", [-1, math.nan, math.inf, "5", [1], True])
def test_a_result_is_waited_for_as_long_as_a_number_says(
    worchflow: Worchflow, timeout: Any
) -> None:
    handle = worchflow.send("elsewhere", 1)

    with pytest.raises(InvalidOption, match=r"^timeout is "):
        handle.result(timeout)


@pytest.mark.parametrize("timeout", [0, 0.01, timedelta(), timedelta(milliseconds=10)])
def test_a_result_that_does_not_come_is_a_timeout(worchflow: Worchflow, timeout: Any) -> None:
    handle = worchflow.send("elsewhere", 1)

    with pytest.raises(TimeoutError, match=f"^execution '{handle}' is queued after 0"):
        handle.result(timeout)


BAD_FLOWS: dict[str, tuple[dict[str, Any], str]] = {
    "an empty id": ({"id": ""}, "flow id is ''"),
    "a long id": ({"id": "a" * 300}, "flow id is "),
    "an id with umlauts": ({"id": "größe"}, "flow id is "),
    "an id that is none": ({"id": 5}, "flow id is 5"),
    "negative retries": ({"retries": -1}, "retries is -1"),
    "half a retry": ({"retries": 1.5}, "retries is 1.5"),
    "retries as text": ({"retries": "3"}, "retries is '3'"),
    "retries that are true": ({"retries": True}, "retries is True"),
    "very many retries": ({"retries": 10**9}, "retries is 1000000000"),
    "a negative delay": ({"retry_delay": -1}, "retry_delay is -1"),
    "no delay at all": ({"retry_delay": math.nan}, "retry_delay is nan"),
    "an endless delay": ({"retry_delay": 10**12}, "retry_delay is 1000000000000"),
    "a backoff from nothing": ({"retry_backoff": 0}, "retry_backoff is 0"),
    "a backoff over its limit": (
        {"retry_backoff": 10, "retry_backoff_max": 5},
        "retry_backoff is 10 s and retry_backoff_max 5 s",
    ),
    "no time": ({"timeout": 0}, "timeout is 0"),
    "an operator": ({"search": ("$where",)}, r"search names '\$where'"),
    "what Celery calls it": ({"max_retries": 3}, "max_retries= is not an option of a flow; use"),
    "a pickled message": ({"serializer": "pickle"}, "serializer= is not an option .* JSON"),
}


@pytest.mark.parametrize(("given", "why"), BAD_FLOWS.values(), ids=BAD_FLOWS)
def test_a_flow_that_cannot_be_is_refused_at_its_decoration(
    worchflow: Worchflow, given: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        worchflow.flow(**{"id": "pay", **given})(handler)

    assert not worchflow.flows


def test_two_flows_of_one_id_are_refused(worchflow: Worchflow) -> None:
    first = worchflow.flow("pay")(handler)

    with pytest.raises(ValueError, match=r"flow id 'pay' is taken .*choose another"):
        worchflow.flow("pay")(handler)

    assert worchflow.flows["pay"] is first


def test_a_flow_does_not_take_the_name_of_a_task(worchflow: Worchflow, celery_app: Celery) -> None:
    task = celery_app.task(name="note", shared=False)(handler)
    celery_app.finalize()

    with pytest.raises(ValueError, match="flow id 'note' is taken"):
        worchflow.flow("note")(handler)

    assert celery_app.tasks["note"].name == task.name
    assert not worchflow.flows


def numbers() -> Iterator[int]:
    yield 1


async def asynchronous() -> int:
    return 1


BAD_STEPS: dict[str, tuple[Callable[[Step], Any], type[Exception], str]] = {
    "an empty name": (lambda step: step.run("", int), InvalidOption, "step name is ''"),
    "a long name": (lambda step: step.run("x" * 10_000, int), InvalidOption, "step name is "),
    "no text": (lambda step: step.run(5, int), InvalidOption, "step name is 5"),  # type: ignore[arg-type]
    "an escape code": (lambda step: step.run("\x1b[31m", int), InvalidOption, "step name is "),
    "no function": (lambda step: step.run("a", 5), StepMisuse, "5 is not a function"),  # type: ignore[arg-type]
    "a generator": (lambda step: step.run("a", numbers), StepMisuse, "generator"),
    "a coroutine function": (lambda step: step.run("a", asynchronous), StepMisuse, "async def"),
    "retries": (lambda step: step.run("a", int, retries=-1), InvalidOption, "retries is -1"),
    "a delay": (lambda step: step.run("a", int, retry_delay=-1), InvalidOption, "retry_delay"),
    "a timeout": (lambda step: step.run("a", int, timeout=0), InvalidOption, "timeout is 0"),
    "a step within": (lambda step: step.run("a", step.run, "b", int), StepMisuse, "inside step"),
}


@pytest.mark.parametrize(("use", "error", "why"), BAD_STEPS.values(), ids=BAD_STEPS)
def test_a_step_that_cannot_be_raises_in_the_flow_and_records_nothing(
    worchflow: Worchflow,
    celery_app: Celery,
    use: Callable[[Step], Any],
    error: type[Exception],
    why: str,
) -> None:
    @worchflow.flow("misuse")
    def misuse(event: Event[Any], step: Step) -> None:
        step.run("before", int)
        with pytest.raises(error, match=why):
            use(step)
        step.run("after", int)

    handle = misuse.send()
    deliver(celery_app)

    assert handle.get().error is None
    assert {"before", "after"} <= {step.key for step in worchflow.steps(handle.id)}
    assert all(step.status == "failed" for step in worchflow.steps(handle.id)[1:-1])


def test_pages_leave_out_no_execution_of_the_same_moment(
    bench: Bench, worchflow: Worchflow
) -> None:
    for number in range(40):
        worchflow.send("elsewhere", number, id=f"e{number:02}")
    executions = bench.collection("executions")
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    for number in range(40):
        at = moment + timedelta(milliseconds=number // 8)
        executions.update_one({"_id": f"e{number:02}"}, {"$set": {"created_at": at}})

    found, cursor = [], None
    while len(found) < 100:
        page = worchflow.find(limit=3, cursor=cursor)
        found += [one.id for one in page]
        cursor = page.cursor
        if cursor is None:
            break

    assert found == [f"e{number:02}" for number in reversed(range(40))]


BAD_CALLS: dict[str, dict[str, Any]] = {
    "headers is": {"headers": [1]},
    "time_limit is": {"time_limit": "long"},
    "soft_time_limit is": {"soft_time_limit": -1},
    "delay is": {"countdown": "soon"},
    "eta is": {"eta": NAIVE},
    "expires is": {"expires": NAIVE},
    "priority is": {"priority": "high"},
    "queue is": {"queue": ["celery"]},
}


@pytest.mark.parametrize(("named", "given"), BAD_CALLS.items(), ids=BAD_CALLS)
def test_an_option_that_no_message_can_carry_is_refused_at_the_call(
    bench: Bench, worchflow: Worchflow, named: str, given: dict[str, Any]
) -> None:
    flow = worchflow.flow("echo")(handler)

    with pytest.raises(InvalidOption, match=f"^{named} "):
        flow.apply_async((1,), **given)

    assert nothing_is_stored(bench)


def test_a_number_of_retries_in_a_call_is_celery_s_affair(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    flow = worchflow.flow("echo")(handler)

    result = flow.apply_async((5,), retries=3)
    deliver(celery_app)

    assert worchflow.handle(result.id).result(1) == 5
