"""What `step.run` promises: once it has returned, never again."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from tests.support import Bench, deliver, die, revive
from worchflow_celery import Event, ExecutionStatus, Step, Worchflow
from worchflow_celery.errors import StepMisuse

Handler = Callable[[Event[Any], Step], Any]


@pytest.fixture
def run(worchflow: Worchflow, celery_app: Celery) -> Callable[..., Any]:
    """Define a flow, send it, run its attempts until none is left; return its execution."""

    def run(handler: Handler, **options: Any) -> Any:
        flow = worchflow.flow("flow", retry_delay=0, **options)(handler)
        handle = flow.send()
        deliver(celery_app)
        return handle.get()

    return run


def test_a_completed_step_is_not_run_again_in_the_next_attempt(run: Callable[..., Any]) -> None:
    charged: list[int] = []

    def pay(event: Event[Any], step: Step) -> str:
        step.run("charge", charged.append, 100)
        if event.attempt < 3:
            raise ConnectionError
        return "paid"

    execution = run(pay, retries=2)

    assert execution.result == "paid"
    assert charged == [100]


def test_a_completed_step_is_not_run_again_after_a_crash(
    run: Callable[..., Any], worchflow: Worchflow, celery_app: Celery
) -> None:
    ran: list[str] = []

    def flow(event: Event[Any], step: Step) -> None:
        step.run("first", ran.append, "first")
        step.run("second", lambda: ran.append("second") or (len(ran) == 2 and die()))
        step.run("third", ran.append, "third")

    execution = run(flow)
    revive(worchflow, execution.id)
    deliver(celery_app)

    assert ran == ["first", "second", "second", "third"]
    assert worchflow.get(execution.id).status == ExecutionStatus.COMPLETED


def test_a_checkpoint_is_stored_before_step_run_returns(
    run: Callable[..., Any], worchflow: Worchflow
) -> None:
    stored: list[list[Any]] = []

    def flow(event: Event[Any], step: Step) -> None:
        step.run("one", lambda: 1)
        stored.append([(record.key, record.result) for record in worchflow.steps(event.id)])

    run(flow)

    assert stored == [[("one", 1)]]


def test_none_is_a_result_like_any_other(run: Callable[..., Any]) -> None:
    ran: list[int] = []

    def flow(event: Event[Any], step: Step) -> object:
        value = step.run("nothing", ran.append, 1)
        if event.attempt == 1:
            raise ConnectionError
        return [value]

    assert run(flow, retries=1).result == [None]
    assert ran == [1]


def test_each_use_of_a_name_is_a_step_of_its_own(
    run: Callable[..., Any], worchflow: Worchflow
) -> None:
    ran: list[int] = []

    def flow(event: Event[Any], step: Step) -> list[int]:
        values = [step.run("charge", lambda n=n: ran.append(n) or n) for n in range(3)]
        if event.attempt == 1:
            raise ConnectionError
        return values

    execution = run(flow, retries=1)

    assert execution.result == ran == [0, 1, 2]
    assert [one.key for one in worchflow.steps(execution.id)] == ["charge", "charge#2", "charge#3"]


def test_a_name_that_looks_numbered_never_reads_another_step_s_checkpoint(
    run: Callable[..., Any],
) -> None:
    def flow(event: Event[Any], step: Step) -> list[str]:
        names = ["a#2", "a", "a", "a#2"]
        values = [step.run(name, lambda n=n: f"{n}") for n, name in enumerate(names)]
        if event.attempt == 1:
            raise ConnectionError
        return values

    assert run(flow, retries=1).result == ["0", "1", "2", "3"]


def test_steps_are_listed_by_their_first_start_with_their_outcome(
    run: Callable[..., Any], worchflow: Worchflow
) -> None:
    def flow(event: Event[Any], step: Step) -> None:
        step.run("z", lambda: 1)
        step.run("y", fail_once(event.attempt), retries=0)
        step.run("a", lambda: {"k": 2})
        step.run("x", lambda: 1 / 0)

    execution = run(flow, retries=1)

    records = worchflow.steps(execution.id)
    told = [(one.key, one.status, one.result, one.attempt) for one in records]
    assert told == [
        ("z", "completed", 1, 1),
        ("y", "completed", "late", 2),
        ("a", "completed", {"k": 2}, 1),
        ("x", "failed", None, 1),
    ]
    assert {(one.execution_id, one.kind) for one in records} == {(execution.id, "run")}
    assert records[3].error is not None and records[3].error.type == "ZeroDivisionError"


def fail_once(attempt: int) -> Callable[[], str]:
    def fn() -> str:
        if attempt == 1:
            raise ConnectionError
        return "late"

    return fn


def test_inside_a_step_it_tells_its_run_and_a_key_that_stays(
    run: Callable[..., Any], worchflow: Worchflow, celery_app: Celery
) -> None:
    told: list[tuple[int, str, str]] = []

    def flow(event: Event[Any], step: Step) -> None:
        def tell() -> None:
            told.append((step.attempt, step.idempotency_key, step.execution_id))
            if len(told) == 1:
                raise ConnectionError
            if len(told) == 2:
                die()

        step.run("pay", tell, retries=2, retry_delay=0)
        step.run("pay", tell)

    id = run(flow).id
    revive(worchflow, id)
    deliver(celery_app)

    first, second = (f"{id}:pay", id), (f"{id}:pay#2", id)
    assert told == [(1, *first), (2, *first), (2, *first), (1, *second)]


def test_the_execution_s_id_is_known_between_the_steps_too(run: Callable[..., Any]) -> None:
    execution = run(lambda event, step: step.execution_id)

    assert execution.result == execution.id


def nested(step: Step) -> None:
    step.run("outer", lambda: step.run("inner", int))


def in_a_thread(step: Step) -> None:
    errors: list[BaseException] = []

    def begin() -> None:
        try:
            step.run("beside", int)
        except StepMisuse as error:
            errors.append(error)

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    raise errors[0]


async def coroutine() -> None: ...


async def values() -> Any:
    yield 1


def generator() -> Any:
    yield 1


class AsyncCallable:
    async def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("misuse", "words"),
    [
        (nested, "inside step 'outer'"),
        (in_a_thread, "in another thread"),
        (lambda step: step.run("a", coroutine), "async def"),
        (lambda step: step.run("a", lambda: coroutine()), "async def"),
        (lambda step: step.run("a", AsyncCallable()), "async def"),
        (lambda step: step.run("a", generator), "generator"),
        (lambda step: step.run("a", values), "generator"),
        (lambda step: step.run("a", 5), "not a function"),
        (lambda step: step.attempt, "step.attempt"),
        (lambda step: step.idempotency_key, "step.idempotency_key"),
    ],
)
def test_a_step_where_no_step_can_be_raises_step_misuse(
    run: Callable[..., Any], misuse: Callable[[Step], object], words: str
) -> None:
    execution = run(lambda event, step: misuse(step))

    assert execution.error.type == "StepMisuse"
    assert words in execution.error.message


def test_a_step_after_the_flow_s_end_raises_step_misuse(run: Callable[..., Any]) -> None:
    kept: list[Step] = []

    run(lambda event, step: kept.append(step))

    with pytest.raises(StepMisuse, match="after its flow has ended"):
        kept[0].run("late", int)


@pytest.mark.parametrize("name", ["", "a" * 201, "line\nbreak", "tab\t", None, 7])
def test_step_names_that_cannot_be_are_refused(run: Callable[..., Any], name: Any) -> None:
    execution = run(lambda event, step: step.run(name, int))

    assert execution.error.type == "InvalidOption"
    assert "1 to 200 printable characters" in execution.error.message


@pytest.mark.parametrize("name", ["a" * 200, "Zahlung prüfen – 1/2 $x.y", "#2", " "])
def test_a_step_may_have_any_printable_name(
    run: Callable[..., Any], worchflow: Worchflow, name: str
) -> None:
    def flow(event: Event[Any], step: Step) -> int:
        step.run(name, lambda: 1)
        if event.attempt == 1:
            raise ConnectionError
        return step.run(name, lambda: 2)

    execution = run(flow, retries=1)

    assert execution.result == 2
    assert [one.name for one in worchflow.steps(execution.id)] == [name, name]


def test_an_error_of_a_step_that_the_flow_catches_does_not_fail_it(
    run: Callable[..., Any], bench: Bench
) -> None:
    def flow(event: Event[Any], step: Step) -> str:
        try:
            step.run("risky", lambda: 1 / 0)
        except ZeroDivisionError:
            return step.run("instead", lambda: "plan B")
        raise AssertionError

    assert run(flow).result == "plan B"
    assert bench.collection("steps").count_documents({"status": "failed"}) == 1
