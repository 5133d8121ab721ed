"""What `step.map` and `step.gather` do not take, and what of it is final."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from worchflow_celery import Event, Execution, Step, Worchflow

Handler = Callable[[Event[Any], Step], Any]


def nested_step(step: Step) -> None:
    step.map("outer", lambda n: step.run("inner", int), [1])


def nested_map(step: Step) -> None:
    step.map("outer", lambda n: step.map("inner", int, [1]), [1])


def map_in_a_step(step: Step) -> None:
    step.run("outer[0]", lambda: step.gather(inner=int))


async def coroutine(number: int = 0) -> int:
    return number


def generator(number: int) -> Iterator[int]:
    yield number


@pytest.mark.parametrize("limit", [None, 30])
@pytest.mark.parametrize(
    ("misuse", "words"),
    [
        (nested_step, "inside step 'outer[0]'"),
        (nested_map, "inside step 'outer[0]'"),
        (map_in_a_step, "inside step 'outer[0]'"),
        (lambda step: step.map("a", coroutine, [1]), "async def"),
        (lambda step: step.map("a", lambda n: coroutine(), [1]), "async def"),
        (lambda step: step.map("a", generator, [1]), "generator"),
        (lambda step: step.map("a", 5, [1]), "not a function"),
        (lambda step: step.gather(a=5), "not a function"),
    ],
)
def test_what_cannot_be_a_step_raises_step_misuse(
    run: Callable[..., Execution], misuse: Callable[[Step], object], words: str, limit: float
) -> None:
    execution = run(lambda event, step: misuse(step), timeout=limit)

    assert execution.error is not None and execution.error.type == "StepMisuse"
    assert words in execution.error.message


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda step: step.map("a", int, 5), "items is 5: it must be an iterable"),
        (lambda step: step.map("a", int, None), "items is None"),
        (lambda step: step.map("", int, [1]), "step name is ''"),
        (lambda step: step.map("a" * 201, int, [1]), "1 to 200 printable characters"),
        (lambda step: step.gather(**{"": int}), "step name is ''"),
        *[
            (lambda step, n=n: step.map("a", int, [1], concurrency=n), f"concurrency is {n!r}")
            for n in (0, -1, 1001, 2.0, True, "4", None, float("nan"))
        ],
    ],
)
def test_arguments_that_cannot_be_are_refused(
    run: Callable[..., Execution], call: Callable[[Step], object], words: str
) -> None:
    execution = run(lambda event, step: call(step))

    assert execution.error is not None and execution.error.type == "InvalidOption"
    assert words in execution.error.message


def test_an_error_of_the_items_themselves_is_raised_as_it_is(
    run: Callable[..., Execution], worchflow: Worchflow
) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("rows")

    execution = run(lambda event, step: step.map("a", int, items()))

    assert execution.error is not None and execution.error.type == "KeyError"
    assert worchflow.steps(execution.id) == []


def test_a_result_that_cannot_be_stored_is_final_for_its_item_alone(
    run: Callable[..., Execution], worchflow: Worchflow
) -> None:
    ran: list[int] = []

    def work(number: int) -> object:
        ran.append(number)
        return object() if number == 1 else number

    execution = run(lambda event, step: step.map("a", work, range(2), concurrency=1), retries=3)

    assert execution.error is not None and execution.error.type == "UnserializableResult"
    assert ran == [0, 1]
    assert [one.status for one in worchflow.steps(execution.id)] == ["completed", "failed"]
