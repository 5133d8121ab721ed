"""`step.map` and `step.gather` in sync flows: steps in threads, each with its own checkpoint."""

import threading
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from celery import Celery

from tests.support import deliver, die, eventually, revive
from worchflow_celery import Event, Execution, ExecutionStatus, Step, Worchflow

Handler = Callable[[Event[Any], Step], Any]


class Gate:
    """Lets tests see how many are inside at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = self.most = 0

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1


def test_map_returns_the_results_in_the_order_of_the_items(
    run: Callable[..., Execution], worchflow: Worchflow
) -> None:
    execution = run(lambda event, step: step.map("double", lambda n: n * 2, range(6)))

    assert execution.result == [0, 2, 4, 6, 8, 10]
    records = {one.key: (one.name, one.kind, one.result) for one in worchflow.steps(execution.id)}
    assert records == {f"double[{n}]": ("double", "run", n * 2) for n in range(6)}


def test_gather_returns_the_results_by_name(
    run: Callable[..., Execution], worchflow: Worchflow
) -> None:
    meeting = threading.Barrier(3, timeout=5)

    def flow(event: Event[Any], step: Step) -> dict[str, Any]:
        def meet() -> str:
            meeting.wait()
            return step.idempotency_key.rpartition(":")[2]

        return step.gather(stock=meet, price=meet, **{"not an identifier": meet})

    execution = run(flow)

    assert execution.result == {n: n for n in ("stock", "price", "not an identifier")}
    assert {one.key for one in worchflow.steps(execution.id)} == set(execution.result)


@pytest.mark.parametrize(
    ("items", "result"),
    [([], []), ((n for n in (1, 2)), [1, 2]), ({"a": 1}, ["a"]), ("ab", ["a", "b"])],
)
def test_items_may_be_anything_that_can_be_iterated(
    run: Callable[..., Execution], items: Any, result: list[Any]
) -> None:
    execution = run(lambda event, step: [step.map("same", lambda one: one, items), step.gather()])

    assert execution.result == [result, {}]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_so_many_run_at_once_and_no_more(run: Callable[..., Execution], concurrency: int) -> None:
    gate = Gate()

    def work(number: int) -> None:
        with gate:
            eventually(lambda: gate.most == concurrency)

    run(lambda event, step: step.map("work", work, range(9), concurrency=concurrency))

    assert gate.most == concurrency


def test_items_that_have_completed_are_not_run_again(run: Callable[..., Execution]) -> None:
    ran: Counter[int] = Counter()

    def flow(event: Event[Any], step: Step) -> list[int]:
        def work(number: int) -> int:
            ran[number] += 1
            if number == 3 and event.attempt == 1:
                raise ConnectionError
            return number

        return step.map("work", work, range(6), concurrency=1)

    execution = run(flow, retries=1)

    assert execution.result == list(range(6))
    assert ran == {0: 1, 1: 1, 2: 1, 3: 2, 4: 1, 5: 1}


def test_items_that_have_completed_are_not_run_again_after_a_crash(
    run: Callable[..., Execution], worchflow: Worchflow, celery_app: Celery
) -> None:
    ran: list[int] = []

    def work(number: int) -> int:
        ran.append(number)
        return number if ran.count(2) != 1 or number != 2 else die()

    execution = run(lambda event, step: step.map("work", work, range(4), concurrency=1))
    revive(worchflow, execution.id)
    deliver(celery_app)

    assert worchflow.get(execution.id).result == [0, 1, 2, 3]
    assert ran == [0, 1, 2, 2, 3]


def test_the_first_error_lets_what_runs_finish_and_nothing_begin(
    run: Callable[..., Execution], worchflow: Worchflow
) -> None:
    both, failed = threading.Barrier(2, timeout=5), threading.Event()

    def work(number: int) -> int:
        both.wait()
        if number == 0:
            failed.set()
            raise ConnectionError("first")
        failed.wait(5)
        return number

    execution = run(lambda event, step: step.map("work", work, range(9), concurrency=2))

    assert execution.error is not None and execution.error.message == "first"
    told = {one.key: (one.status, one.result) for one in worchflow.steps(execution.id)}
    assert told == {"work[0]": ("failed", None), "work[1]": ("completed", 1)}


def test_the_error_that_a_flow_has_met_is_met_again_after_a_crash(
    run: Callable[..., Execution], worchflow: Worchflow, celery_app: Celery
) -> None:
    met: list[str] = []
    both, failed = threading.Barrier(2, timeout=5), threading.Event()

    def work(number: int) -> None:
        both.wait()
        if number == 0:
            eventually(failed.is_set)
            raise ConnectionError("second")
        failed.set()
        raise ConnectionError("first")

    def flow(event: Event[Any], step: Step) -> None:
        try:
            step.map("work", work, range(2))
        except ConnectionError as error:
            met.append(str(error))
        if len(met) == 1:
            die()

    execution = run(flow)
    revive(worchflow, execution.id)
    deliver(celery_app)

    assert worchflow.get(execution.id).status == ExecutionStatus.COMPLETED
    assert met[0] == met[1]


def test_a_name_used_again_is_numbered_and_never_reads_another_s_checkpoint(
    run: Callable[..., Execution], worchflow: Worchflow
) -> None:
    def flow(event: Event[Any], step: Step) -> list[Any]:
        values = [
            step.run("a[0]", lambda: "run"),
            step.map("a", lambda n: n, [1, 2]),
            step.map("a", lambda n: n, [3]),
            step.run("a", lambda: "once"),
            step.gather(a=lambda: "gathered"),
        ]
        if event.attempt == 1:
            raise ConnectionError
        return values

    execution = run(flow, retries=1)

    assert execution.result == ["run", [1, 2], [3], "once", {"a": "gathered"}]
    keys = {one.key for one in worchflow.steps(execution.id)}
    assert keys == {"a[0]", "a[0]#2", "a[1]", "a#2[0]", "a#3", "a#4"}


def test_inside_an_item_its_attempt_and_its_key_are_known(run: Callable[..., Execution]) -> None:
    def flow(event: Event[Any], step: Step) -> list[Any]:
        def tell(number: int) -> tuple[int, bool]:
            if event.attempt == 1 and number == 1:
                raise ConnectionError
            return step.attempt, step.idempotency_key == f"{event.id}:tell[{number}]"

        return step.map("tell", tell, range(2), concurrency=1)

    assert run(flow, retries=1).result == [(1, True), (2, True)]


def test_items_see_the_flow_s_context_and_not_one_another_s(
    run: Callable[..., Execution],
) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="none")

    def flow(event: Event[Any], step: Step) -> list[str]:
        def work(number: int) -> str:
            seen = tenant.get()
            tenant.set(f"item {number}")
            return seen

        tenant.set("acme")
        return [*step.map("work", work, range(3), concurrency=1), tenant.get()]

    assert run(flow).result == ["acme"] * 4
