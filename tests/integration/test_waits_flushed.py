"""A broker that forgets everything costs waiting executions time, and nothing else."""

from typing import Any

from celery import Celery

from tests.support import Bench, deliver, dispatcher, eventually
from worchflow_celery import Event, ExecutionStatus, Step, Worchflow


def test_a_broker_that_is_flushed_while_everything_waits_loses_no_execution(
    worchflow: Worchflow, celery_app: Celery, bench: Bench
) -> None:
    @celery_app.task(name="double")
    def double(number: int) -> int:
        return 2 * number

    @worchflow.flow("child")
    def child(event: Event[int], step: Step) -> int:
        step.sleep("nap", 1.5)
        return event.data

    @worchflow.flow("parent")
    def parent(event: Event[Any], step: Step) -> list[Any]:
        answer = step.wait_for_signal("go")
        return [answer, step.invoke("child", child, 5), step.apply("task", double.s(21))]

    handles = [parent.send() for _ in range(5)]
    deliver(celery_app)
    assert {handle.status for handle in handles} == {ExecutionStatus.WAITING}

    flush(bench)
    for handle in handles:
        handle.signal("go", handle.id)
    flush(bench)  # their wake-ups are gone, too
    eventually(
        lambda: (
            [dispatcher(worchflow).sweep(), deliver(celery_app)]
            and all(handle.status.finished for handle in handles)
        ),
        within=40,
    )

    assert [handle.result(1) for handle in handles] == [[one.id, 5, 42] for one in handles]


def flush(bench: Bench) -> None:
    """Remove all that the broker holds of this test."""
    with bench.broker() as broker:
        for key in broker.scan_iter(f"{bench.prefix}*"):
            broker.delete(key)
    assert bench.messages() == 0
