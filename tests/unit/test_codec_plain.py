"""The plain form of a value, for those who know nothing of tags, and the fingerprint of a text."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel

from worchflow_celery import codec


class Kind(Enum):
    CARD = "card"


class Pair(NamedTuple):
    left: int
    right: object


@dataclass
class Cart:
    prices: list[float]


class Even(BaseModel):
    number: int
    note: str = ""


PLAIN = [
    ({"a": [1, "x", None]}, {"a": [1, "x", None]}),
    ({"$set": (1, 2), "b": {3}}, {"$set": [1, 2], "b": [3]}),
    (datetime(2024, 5, 1, tzinfo=UTC), "2024-05-01T00:00:00+00:00"),
    (datetime(2024, 5, 1, tzinfo=ZoneInfo("Europe/Berlin")), "2024-05-01T00:00:00+02:00"),
    (timedelta(seconds=1, milliseconds=500), 1.5),
    (Decimal("1.50"), "1.50"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (b"abc", "YWJj"),
    ([Kind.CARD, Cart([1.5]), Pair(1, (2,))], ["card", {"prices": [1.5]}, [1, [2]]]),
    (Even(number=2), {"number": 2, "note": ""}),
    (
        {1: "a", None: "b", False: "c", Kind.CARD: "d"},
        {"1": "a", "null": "b", "false": "c", "card": "d"},
    ),
    ({1: "a", "1": "b"}, [[1, "a"], ["1", "b"]]),
]


@pytest.mark.parametrize(("value", "expected"), PLAIN, ids=range(len(PLAIN)))
def test_what_travels_on_is_plain_json(value: object, expected: object) -> None:
    assert codec.plain(value) == expected
    assert codec.plain_of(codec.encode(value)) == expected
    assert json.loads(json.dumps(codec.plain(value))) == expected


def test_a_local_class_is_plain_without_any_annotation() -> None:
    @dataclass
    class Local:
        kind: Kind

    assert codec.plain({"it": Local(Kind.CARD)}) == {"it": {"kind": "card"}}


def test_a_stored_text_is_plain_without_its_classes() -> None:
    assert codec.plain_of('{"a":{"$class":["gone:Gone",{"b":{"$tuple":[1]}}]}}') == {
        "a": {"b": [1]}
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": [{"c": 1, "d": ()}]}, {"b": [{"d": (), "c": 1}], "a": 1}),
        ({2: 1, 1: {"x", "y"}}, {1: {"y", "x"}, 2: 1}),
        (Even(number=2), Even(number=2, note="")),
    ],
)
def test_equal_values_have_one_fingerprint(one: object, other: object) -> None:
    assert codec.fingerprint(codec.encode(one)) == codec.fingerprint(codec.encode(other))


def test_a_set_has_one_fingerprint_in_whatever_order_it_was_written() -> None:
    one = codec.fingerprint('[{"$set":[{"$frozenset":[1,"a"]},{"$tuple":[2]}]}]')

    assert one == codec.fingerprint('[{"$set":[{"$tuple":[2]},{"$frozenset":["a",1]}]}]')


@pytest.mark.parametrize("other", [[2, 1], (1, 2), ["1", 2], [1, 2.0], {1, 2}, [True, 2], "[1,2]"])
def test_other_values_have_other_fingerprints(other: object) -> None:
    assert codec.fingerprint(codec.encode([1, 2])) != codec.fingerprint(codec.encode(other))
