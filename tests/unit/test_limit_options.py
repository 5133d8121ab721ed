"""Limits of a flow that cannot be are refused where the flow is defined."""

from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from worchflow_celery import Event, Worchflow
from worchflow_celery.errors import InvalidOption


async def key(data: Any) -> str:
    return ""


def define(**limits: Any) -> Any:
    worchflow = Worchflow(Celery(set_as_current=False))

    @worchflow.flow("limited", **limits)
    def limited(event: Event[Any]) -> None: ...

    return limited.definition.options


COUNT = "must be a whole number from 1 to 1000"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"concurrency": 0}, f"concurrency is 0: it {COUNT}"),
        ({"concurrency": 1001}, f"concurrency is 1001: it {COUNT}"),
        ({"concurrency": True}, f"concurrency is True: it {COUNT}"),
        ({"concurrency": 2.0}, f"concurrency is 2.0: it {COUNT}"),
        ({"concurrency": "2"}, f"concurrency is '2': it {COUNT}"),
        ({"throttle": 10}, "throttle is 10: it must be (count, seconds)"),
        ({"throttle": (1, 2, 3)}, "throttle is (1, 2, 3): it must be (count, seconds)"),
        ({"throttle": "10/m"}, "throttle is '10/m': it must be (count, seconds)"),
        ({"throttle": (0, 60)}, f"the count of throttle is 0: it {COUNT}"),
        ({"throttle": (1, 0)}, "the window of throttle is 0: it must be seconds"),
        ({"throttle": (1, "60")}, "the window of throttle is '60': it must be seconds"),
        ({"concurrency_key": str}, "concurrency_key needs concurrency= or throttle="),
        ({"concurrency": 1, "concurrency_key": "id"}, "concurrency_key is 'id': it must be a"),
        ({"concurrency": 1, "concurrency_key": key}, "it must be a function (not async)"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_with_the_flow_s_name(
    limits: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidOption) as refusal:
        define(**limits)

    assert str(refusal.value).startswith("flow 'limited': ")
    assert said in str(refusal.value)


def test_a_window_may_be_a_timedelta() -> None:
    assert define(throttle=[5, timedelta(minutes=1)]).throttle == (5, 60.0)


@pytest.mark.parametrize(
    ("limits", "limited"),
    [({}, False), ({"concurrency": 1}, True), ({"throttle": (1, 1)}, True)],
)
def test_only_a_flow_with_a_limit_is_limited(limits: dict[str, Any], limited: bool) -> None:
    assert define(**limits).limited is limited
