"""What commands ask the store: bounded, and by indexes alone."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.support import Bench, deliver
from worchflow_celery import Event, Step, Worchflow
from worchflow_celery.clock import utcnow
from worchflow_celery.store.inspection import Inspection
from worchflow_celery.store.lookups import Lookups


@pytest.fixture
def ids(worchflow: Worchflow) -> list[str]:
    """Three executions that fail in their second step, and one that nobody has taken."""

    @worchflow.flow("failing")
    def failing(event: Event[int], step: Step) -> None:
        step.run("first", abs, event.data)
        step.run("second", _fail, event.data)

    sent = [worchflow.send("failing", number, id=f"failing-{number}").id for number in range(3)]
    deliver(worchflow.app)
    return [*sent, worchflow.send("elsewhere", 0, id="elsewhere-0").id]


def _fail(number: int) -> None:
    raise ValueError(f"number {number // 2} is not liked" + " at all" * 100)


@pytest.fixture
def plans(bench: Bench) -> Iterator[Callable[[], list[str]]]:
    """How MongoDB has answered the queries of a test."""
    database = bench.database
    database.command("profile", 2)

    def summaries() -> list[str]:
        database.command("profile", 0)
        mine = {"ns": {"$regex": f"^{database.name}.{bench.prefix}_(executions|steps)$"}}
        return [one["planSummary"] for one in database["system.profile"].find(mine)
                if "planSummary" in one]  # fmt: skip

    yield summaries
    database.command("profile", 0)
    database["system.profile"].drop()


def test_ids_are_found_by_their_beginning(worchflow: Worchflow, ids: list[str]) -> None:
    lookups = worchflow.runtime.store.lookups

    assert lookups.ids("failing-", 10) == ids[:3]
    assert lookups.ids("failing-1", 10) == [ids[1]]
    assert lookups.ids("fail.*", 10) == []
    assert lookups.ids("failing-", 2) == ids[:2]


def test_the_last_step_of_each_execution_is_named(worchflow: Worchflow, ids: list[str]) -> None:
    lookups = worchflow.runtime.store.lookups

    assert lookups.last_steps(ids) == dict.fromkeys(ids[:3], "second")
    assert lookups.last_steps([]) == {}


def test_failures_are_grouped_by_the_beginning_of_their_message(
    worchflow: Worchflow, ids: list[str]
) -> None:
    found = worchflow.runtime.store.lookups.failures(utcnow() - timedelta(hours=1), None, 10)

    assert [(one["flow"], one["type"], one["count"], one["id"]) for one in found] == [
        ("failing", "ValueError", 2, ids[1]),
        ("failing", "ValueError", 1, ids[2]),
    ]
    assert {len(one["message"]) for one in found} == {120}


@pytest.mark.usefixtures("ids")
def test_a_failure_that_somebody_else_has_written_is_counted(
    worchflow: Worchflow, bench: Bench
) -> None:
    change = {"$set": {"error": {"type": {"$gt": ""}, "message": ["a"]}}}
    bench.collection("executions").update_one({"_id": "failing-0"}, change)

    found = worchflow.runtime.store.lookups.failures(utcnow() - timedelta(hours=1), "failing", 10)

    assert sum(one["count"] for one in found) == 3


@pytest.mark.parametrize(
    "ask",
    [
        lambda lookups: lookups.ids("fail", 10),
        lambda lookups: lookups.last_steps(["failing-0", "failing-1"]),
        lambda lookups: lookups.failures(utcnow() - timedelta(hours=1), None, 10),
        lambda lookups: lookups.failures(utcnow() - timedelta(hours=1), "failing", 10),
    ],
    ids=["ids", "last steps", "failures", "failures of a flow"],
)
@pytest.mark.usefixtures("ids")
def test_commands_scan_no_collection(
    worchflow: Worchflow, plans: Callable[[], list[str]], ask: Callable[[Lookups], Any]
) -> None:
    ask(worchflow.runtime.store.lookups)

    found = plans()
    assert found
    assert [plan for plan in found if "COLLSCAN" in plan] == []


@pytest.mark.usefixtures("ids")
def test_the_doctor_scans_no_collection(
    worchflow: Worchflow, plans: Callable[[], list[str]]
) -> None:
    with Inspection(worchflow.settings) as inspection:
        stranded = inspection.stranded(["failing"])
        inspection.overdue()
        inspection.corrupt()

    found = plans()
    assert stranded == {"elsewhere": 1}
    assert len(found) >= 4
    assert [plan for plan in found if "COLLSCAN" in plan] == []
