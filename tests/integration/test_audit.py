"""Who did what, kept for those who ask later."""

from typing import Any

import pytest

from tests.support import Bench
from worchflow_celery import Worchflow, errors


def test_a_record_tells_who_did_what_to_what_and_when(worchflow: Worchflow) -> None:
    made = worchflow.audit.record("retry", "order-1", who="ann", n=1, note="asked by phone")

    (found,) = worchflow.audit.list()
    assert found == made
    assert (found.who, found.action, found.target, found.n) == ("ann", "retry", "order-1", 1)
    assert found.note == "asked by phone"
    assert found.at.utcoffset() is not None


def test_records_come_newest_first_and_in_pages(worchflow: Worchflow) -> None:
    made = [worchflow.audit.record("retry", f"order-{n}", who="ann") for n in range(5)]

    first = worchflow.audit.list(limit=2)
    second = worchflow.audit.list(limit=2, before=first[-1].id)

    assert [*first, *second] == made[:0:-1]


def test_records_of_one_target_are_found(worchflow: Worchflow) -> None:
    worchflow.audit.record("retry", "order-1", who="ann")
    worchflow.audit.record("cancel", "order-2", who="bob")

    assert [one.who for one in worchflow.audit.list(target="order-2")] == ["bob"]


def test_long_texts_are_cut(worchflow: Worchflow) -> None:
    found = worchflow.audit.record("retry", "x" * 10_000, who="\ud800" * 10_000)

    assert len(found.target) == 500
    assert worchflow.audit.list() == [found]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"action": ""}, "action"),
        ({"target": None}, "target"),
        ({"who": {"$ne": 1}}, "who"),
        ({"n": -1}, "n is"),
        ({"n": True}, "n is"),
        ({"note": 5}, "note"),
    ],
)
def test_what_is_no_record_is_refused(
    worchflow: Worchflow, given: dict[str, Any], named: str
) -> None:
    fields = {"action": "retry", "target": "order-1", "who": "ann", **given}

    with pytest.raises(errors.InvalidOption, match=named):
        worchflow.audit.record(**fields)

    assert worchflow.audit.list() == []


@pytest.mark.parametrize("limit", [0, 1001, "1", True])
def test_a_page_is_1_to_1000_records(worchflow: Worchflow, limit: Any) -> None:
    with pytest.raises(errors.InvalidOption, match="limit"):
        worchflow.audit.list(limit=limit)


def test_what_is_none_of_ours_in_the_trail_is_passed_over(
    bench: Bench, worchflow: Worchflow
) -> None:
    bench.collection("audit").insert_one({"_id": "x", "who": "nobody"})

    assert worchflow.audit.list() == []
