"""What the page of a flow tells: who can run it, its errors over time, its steps."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from tests.dashboard.conftest import FAILING, PAYMENT, Visitor
from tests.support import Bench, deliver
from worchflow_celery import Event, Step, Worchflow, redaction
from worchflow_celery.clock import utcnow
from worchflow_celery.dashboard import site as sites
from worchflow_celery.errors import StoreUnavailable

Run = Callable[..., str]


def aged(bench: Bench, execution_id: str, ago: timedelta) -> None:
    """Have an execution sent earlier."""
    change = {"$set": {"created_at": utcnow() - ago}}
    bench.collection("executions").update_one({"_id": execution_id}, change)


def test_that_no_worker_has_registered_a_flow_is_said_loudly(visitor: Visitor) -> None:
    page = visitor.get("/flows/pay").text

    assert "No running worker has registered this flow." in page
    assert 'role="alert"' in page


def test_workers_that_can_run_a_flow_are_counted(shop: Worchflow, visitor: Visitor) -> None:
    facts = {"name": "w@h", "host": "h", "pid": 1, "pool": "solo", "concurrency": 1, "busy": 0}
    for number in range(2):
        more = {"queues": [], "flows": ["pay"], "version": "1"}
        shop.runtime.store.workers.seen(f"w{number}", {**facts, **more})

    assert "2 workers can run this." in visitor.get("/flows/pay").text
    assert "No running worker" in visitor.get("/flows/plain").text


def test_errors_are_counted_in_an_hour_a_day_and_a_week(
    visitor: Visitor, run: Run, bench: Bench
) -> None:
    run("pay", FAILING)
    for ago in (timedelta(hours=2), timedelta(hours=3), timedelta(days=3), timedelta(days=9)):
        aged(bench, run("pay", FAILING), ago)

    page = visitor.get("/flows/pay").text.partition('data-part="errors"')[2]
    page = page.partition("</section>")[0]

    assert re.findall(r'sent then">(\d+)</a>', page) == ["1", "3", "4"]
    assert page.count("no answer for cust_13") == 1


def test_each_number_leads_to_what_failed_then(visitor: Visitor, run: Run) -> None:
    failed = run("pay", FAILING)
    run("pay", PAYMENT)

    page = visitor.get("/flows/pay").text

    links = [
        one.replace("&amp;", "&") for one in re.findall(r'href="(/\?status=failed[^"]+)"', page)
    ]
    assert len(links) == 3
    for link in links:
        assert re.findall(r'<tbody data-id="([^"]+)"', visitor.get(link).text) == [failed]


def test_a_flow_that_has_not_failed_in_a_week_says_so(
    visitor: Visitor, run: Run, bench: Bench
) -> None:
    aged(bench, run("pay", FAILING), timedelta(days=8))

    assert "None in 7 days." in visitor.get("/flows/pay").text


def test_the_texts_of_errors_go_through_the_hook(visit: Callable[..., Visitor], run: Run) -> None:
    run("pay", FAILING)

    page = visit(redact=lambda flow, value: redaction.HIDDEN).get("/flows/pay").text

    assert "cust_13" not in page.partition('data-part="errors"')[2]
    assert redaction.HIDDEN in page


def test_of_each_step_it_is_said_how_often_it_ran_again(
    visitor: Visitor, shop: Worchflow, celery_app: Celery
) -> None:
    ran: list[int] = []

    @shop.flow("stubborn")
    def stubborn(event: Event[Any], step: Step) -> None:
        step.run("Try", lambda: 1 / (ran.append(1), len(ran) - 1)[1], retries=1, retry_delay=0.01)

    shop.send("stubborn")
    deliver(celery_app)

    page = visitor.get("/flows/stubborn").text.partition('data-part="steps"')[2]
    figures = re.findall(r'<td>Try</td><td class="num">(\d+)</td><td class="num">(.*?)</td>'
                         r'<td class="num">(\d+)</td>', page)  # fmt: skip
    assert figures == [("2", "50 %", "1")]


def test_errors_are_found_by_an_index_and_no_more_than_are_counted(
    shop: Worchflow, run: Run, bench: Bench
) -> None:
    one = bench.collection("executions").find_one({"_id": run("pay", FAILING)})
    copies = [{**(one or {}), "_id": f"copy-{number}"} for number in range(60)]
    bench.collection("executions").insert_many(copies)
    bench.database.command("profile", 2)

    try:
        found = shop.runtime.store.lookups.failed("pay", utcnow() - timedelta(days=7), 50)
    finally:
        bench.database.command("profile", 0)

    query = {"ns": {"$regex": f"{bench.prefix}_executions"}, "op": "query"}
    seen = bench.database["system.profile"].find_one(query)
    assert len(found) == 50
    assert seen is not None and "IXSCAN" in seen["planSummary"]
    assert seen["docsExamined"] <= 50


# -- too slow ----------------------------------------------------------------------------------


def slow(*_: Any, **__: Any) -> Any:
    raise StoreUnavailable("no answer in time")


def test_what_takes_too_long_is_told_from_a_store_that_is_down(
    visitor: Visitor, shop: Worchflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sites, "_PATIENCE", 0.000_001)
    page, told = visitor.get("/"), visitor.get("/api/v1/executions")

    assert (page.status_code, told.status_code) == (503, 503)
    assert "Too much to find in time" in page.text
    assert "narrow the time" in told.json()["detail"]
    assert "MongoDB is not available" not in page.text


def test_a_store_that_fails_at_once_is_no_slow_query(
    visitor: Visitor, shop: Worchflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop.runtime.store.reading, "rows", slow)

    assert "Too much to find in time" not in visitor.get("/").text
