"""Finding executions: filters, pages, cursors, and the fields that a flow made searchable."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from celery import Celery
from pydantic import BaseModel, Field

from tests.support import Bench, deliver
from worchflow_celery import Event, ExecutionStatus, Worchflow

START = datetime(2030, 1, 1, tzinfo=UTC)


class Payment(BaseModel):
    customer_id: str = Field(alias="customerId")
    amount: Decimal = Decimal(0)
    number: UUID | None = None


@pytest.fixture(autouse=True)
def flows(worchflow: Worchflow) -> None:
    @worchflow.flow("echo")
    def echo(event: Event[Any]) -> Any:
        return event.data

    @worchflow.flow("fails")
    def fails(event: Event[Any]) -> None:
        raise ValueError

    @worchflow.flow("pay", search=("customer_id", "amount", "number"))
    def pay(event: Event[Payment]) -> None: ...

    @worchflow.flow("dicts", search=("key",))
    def dicts(event: Event[dict[str, Any]]) -> None: ...


@pytest.fixture
def seven(worchflow: Worchflow, bench: Bench) -> list[str]:
    """Ids of seven executions, newest first, a minute apart; the two oldest of one moment."""
    ids = [worchflow.send("echo", number).id for number in range(7)]
    for age, id in enumerate(ids):
        created = START - timedelta(minutes=min(age, 5))
        change = {"$set": {"created_at": created}}
        bench.collection("executions").update_one({"_id": id}, change)
    return ids[:5] + sorted(ids[5:], reverse=True)


def found(worchflow: Worchflow, **filters: Any) -> list[str]:
    return [execution.id for execution in worchflow.find(**filters)]


def test_the_newest_come_first(worchflow: Worchflow, seven: list[str]) -> None:
    assert found(worchflow) == seven


def test_nothing_is_an_empty_last_page(worchflow: Worchflow) -> None:
    page = worchflow.find()

    assert (list(page), page.cursor) == ([], None)


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
def test_pages_bring_each_execution_once(
    worchflow: Worchflow, seven: list[str], limit: int
) -> None:
    ids: list[str] = []
    pages, cursor = 0, None
    while True:
        page = worchflow.find(limit=limit, cursor=cursor)
        ids += [execution.id for execution in page]
        pages, cursor = pages + 1, page.cursor
        assert len(page) <= limit
        if cursor is None:
            break

    assert ids == seven
    assert pages == -(-7 // limit)


def test_pages_stay_as_they_are_while_new_executions_come(
    worchflow: Worchflow, seven: list[str]
) -> None:
    first = worchflow.find(limit=3)
    worchflow.send("echo", "newer")

    second = worchflow.find(limit=3, cursor=first.cursor)

    assert [one.id for one in second] == seven[3:6]


@pytest.mark.parametrize(
    ("after", "before", "expected"),
    [
        (2, None, slice(0, 3)),
        (None, 2, slice(3, 7)),
        (4, 1, slice(2, 5)),
        (3, 3, slice(0, 0)),
    ],
)
def test_after_includes_its_moment_and_before_does_not(
    worchflow: Worchflow,
    seven: list[str],
    after: int | None,
    before: int | None,
    expected: slice,
) -> None:
    moments = [None if age is None else START - timedelta(minutes=age) for age in (after, before)]

    assert found(worchflow, after=moments[0], before=moments[1]) == seven[expected]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("failed", ["fails"]),
        (ExecutionStatus.QUEUED, ["pay"]),
        (["failed", ExecutionStatus.COMPLETED], ["echo", "fails"]),
        ({"queued", "processing"}, ["pay"]),
        (("cancelled",), []),
        ([], []),
    ],
)
def test_executions_are_found_by_one_status_or_several(
    worchflow: Worchflow, celery_app: Celery, status: Any, expected: list[str]
) -> None:
    worchflow.send("fails")
    worchflow.send("echo")
    deliver(celery_app)
    worchflow.send("pay", {"customerId": "c"})

    assert sorted(one.flow for one in worchflow.find(status=status)) == expected


def test_executions_are_found_by_their_flow(worchflow: Worchflow) -> None:
    ids = [worchflow.send("echo", number).id for number in range(2)]
    worchflow.send("fails")

    assert sorted(found(worchflow, flow="echo")) == sorted(ids)
    assert found(worchflow, flow="ech") == []


SEARCHES: list[tuple[dict[str, Any], bool]] = [
    ({"customer_id": "cust_7"}, True),
    ({"customer_id": "cust_7", "amount": Decimal("1.50")}, True),
    ({"number": UUID(int=5)}, True),
    ({"number": str(UUID(int=5))}, True),
    ({"customer_id": "cust_8"}, False),
    ({"customer_id": "cust_7", "amount": Decimal("2")}, False),
    ({"customerId": "cust_7"}, False),
    ({"unknown": 1}, False),
]


@pytest.mark.parametrize(("search", "matches"), SEARCHES)
def test_executions_are_found_by_the_fields_that_their_flow_declared(
    worchflow: Worchflow, search: dict[str, Any], matches: bool
) -> None:
    given = {"customerId": "cust_7", "amount": "1.50", "number": UUID(int=5)}
    handle = worchflow.send("pay", given)
    worchflow.send("pay", {"customerId": "cust_9"})

    assert found(worchflow, search=search) == ([handle.id] if matches else [])


@pytest.mark.parametrize(
    "value", ["text", 7, True, 1.5, 2**80, datetime(2030, 1, 1, tzinfo=UTC), Decimal("1.0")]
)
def test_any_scalar_can_be_searched_for(worchflow: Worchflow, value: object) -> None:
    handle = worchflow.send("dicts", {"key": value})
    worchflow.send("dicts", {"key": "another"})
    worchflow.send("dicts", {})

    assert found(worchflow, search={"key": value}) == [handle.id]


def test_filters_and_pages_work_together(worchflow: Worchflow, celery_app: Celery) -> None:
    ids = {worchflow.send("dicts", {"key": "k"}, id=f"d-{n}").id for n in range(5)}
    deliver(celery_app)
    worchflow.send("dicts", {"key": "k"})
    worchflow.send("dicts", {"key": "other"})

    filters: dict[str, Any] = {"flow": "dicts", "status": "completed", "search": {"key": "k"}}
    first = worchflow.find(**filters, limit=3)
    second = worchflow.find(**filters, limit=3, cursor=first.cursor)

    assert (len(first), len(second), second.cursor) == (3, 2, None)
    assert {one.id for one in [*first, *second]} == ids
