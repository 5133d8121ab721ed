"""Results that cannot be kept: told once, final, and nothing stored before is lost by them."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, deliver
from worchflow_celery import Event, Execution, Step, Worchflow
from worchflow_celery.errors import ExecutionFailed

LIMIT = 20_000
MIB = 1024 * 1024


def endless() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["again"] = value
    return value


def numbers() -> Iterator[int]:
    yield 1


UNSTORABLE: dict[str, tuple[Callable[[], Any], str, str]] = {
    "an object": (object, "UnserializableResult", "object cannot be stored"),
    "not a number": (lambda: {"a": math.nan}, "UnserializableResult", r"$.a: nan is no finite"),
    "infinity": (lambda: [math.inf], "UnserializableResult", "$[0]: inf is no finite number"),
    "an iterator": (numbers, "UnserializableResult", "collect it in a list"),
    "a function": (lambda: print, "UnserializableResult", "cannot be stored"),
    "a surrogate": (lambda: "\ud800", "UnserializableResult", "U+D800"),
    "an endless dict": (endless, "UnserializableResult", "nesting > 100"),
    "too much text": (lambda: "x" * LIMIT, "PayloadTooLarge", f"the limit is {LIMIT}"),
    "too many items": (lambda: [1] * LIMIT, "PayloadTooLarge", f"the limit is {LIMIT}"),
    "too many bytes": (lambda: b"x" * LIMIT, "PayloadTooLarge", f"the limit is {LIMIT}"),
}
each = pytest.mark.parametrize(("make", "kind", "why"), UNSTORABLE.values(), ids=UNSTORABLE)


@pytest.fixture
def small(bench: Bench, celery_app: Celery) -> Iterator[Worchflow]:
    """A binding with a low limit."""
    worchflow = bench.bind(celery_app, max_payload_bytes=LIMIT)
    yield worchflow
    worchflow.close()


@each
def test_a_flow_s_result_that_cannot_be_kept_ends_it_at_once(
    small: Worchflow, celery_app: Celery, make: Callable[[], Any], kind: str, why: str
) -> None:
    attempts = []

    @small.flow("report", retries=3, retry_delay=0)
    def report(event: Event[Any], step: Step) -> Any:
        step.run("before", lambda: "kept")
        attempts.append(event.attempt)
        return make()

    execution = ended(report, celery_app)

    assert execution.error is not None
    assert (execution.error.type, attempts) == (kind, [1])
    assert "'report'" in execution.error.message
    assert why in execution.error.message
    assert [step.result for step in small.steps(execution.id)] == ["kept"]


@each
def test_a_step_s_result_that_cannot_be_kept_is_not_asked_for_again(
    small: Worchflow, celery_app: Celery, make: Callable[[], Any], kind: str, why: str
) -> None:
    effects, errors = [], []

    @small.flow("report", retries=2, retry_delay=0)
    def report(event: Event[Any], step: Step) -> Any:
        step.run("before", lambda: "kept")
        try:
            step.run("effect", lambda: (effects.append(event.attempt), make())[1])
        except ValueError as error:
            errors.append(type(error).__name__)
            if event.attempt < 3:
                raise ConnectionError from error
            raise

    execution = ended(report, celery_app)

    assert (effects, errors) == ([1], [kind] * 3)
    assert execution.error is not None
    assert "'effect'" in execution.error.message
    assert why in execution.error.message
    steps = small.steps(execution.id)
    assert [(step.key, step.status) for step in steps] == [
        ("before", "completed"),
        ("effect", "failed"),
    ]


def test_data_and_result_that_do_not_fit_into_one_document_fail_it(
    bench: Bench, celery_app: Celery
) -> None:
    worchflow = bench.bind(celery_app, max_payload_bytes=8 * MIB)
    many = 8 * MIB - 100

    @worchflow.flow("report", retries=3, retry_delay=0)
    def report(event: Event[str], step: Step) -> str:
        step.run("before", lambda: "kept")
        return "y" * many

    handle = report.send("x" * many)
    deliver(celery_app)

    error = handle.get().error
    assert error is not None
    assert error.type == "PayloadTooLarge"
    assert "16 MiB" in error.message
    assert [step.result for step in worchflow.steps(handle.id)] == ["kept"]
    worchflow.close()


def test_a_value_of_the_largest_size_is_kept(bench: Bench, celery_app: Celery) -> None:
    worchflow = bench.bind(celery_app, max_payload_bytes=8 * MIB)
    text = "x" * (8 * MIB - len('""'))

    @worchflow.flow("report")
    def report(event: Event[Any], step: Step) -> str:
        return step.run("text", lambda: text)

    handle = report.send()
    deliver(celery_app)

    assert handle.result(1) == text
    worchflow.close()


def ended(flow: Any, app: Celery) -> Execution:
    handle = flow.send()
    deliver(app)
    with pytest.raises(ExecutionFailed):
        handle.result(1)
    return handle.get()
