"""An ordinary task, and a flow that runs one as its step."""

from typing import Any

from celery import Celery

from worchflow_celery import Event, ExecutionHandle, Step, Worchflow


def define_add(app: Celery) -> Any:
    @app.task(name="add")
    def add(one: int, other: int) -> int:
        return one + other

    return add


def started(worchflow: Worchflow, signature: Any, **options: Any) -> ExecutionHandle[Any]:
    @worchflow.flow("flow")
    def flow(event: Event[Any], step: Step) -> Any:
        return step.apply("task", signature, **options)

    return flow.send()
