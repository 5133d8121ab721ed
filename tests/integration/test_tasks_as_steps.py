"""Ordinary Celery tasks as steps: sent, waited for without a worker, answered by callbacks."""

from typing import Any

import pytest
from celery import Celery, chain, chord, group

from tests.support import (
    Bench,
    bring_forward,
    deliver,
    die,
    dispatcher,
    eventually,
    forget_results,
    revive,
)
from worchflow_celery import AsyncStep, Event, ExecutionStatus, Step, Worchflow
from worchflow_celery.errors import ExecutionFailed, StepTimeout, TaskFailed


@pytest.fixture
def add(celery_app: Celery) -> Any:
    @celery_app.task(name="add")
    def add(one: int, other: int) -> int:
        return one + other

    return add


@pytest.fixture
def fail(celery_app: Celery) -> Any:
    @celery_app.task(name="fail")
    def fail(*_: Any) -> None:
        raise ArithmeticError("it cannot be")

    return fail


def started(worchflow: Worchflow, signature: Any, **options: Any) -> Any:
    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> Any:
        return step.apply("task", signature, **options)

    return flow.send()


def test_a_task_is_a_step_without_a_result_backend(
    worchflow: Worchflow, celery_app: Celery, add: Any
) -> None:
    handle = started(worchflow, add.s(2, 3))

    deliver(celery_app)

    assert handle.result(1) == 5
    assert [step.kind for step in worchflow.steps(handle.id)] == ["apply"]


def test_the_worker_is_free_while_the_task_runs(worchflow: Worchflow, celery_app: Celery) -> None:
    seen: list[str] = []

    @celery_app.task(name="look")
    def look() -> None:
        seen.append(handle.status)

    handle = started(worchflow, look.s())

    deliver(celery_app)

    assert seen == ["waiting"]
    assert handle.result(1) is None


def test_a_chain_gives_its_last_result(worchflow: Worchflow, celery_app: Celery, add: Any) -> None:
    handle = started(worchflow, chain(add.s(1, 2), add.s(10), add.s(100)))

    deliver(celery_app)

    assert handle.result(1) == 113


def test_a_group_gives_the_results_of_its_members_in_order(
    worchflow: Worchflow, celery_app: Celery, add: Any
) -> None:
    handle = started(worchflow, group(add.s(number, 1) for number in range(5)))

    deliver(celery_app)

    assert handle.result(1) == [1, 2, 3, 4, 5]


def test_a_chord_gives_the_result_of_its_body(bench: Bench) -> None:
    app = bench.celery(result_backend=bench.redis_url)
    worchflow = bench.bind(app)

    @app.task(name="double")
    def double(number: int) -> int:
        return 2 * number

    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    handle = started(worchflow, chord([double.s(1), double.s(2)], total.s()))

    deliver(app)

    assert handle.result(1) == 6
    worchflow.close()
    forget_results(app)


@pytest.mark.parametrize("shape", ["task", "chain", "group"])
def test_a_task_that_fails_raises_what_it_raised(
    worchflow: Worchflow, celery_app: Celery, add: Any, fail: Any, shape: str
) -> None:
    signature = {
        "task": fail.s(),
        "chain": chain(add.s(1, 2), fail.s(), add.s(3)),
        "group": group(add.s(1, 2), fail.s()),
    }[shape]

    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> Any:
        try:
            step.apply("task", signature)
        except TaskFailed as failure:
            step.sleep("nap", 2)  # and once more, out of what was recorded
            assert failure.error is not None
            return failure.error.type, failure.error.message, str(failure)

    handle = flow.send()
    deliver(celery_app)

    eventually(lambda: dispatcher(worchflow).sweep() and deliver(celery_app))

    assert handle.result(1) == ("ArithmeticError", "it cannot be", "ArithmeticError: it cannot be")
    recorded = worchflow.steps(handle.id)[0].error
    assert recorded is not None
    assert "raise ArithmeticError" in str(recorded.traceback)


