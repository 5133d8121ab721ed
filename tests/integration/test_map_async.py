"""`step.map` and `step.gather` in async flows: steps in tasks, each with its own checkpoint."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from celery import Celery

from tests.support import deliver, die, revive
from worchflow_celery import AsyncStep, Event, Execution, Worchflow

Handler = Callable[[Event[Any], AsyncStep], Awaitable[Any]]


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


@pytest.mark.parametrize("fn", [double, lambda n: n * 2, lambda n: double(n)])
def test_map_returns_the_results_in_the_order_of_the_items(
    run: Callable[..., Execution], worchflow: Worchflow, fn: Callable[[int], Any]
) -> None:
    async def flow(event: Event[Any], step: AsyncStep) -> list[int]:
        return await step.map("double", fn, (n for n in range(4)))

    execution = run(flow)

    assert execution.result == [0, 2, 4, 6]
    records = {one.key: (one.name, one.kind, one.result) for one in worchflow.steps(execution.id)}
    assert records == {f"double[{n}]": ("double", "run", n * 2) for n in range(4)}


def test_gather_runs_all_at_once_and_returns_the_results_by_name(
    run: Callable[..., Execution],
) -> None:
    async def flow(event: Event[Any], step: AsyncStep) -> list[Any]:
        meeting = asyncio.Barrier(2)

        async def meet() -> str:
            async with asyncio.timeout(5):
                await meeting.wait()
            return step.idempotency_key.rpartition(":")[2]

        return [
            await step.gather(a=meet, b=meet),
            await step.gather(),
            await step.map("m", int, []),
        ]

    assert run(flow).result == [{"a": "a", "b": "b"}, {}, []]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_so_many_run_at_once_and_no_more(run: Callable[..., Execution], concurrency: int) -> None:
    inside, most = 0, 0

    async def work(number: int) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        async with asyncio.timeout(5):
            while most < concurrency:
                await asyncio.sleep(0)
        inside -= 1

    async def flow(event: Event[Any], step: AsyncStep) -> None:
        await step.map("work", work, range(9), concurrency=concurrency)

    run(flow)

    assert most == concurrency


def test_items_that_have_completed_are_not_run_again(
    run: Callable[..., Execution], worchflow: Worchflow, celery_app: Celery
) -> None:
    ran: list[int] = []

    async def flow(event: Event[Any], step: AsyncStep) -> list[int]:
        async def work(number: int) -> int:
            ran.append(number)
            if number == 1 and event.attempt == 1:
                raise ConnectionError
            if number == 2 and ran.count(2) == 1:
                die()
            return number

        return await step.map("work", work, range(4), concurrency=1)

    execution = run(flow, retries=1)
    revive(worchflow, execution.id)
    deliver(celery_app)

    assert worchflow.get(execution.id).result == [0, 1, 2, 3]
    assert ran == [0, 1, 1, 2, 2, 3]


def test_the_first_error_lets_what_runs_finish_and_nothing_begin(
    run: Callable[..., Execution], worchflow: Worchflow
) -> None:
    async def flow(event: Event[Any], step: AsyncStep) -> None:
        both, failed = asyncio.Barrier(2), asyncio.Event()

        async def work(number: int) -> int:
            async with asyncio.timeout(5):
                await both.wait()
                if number == 0:
                    failed.set()
                    raise ConnectionError("first")
                await failed.wait()
            return number

        await step.map("work", work, range(9), concurrency=2)

    execution = run(flow)

    assert execution.error is not None and execution.error.message == "first"
    told = {one.key: (one.status, one.result) for one in worchflow.steps(execution.id)}
    assert told == {"work[0]": ("failed", None), "work[1]": ("completed", 1)}


def test_the_error_that_a_flow_has_met_is_met_again_after_a_crash(
    run: Callable[..., Execution], worchflow: Worchflow, celery_app: Celery
) -> None:
    met: list[str] = []

    async def flow(event: Event[Any], step: AsyncStep) -> None:
        both = asyncio.Barrier(2)

        async def work(number: int) -> None:
            await both.wait()
            await asyncio.sleep(0.1 * (1 - number))
            raise ConnectionError(f"{number}")

        try:
            await step.map("work", work, range(2))
        except ConnectionError as error:
            met.append(str(error))
        if len(met) == 1:
            die()

    execution = run(flow)
    revive(worchflow, execution.id)
    deliver(celery_app)

    assert met == ["1", "1"]


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda step: step.map("a", 5, [1]), "StepMisuse", "not a function"),
        (lambda step: step.map("a", lambda n: step.run("in", int), [1]), "StepMisuse", "'a[0]'"),
        (lambda step: step.map("a", int, 5), "InvalidOption", "items is 5"),
        (lambda step: step.map("a", int, [1], concurrency=0), "InvalidOption", "concurrency is 0"),
        (lambda step: step.map("a", lambda n: object(), [1]), "UnserializableResult", "'a'"),
    ],
)
def test_what_cannot_be_is_refused(
    run: Callable[..., Execution],
    call: Callable[[AsyncStep], Awaitable[object]],
    kind: str,
    words: str,
) -> None:
    async def flow(event: Event[Any], step: AsyncStep) -> object:
        return await call(step)

    execution = run(flow)

    assert execution.error is not None and execution.error.type == kind
    assert words in execution.error.message
