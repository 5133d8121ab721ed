"""What the list of executions tells beside their status: steps, input, a time to click on."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.dashboard.conftest import FAILING, PAYMENT, Visitor
from tests.support import Bench
from worchflow_celery import Worchflow
from worchflow_celery.clock import utcnow
from worchflow_celery.dashboard.format import summary
from worchflow_celery.dashboard.hub import Running
from worchflow_celery.dashboard.lists import period
from worchflow_celery.dashboard.queries import Query
from worchflow_celery.dashboard.strides import MOST_RUNS, stride
from worchflow_celery.models import Execution, Trigger

Run = Callable[..., str]
NOW = datetime(2026, 5, 1, 12, 0, 30, tzinfo=UTC)


def execution(status: str) -> Execution:
    return Execution(
        id="x",
        flow="pay",
        status=status,  # type: ignore[arg-type]
        created_at=NOW,
        updated_at=NOW,
        trigger=Trigger(kind="send"),
    )


def ran(key: str, status: str, second: int, **more: Any) -> dict[str, Any]:
    return {"key": key, "status": status, "started_at": NOW + timedelta(seconds=second), **more}


def test_steps_are_marked_in_the_order_in_which_they_began() -> None:
    runs = [ran("b", "failed", 2), ran("a", "completed", 1), ran("b", "failed", 3)]

    found = stride(execution("failed"), runs, None)

    assert found is not None
    assert (found.marks, found.name) == (["completed", "failed"], "b")
    assert found.words == "1 of 2 recorded steps completed"


def test_what_completed_a_step_tells_of_it_and_not_its_failures() -> None:
    runs = [ran("a", "failed", 1), ran("a", "completed", 2), ran("w", "waiting", 3)]

    found = stride(execution("waiting"), runs, None)

    assert found is not None
    assert (found.marks, found.name) == (["completed", "waiting"], "w")


def test_the_step_that_runs_is_named_with_its_time_if_it_is_known() -> None:
    runs = [ran("a", "completed", 1)]

    seen = stride(execution("processing"), runs, Running("b", NOW))
    guessed = stride(execution("processing"), runs, None)

    assert seen is not None and guessed is not None
    assert (seen.marks, seen.name, seen.since) == (["completed", "processing"], "b", NOW)
    assert (guessed.name, guessed.after) == ("a", True)


def test_of_many_steps_the_last_are_drawn_and_the_others_counted() -> None:
    found = stride(
        execution("completed"), [ran(f"{n:02}", "completed", n) for n in range(30)], None
    )

    assert found is not None
    assert (len(found.marks), found.left) == (10, 20)


def test_of_more_steps_than_are_read_nobody_says_which_is_the_last() -> None:
    found = stride(execution("failed"), [ran(str(n), "failed", n) for n in range(MOST_RUNS)], None)

    assert found is not None
    assert (found.marks, found.name) == ([], f"{MOST_RUNS} or more steps")


def test_what_undoes_a_step_is_no_step_and_no_step_is_nothing() -> None:
    undone = [ran("a", "completed", 1, phase="compensate")]

    assert stride(execution("failed"), undone, None) is None
    assert stride(execution("queued"), [], None) is None


def test_the_list_shows_how_far_each_has_come(visitor: Visitor, run: Run) -> None:
    run("pay", FAILING)
    run("pay", PAYMENT)

    page = visitor.get("/").text

    marks = re.findall(r'class="steps"[^>]*>(.*?)</span>', page)
    assert [re.findall(r'<i class="(\w+)"', one) for one in marks] == [["completed"]] * 2


def test_steps_of_a_page_are_one_bounded_read(
    shop: Worchflow, run: Run, bench: Bench, visitor: Visitor
) -> None:
    first = run("pay", PAYMENT)
    run("pay", PAYMENT)
    many = [
        {"_id": f"{first} z{n:03}", "key": f"z{n:03}", "status": "completed"} for n in range(300)
    ]
    bench.collection("steps").insert_many(many)
    bench.database.command("profile", 2)

    try:
        page = visitor.get("/").text
    finally:
        bench.database.command("profile", 0)

    seen = {"ns": {"$regex": f"{bench.prefix}_steps"}}
    reads = list(bench.database["system.profile"].find(seen))
    assert len(reads) == 1
    assert reads[0]["docsExamined"] <= 2 * MOST_RUNS
    assert f"{MOST_RUNS} or more steps" in page


def test_fields_that_can_be_searched_come_first_in_the_input() -> None:
    data = {"amount": 1, "note": "x", "currency": "EUR", "customer": "cust_7", "tags": ["a"]}

    assert summary(data, ("customer",)) == [("customer", "cust_7"), ("amount", "1"), ("note", "x")]
    assert summary(data, ("tags", "nothing"))[0] == ("amount", "1")


@pytest.mark.parametrize(
    ("query", "since", "until"),
    [
        (Query(), NOW - timedelta(minutes=59, seconds=30), NOW + timedelta(seconds=30)),
        (
            Query(before=NOW - timedelta(days=1)),
            NOW - timedelta(days=1, minutes=59, seconds=30),
            NOW - timedelta(days=1) + timedelta(seconds=30),
        ),
        (
            Query(after=NOW - timedelta(days=400)),
            NOW + timedelta(seconds=30) - timedelta(days=35),
            NOW + timedelta(seconds=30),
        ),
        (
            Query(after=NOW + timedelta(days=4)),
            NOW - timedelta(seconds=30),
            NOW + timedelta(seconds=30),
        ),
    ],
)
def test_the_chart_is_of_the_time_of_the_filter_or_the_last_hour(
    query: Query, since: datetime, until: datetime
) -> None:
    assert period(query, NOW) == (since, until)


@pytest.fixture
def counted(bench: Bench, shop: Worchflow) -> datetime:
    """A minute in which something has ended."""
    minute = (utcnow() - timedelta(minutes=5)).replace(second=0, microsecond=0)
    took = {"buckets": {"3": 2}, "total": 10, "longest": 6}
    ended = {"flow": "pay", "completed": 1, "failed": 1, "cancelled": 0}
    document = {"_id": minute, "flows": [{**ended, "duration": took, "wait": took}]}
    bench.collection("rollups").insert_one(document)
    return minute


def test_a_click_on_the_chart_keeps_the_filter_and_sets_the_time(
    visitor: Visitor, run: Run, counted: datetime
) -> None:
    run("pay", FAILING)

    page = visitor.get("/?status=failed&flow=pay&last=1h").text

    links = [
        one.replace("&amp;", "&") for one in re.findall(r'<a href="(/\?[^"]+after=[^"]+)"', page)
    ]
    assert len(links) >= 60
    assert all("status=failed" in one and "flow=pay" in one and "last=" not in one for one in links)
    assert all(visitor.get(one).status_code == 200 for one in links[:2])


def test_a_time_stays_in_the_form(visitor: Visitor) -> None:
    page = visitor.get("/?after=2026-01-31T12:00&before=2026-02-01T00:00:00Z").text

    assert 'name="after" step="any" value="2026-01-31T12:00:00"' in page
    assert 'name="before" step="any" value="2026-02-01T00:00:00"' in page