def test_a_task_that_fails_runs_again_as_often_as_the_step_retries(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    ran: list[str] = []

    @celery_app.task(name="flaky", bind=True)
    def flaky(task: Any) -> str:
        ran.append(task.request.id)
        if len(ran) < 3:
            raise ConnectionError
        return "done"

    handle = started(worchflow, flaky.s(), retries=2)

    deliver(celery_app)

    assert handle.result(1) == "done"
    assert len(set(ran)) == 3
    assert handle.get().attempt == 1


def test_a_task_that_celery_loses_is_a_step_timeout_and_can_be_sent_again(
    worchflow: Worchflow, celery_app: Celery, bench: Bench, add: Any
) -> None:
    handle = started(worchflow, add.s(1, 1).set(queue=f"{celery_app.main}.lost"), timeout=0.2)
    deliver(celery_app)
    assert handle.status == ExecutionStatus.WAITING

    eventually(lambda: dispatcher(worchflow).sweep() and deliver(celery_app))

    with pytest.raises(ExecutionFailed, match=StepTimeout.__name__):
        handle.result(1)


def test_a_callback_that_comes_twice_does_no_harm(
    worchflow: Worchflow, celery_app: Celery, add: Any
) -> None:
    handle = started(worchflow, add.s(2, 2))
    deliver(celery_app, most=2)  # the flow, the task
    answer = {"execution_id": handle.id, "name": "\ttask:1:0"}

    for result in (4, 5, 6):
        celery_app.tasks["worchflow.answer"].apply_async((result,), answer)
    deliver(celery_app)

    assert handle.result(1) in (4, 5, 6)
    assert len(worchflow.steps(handle.id)) == 1


def test_a_flow_that_dies_before_it_sends_its_task_sends_it_later(
    worchflow: Worchflow, celery_app: Celery, add: Any
) -> None:
    lives: list[int] = []
    record = worchflow.runtime.store.steps.insert

    def dying(execution_id: str, checkpoint: Any) -> Any:
        found = record(execution_id, checkpoint)
        if checkpoint.status == "waiting" and not lives:
            lives.append(1)
            die()
        return found

    worchflow.runtime.store.steps.insert = dying  # type: ignore[method-assign]
    handle = started(worchflow, add.s(3, 3))
    deliver(celery_app)

    revive(worchflow, handle.id)
    deliver(celery_app)

    assert handle.result(1) == 6


def test_an_execution_that_wakes_too_early_sends_no_second_task(
    worchflow: Worchflow, celery_app: Celery, bench: Bench
) -> None:
    handle = started(worchflow, celery_app.signature("elsewhere", queue=f"{bench.prefix}.else"))
    deliver(celery_app)
    bring_forward(bench, handle.id)

    dispatcher(worchflow).sweep()
    deliver(celery_app)

    assert bench.broker().llen(f"{bench.prefix}.else") == 1
    assert handle.status == ExecutionStatus.WAITING


def test_an_answer_that_cannot_be_stored_fails_the_step(bench: Bench) -> None:
    app = bench.celery()
    worchflow = bench.bind(app, max_payload_bytes=2000)

    @app.task(name="large")
    def large() -> str:
        return "x" * 5000

    handle = started(worchflow, large.s())

    deliver(app)

    with pytest.raises(ExecutionFailed, match="OversizedValue"):
        handle.result(1)
    worchflow.close()


@pytest.mark.parametrize("given", ["no signature", None, {"task": "add"}])
def test_what_is_no_signature_is_refused(
    worchflow: Worchflow, celery_app: Celery, given: Any
) -> None:
    handle = started(worchflow, given)

    deliver(celery_app)

    with pytest.raises(ExecutionFailed, match="needs a signature"):
        handle.result(1)


def test_a_group_without_a_single_result_is_refused(
    worchflow: Worchflow, celery_app: Celery, add: Any
) -> None:
    handle = started(worchflow, chain(add.s(1, 1), group(add.s(1), add.s(2))))

    deliver(celery_app)

    with pytest.raises(ExecutionFailed, match="makes it a chord"):
        handle.result(1)


def test_a_signature_that_cannot_be_serialised_is_refused(
    worchflow: Worchflow, celery_app: Celery, add: Any
) -> None:
    handle = started(worchflow, add.s(1, object()))

    deliver(celery_app)

    with pytest.raises(ExecutionFailed, match="cannot be sent"):
        handle.result(1)


def test_a_task_is_a_step_of_an_async_flow(
    worchflow: Worchflow, celery_app: Celery, add: Any
) -> None:
    @worchflow.flow("flow")
    async def flow(event: Event[Any], step: AsyncStep) -> Any:
        return await step.apply("task", add.s(4, 4))

    handle = flow.send()

    deliver(celery_app)

    assert handle.result(1) == 8


def test_an_eager_flow_runs_its_tasks_eagerly(worchflow: Worchflow, add: Any) -> None:
    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> Any:
        return step.apply("task", add.s(5, 5))

    result = flow.apply(args=(None,))

    assert result.get() == 10
