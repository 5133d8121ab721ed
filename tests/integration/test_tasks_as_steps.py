"""Ordinary Celery tasks as steps: sent, waited for without a worker, answered by callbacks."""

from typing import Any

import pytest
from celery import Celery, chain, chord, group

from tests.integration.applied import define_add, started
from tests.support import Bench, deliver, dispatcher, eventually, forget_results
from worchflow_celery import AsyncStep, Event, Step, Worchflow
from worchflow_celery.errors import ExecutionFailed, TaskFailed


@pytest.fixture
def add(celery_app: Celery) -> Any:
    return define_add(celery_app)


@pytest.fixture
def fail(celery_app: Celery) -> Any:
    @celery_app.task(name="fail")
    def fail(*_: Any) -> None:
        raise ArithmeticError("it cannot be")

    return fail


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


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # by Celery's own backend
@pytest.mark.parametrize("part", ["header", "body"])
def test_a_chord_that_fails_raises_what_its_task_has_raised(bench: Bench, part: str) -> None:
    app = bench.celery(result_backend=bench.redis_url)
    worchflow = bench.bind(app)

    @app.task(name="give")
    def give(value: Any) -> Any:
        return value

    @app.task(name="fail")
    def fail(*_: Any) -> None:
        raise ArithmeticError("it cannot be")

    tasks = {"header": ([give.s(1), fail.s()], give.s()), "body": ([give.s(1)], fail.s())}
    handle = started(worchflow, chord(*tasks[part]))

    deliver(app)

    with pytest.raises(ExecutionFailed, match=r"TaskFailed: .*it cannot be"):
        handle.result(1)
    worchflow.close()
    forget_results(app)


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


def test_a_chain_of_nothing_is_refused(worchflow: Worchflow, celery_app: Celery) -> None:
    handle = started(worchflow, chain())

    deliver(celery_app)

    with pytest.raises(ExecutionFailed, match="empty chain"):
        handle.result(1)


def test_a_group_of_nothing_gives_nothing(worchflow: Worchflow, celery_app: Celery) -> None:
    handle = started(worchflow, group([]))

    deliver(celery_app)

    assert handle.result(1) == []


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
