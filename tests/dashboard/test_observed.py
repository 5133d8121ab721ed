"""What the dashboard shows of logs, figures and live updates, and how it is served under a path."""

import asyncio
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from tests.dashboard.conftest import Visitor
from tests.support import deliver, eventually
from worchflow_celery import Event, Step, Worchflow, redaction
from worchflow_celery.clock import utcnow
from worchflow_celery.dashboard.charts import columns, together
from worchflow_celery.dashboard.hub import Hub, TooMany
from worchflow_celery.dashboard.serving import Under
from worchflow_celery.observed import FlowStats, Point, Spread, Update

NOTHING = Spread(count=0, mean=None, p50=None, p95=None, p99=None, longest=None)


@pytest.fixture
def logged(shop: Worchflow, celery_app: Celery) -> str:
    """An execution that has logged a line with a secret."""

    @shop.flow("chatty")
    def chatty(event: Event[Any], step: Step) -> None:
        step.log("asked <b>them</b>", secret="4111", amount=5)

    sent = shop.send("chatty").id
    deliver(celery_app)
    eventually(lambda: shop.logs(sent), what="the line is kept")
    return sent


def test_an_execution_shows_what_it_logged(visitor: Visitor, logged: str) -> None:
    page = visitor.get(f"/executions/{logged}").text
    lines = visitor.get(f"/api/v1/executions/{logged}/logs").json()["items"]

    assert "asked &lt;b&gt;them&lt;/b&gt;" in page
    assert [one["fields"] for one in lines] == [{"secret": "4111", "amount": 5}]


def test_the_log_goes_through_the_hook(visit: Callable[..., Visitor], logged: str) -> None:
    visitor = visit(redact=redaction.fields("secret"))

    for path in (f"/executions/{logged}", f"/api/v1/executions/{logged}/logs"):
        assert "4111" not in visitor.get(path).text


def test_a_page_of_the_log_begins_after_a_line(visitor: Visitor, logged: str) -> None:
    path = f"/api/v1/executions/{logged}/logs"
    last = visitor.get(path).json()["items"][-1]["id"]

    assert visitor.get(path, params={"after": last}).json()["items"] == []
    assert visitor.get(path, params={"after": "$gt"}).status_code == 400


@pytest.mark.parametrize("window", ["1h", "24h", "7d"])
def test_a_flow_has_its_figures_of_a_time(visitor: Visitor, window: str) -> None:
    assert visitor.get(f"/flows/pay?window={window}").status_code == 200
    assert visitor.get("/flows/pay?window=year").status_code == 400
    assert visitor.get("/api/v1/flows/pay/stats").json() == {"items": []}


def stats(flow: str, *counts: tuple[int, int]) -> FlowStats:
    begin = utcnow()
    points = [
        Point(at=begin.replace(minute=number), completed=done, failed=failed, cancelled=0)
        for number, (done, failed) in enumerate(counts)
    ]
    totals = {"completed": 0, "failed": 0, "cancelled": 0, "duration": NOTHING, "wait": NOTHING}
    until = begin + timedelta(hours=1)
    return FlowStats(flow=flow, since=begin, until=until, points=points, **totals)


def test_the_highest_column_fills_the_chart_and_failures_stand_below() -> None:
    drawn = columns(stats("a", (3, 1), (0, 0), (0, 2)).points, lambda at, until: "?")

    assert [(one.done, one.failed, one.top) for one in drawn] == [
        ("75.0", "25.0", "0.0"),
        ("0.0", "0.0", "100.0"),
        ("0.0", "50.0", "50.0"),
    ]
    assert columns(stats("a", (0, 0)).points, lambda at, until: "?") == []


def test_flows_are_added_up() -> None:
    one = stats("a", (1, 0), (2, 1))
    other = one.model_copy(update={"flow": "b"})

    assert [(point.completed, point.failed) for point in together([one, other])] == [(2, 0), (4, 2)]


class Watching:
    """What ``worchflow.watch()`` returns, for one update."""

    def __init__(self, *updates: Update) -> None:
        self.updates = [list(updates)]
        self.begun = threading.Event()
        self.closed = False

    def __enter__(self) -> "Watching":
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def poll(self) -> list[Update]:
        return self.updates.pop() if self.begun.wait(0.02) and self.updates else []


def test_an_update_reaches_all_listeners_without_any_text_of_errors() -> None:
    error = {"type": "ValueError", "message": "4111"}
    told = {"event": "step_failed", "execution_id": "x", "error": error, "key": "a"}
    watching = Watching(Update.model_validate({"id": "1", "at": utcnow(), "worker": "w", **told}))
    hub = Hub(lambda: watching)  # type: ignore[arg-type, return-value]

    async def listen() -> list[str]:
        listeners = [hub.join(), hub.join()]
        watching.begun.set()
        found = [await asyncio.wait_for(queue.get(), 5) for _, queue in listeners]
        for one in listeners:
            hub.leave(one)
        return found

    messages = asyncio.run(listen())

    assert len(messages) == 2
    assert json.loads(messages[0].partition("data: ")[2])["execution_id"] == "x"
    assert "4111" not in messages[0]
    eventually(lambda: watching.closed, what="nobody listens: the watch is closed")


def test_the_hundred_and_first_listener_is_refused() -> None:
    hub = Hub(lambda: Watching())  # type: ignore[arg-type, return-value]

    async def crowd() -> None:
        listeners = [hub.join() for _ in range(100)]
        try:
            with pytest.raises(TooMany):
                hub.join()
        finally:
            for one in listeners:
                hub.leave(one)

    asyncio.run(crowd())


@pytest.mark.parametrize("path", ["/ops/flows/flows", "/flows"])
@pytest.mark.parametrize("prefix", ["/ops/flows", "ops/flows/"])
def test_a_proxy_may_leave_the_path_in_or_take_it_off(
    visitor: Visitor, path: str, prefix: str
) -> None:
    page = Visitor(Under(prefix, visitor.app)).get(path)

    assert page.status_code == 200
    assert 'href="/ops/flows/schedules"' in page.text
