"""A signal that fits no wait is refused where it is sent, if its waits are known there."""

from typing import Any

import pytest
from celery import Celery

from tests.support import deliver
from worchflow_celery import Event, ExecutionStatus, Step, Worchflow
from worchflow_celery.errors import InvalidEventData


def test_a_payload_that_fits_no_known_wait_is_refused_by_its_sender(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    @worchflow.flow("typed")
    def typed(event: Event[Any], step: Step) -> int:
        number: int = step.wait_for_signal("number", type=int)
        return number

    handle = typed.send()
    deliver(celery_app)

    with pytest.raises(InvalidEventData, match="'number' for flow 'typed'"):
        handle.signal("number", "no number")

    assert handle.status == ExecutionStatus.WAITING
    handle.signal("number", 7)
    deliver(celery_app)
    assert handle.result(1) == 7


def test_a_payload_that_fits_one_of_several_waits_is_taken(
    worchflow: Worchflow, celery_app: Celery
) -> None:
    @worchflow.flow("either")
    def either(event: Event[Any], step: Step) -> list[Any]:
        first = step.wait_for_signal("value", type=int)
        return [first, step.wait_for_signal("value", type=list[int])]

    handle = either.send()
    deliver(celery_app)
    handle.signal("value", 1)
    deliver(celery_app)

    handle.signal("value", [2])
    deliver(celery_app)

    assert handle.result(1) == [1, [2]]
