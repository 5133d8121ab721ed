"""Flows that are `async def`: the same promises, with steps that may run at once."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery
from pydantic import BaseModel

from tests.support import deliver, die, revive
from worchflow_celery import AsyncStep, Event, Execution, ExecutionStatus, Worchflow
from worchflow_celery.errors import StepMisuse

Handler = Callable[[Event[Any], AsyncStep], Awaitable[Any]]


async def answer(value: object = 42) -> object:
    await asyncio.sleep(0)
    return value


class AsyncCallable:
    async def __call__(self, value: object) -> object:
        return await answer(value)


@pytest.mark.parametrize(
    ("fn", "args", "result"),
    [
        (answer, (), 42),
        (answer, (7,), 7),
        (lambda: answer(8), (), 8),
        (AsyncCallable(), (9,), 9),
        (max, (1, 2), 2),
    ],
)
def test_a_step_of_an_async_flow_may_be_awaited_or_plain(
    run: Callable[..., Execution], fn: Callable[..., Any], args: tuple[Any, ...], result: object
) -> None:
    async def flow(event: Event[Any], step: AsyncStep) -> object:
        return await step.run("one", fn, *args)

    assert run(flow).result == result


def test_an_async_flow_without_steps_runs(run: Callable[..., Execution]) -> None:
    async def flow(event: Event[Any]) -> object:
        return await answer("plain")

    assert run(flow).result == "plain"


def test_a_completed_step_is_not_run_again(
    run: Callable[..., Execution], worchflow: Worchflow, celery_app: Celery
) -> None:
    ran: list[str] = []

    async def note(word: str) -> str:
        ran.append(word)
        return word

    async def flow(event: Event[Any], step: AsyncStep) -> list[str]:
        values = [await step.run("note", note, word) for word in ("a", "b")]
        if event.attempt == 1:
            raise ConnectionError
        if ran.count("c") == 0:
            ran.append("c")
            die()
        return values

    execution = run(flow, retries=1)
    revive(worchflow, execution.id)
    deliver(celery_app)

    assert worchflow.get(execution.id).result == ["a", "b"]
    assert ran == ["a", "b", "c"]


def test_steps_of_a_gather_run_at_once_each_with_its_own_checkpoint(
    run: Callable[..., Execution], worchflow: Worchflow
) -> None:
    async def flow(event: Event[Any], step: AsyncStep) -> list[int]:
        meeting = asyncio.Barrier(3)

        async def meet(number: int) -> int:
            async with asyncio.timeout(5):
                await meeting.wait()
            return number

        return list(await asyncio.gather(*(step.run("meet", meet, n) for n in range(3))))

    execution = run(flow)

    assert execution.result == [0, 1, 2]
    records = worchflow.steps(execution.id)
    assert {one.key: one.result for one in records} == {"meet": 0, "meet#2": 1, "meet#3": 2}


def test_a_gather_that_failed_runs_only_what_has_not_completed_again(
    run: Callable[..., Execution],
) -> None:
    ran: list[int] = []

    async def flow(event: Event[Any], step: AsyncStep) -> list[int]:
        async def work(number: int) -> int:
            ran.append(number)
            if number == 1 and event.attempt == 1:
                raise ConnectionError
            return number

        steps = [step.run("work", work, n) for n in range(3)]
        values = await asyncio.gather(*steps, return_exceptions=True)
        if errors := [value for value in values if isinstance(value, Exception)]:
            raise errors[0]
        return values

    assert run(flow, retries=1).result == [0, 1, 2]
    assert sorted(ran) == [0, 1, 1, 2]


def test_a_crash_in_a_gather_loses_no_checkpoint(
    run: Callable[..., Execution], worchflow: Worchflow, celery_app: Celery
) -> None:
    ran: list[str] = []

    async def flow(event: Event[Any], step: AsyncStep) -> list[str]:
        stored = asyncio.Event()

        async def quick() -> str:
            ran.append("quick")
            return "quick"

        async def deadly() -> str:
            ran.append("deadly")
            if ran.count("deadly") == 1:
                await stored.wait()
                die()
            return "deadly"

        async def first() -> str:
            value = await step.run("quick", quick)
            stored.set()
            return value

        return list(await asyncio.gather(first(), step.run("deadly", deadly)))

    execution = run(flow)
    revive(worchflow, execution.id)
    deliver(celery_app)

    assert worchflow.get(execution.id).result == ["quick", "deadly"]
    assert sorted(ran) == ["deadly", "deadly", "quick"]


def test_each_of_the_steps_that_run_at_once_knows_its_own_key(
    run: Callable[..., Execution],
) -> None:
    async def flow(event: Event[Any], step: AsyncStep) -> list[str]:
        async def key() -> str:
            await asyncio.sleep(0)
            return step.idempotency_key

        return list(await asyncio.gather(step.run("a", key), step.run("b", key)))

    execution = run(flow)

    assert execution.result == [f"{execution.id}:a", f"{execution.id}:b"]


def test_a_step_s_retry_does_not_hold_up_the_others(run: Callable[..., Execution]) -> None:
    order: list[str] = []

    async def flow(event: Event[Any], step: AsyncStep) -> None:
        async def flaky() -> None:
            order.append(f"flaky {step.attempt}")
            if step.attempt == 1:
                raise ConnectionError

        async def steady() -> None:
            for number in range(3):
                await step.run("steady", answer)
                order.append(f"steady {number}")

        await asyncio.gather(step.run("flaky", flaky, retries=1, retry_delay=1.5), steady())

    run(flow)

    assert order == ["flaky 1", "steady 0", "steady 1", "steady 2", "flaky 2"]


def test_a_long_retry_delay_leaves_the_worker(run: Callable[..., Execution]) -> None:
    async def fail() -> None:
        raise ConnectionError

    async def flow(event: Event[Any], step: AsyncStep) -> None:
        await step.run("fails", fail, retries=1, retry_delay=60)

    execution = run(flow)

    assert execution.status == ExecutionStatus.WAITING
    assert execution.due_at is not None and execution.due_at > datetime.now(UTC)


def test_a_step_that_is_cancelled_is_not_completed(
    run: Callable[..., Execution], worchflow: Worchflow
) -> None:
    async def flow(event: Event[Any], step: AsyncStep) -> str:
        forever = asyncio.create_task(step.run("forever", asyncio.sleep, 3600))
        await asyncio.sleep(0.05)
        forever.cancel()
        await asyncio.wait([forever])
        return await step.run("instead", answer, f"cancelled: {forever.cancelled()}")

    execution = run(flow)

    assert execution.result == "cancelled: True"
    assert [one.key for one in worchflow.steps(execution.id)] == ["instead"]


def test_a_flow_that_cancels_itself_fails_like_any_other(run: Callable[..., Execution]) -> None:
    async def flow(event: Event[Any], step: AsyncStep) -> None:
        raise asyncio.CancelledError

    execution = run(flow, retries=1)

    assert (execution.status, execution.attempt) == (ExecutionStatus.FAILED, 2)
    assert execution.error is not None and execution.error.type == "CancelledError"


async def nested(step: AsyncStep) -> object:
    return await step.run("outer", lambda: step.run("inner", answer))


async def nested_in_a_task(step: AsyncStep) -> object:
    async def outer() -> object:
        return await asyncio.create_task(step.run("inner", answer))

    return await step.run("outer", outer)


@pytest.mark.parametrize("misuse", [nested, nested_in_a_task])
def test_a_step_where_no_step_can_be_raises_step_misuse(
    run: Callable[..., Execution], misuse: Callable[[AsyncStep], Awaitable[object]]
) -> None:
    async def flow(event: Event[Any], step: AsyncStep) -> object:
        return await misuse(step)

    execution = run(flow)

    assert execution.error is not None and execution.error.type == "StepMisuse"


def test_a_step_after_the_flow_s_end_raises_step_misuse(run: Callable[..., Execution]) -> None:
    kept: list[AsyncStep] = []

    async def flow(event: Event[Any], step: AsyncStep) -> None:
        kept.append(step)

    run(flow)

    with pytest.raises(StepMisuse, match="after its flow has ended"):
        asyncio.run(kept[0].run("late", answer))


def test_the_awaited_result_comes_back_by_the_coroutine_s_annotation(
    run: Callable[..., Execution],
) -> None:
    class Local(BaseModel):
        n: int

    async def make() -> Any:
        return Local(n=1)

    make.__annotations__["return"] = Local
    got: list[object] = []

    async def flow(event: Event[Any], step: AsyncStep) -> None:
        got.append(await step.run("make", make))
        if event.attempt == 1:
            raise ConnectionError

    run(flow, retries=1)

    assert got == [Local(n=1), Local(n=1)]
