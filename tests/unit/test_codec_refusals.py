"""What the codec refuses to store or to read, with a path and a reason."""

import pickle
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime, time, tzinfo
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, SecretStr, field_validator

from worchflow_celery import codec
from worchflow_celery.codec import OversizedValue, UndecodableValue, UnencodableValue


class Kind(Enum):
    CARD = "card"


class Pair(NamedTuple):
    left: int
    right: object


@dataclass
class Cart:
    prices: list[float] = field(default_factory=list)


class Login(BaseModel):
    user: str = ""
    password: SecretStr


class Even(BaseModel):
    number: int
    note: str = ""

    @field_validator("number")
    @classmethod
    def _even(cls, number: int) -> int:
        if number % 2:
            raise ValueError("odd \x1b[31m" + "x" * 10_000)
        return number


class Nanoseconds(datetime):
    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        return super().isoformat(sep, timespec) + "x"


class Unhelpful(tzinfo):
    def utcoffset(self, when: datetime | None) -> None:
        return None

    dst = tzname = utcoffset


async def agenerator() -> AsyncIterator[int]:
    yield 1


def nested(levels: int, wrap: Any) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = wrap(value)
    return value


def generator() -> Iterator[int]:
    yield 1


NAN, INFINITY = float("nan"), float("inf")
REFUSED = [
    (NAN, "$", "nan is no finite number"),
    ({"items": [1, 2, 3, {"price": INFINITY}]}, "$.items[3].price", "inf is no finite number"),
    ([Decimal("sNaN")], "$[0]", "Decimal sNaN is no finite number"),
    ((1, {-INFINITY}), "$[1][0]", "-inf is no finite number"),
    ({"a": 1, 2: NAN}, "$[2]", "nan"),
    ({(1, NAN): 1}, "$", "in a key: nan"),
    (Cart([1.0, NAN]), "$.prices[1]", "nan"),
    (Pair(1, NAN), "$[1]", "nan"),
    ({"a.b": {"": {"c d": NAN}}}, "$['a.b']['']['c d']", "nan"),
    ("ab\ud83d", "$", "lone surrogate U+D83D at character 2"),
    ({"a": ["\udfff"]}, "$.a[0]", "lone surrogate U+DFFF"),
    ({"k\ud800": 1}, r"$['k\ud800']", "lone surrogate U+D800"),
    ({1: {"k\ud800": 1}}, r"$[1]['k\ud800']", "lone surrogate U+D800"),
    ({"\x1b[31m": NAN}, r"$['\x1b[31m']", "nan"),
    ({"a": object()}, "$.a", "object cannot be stored: return plain data, a dataclass or a pyd"),
    ([generator()], "$[0]", "generator cannot be stored: collect it in a list"),
    ([agenerator()], "$[0]", "async_generator cannot be stored: collect it in a list"),
    ([generator], "$[0]", "function cannot be stored: keep its name"),
    ([Cart], "$[0]", "type cannot be stored: keep its name"),
    (ValueError("x"), "$", "ValueError cannot be stored"),
    (bytearray(b"x"), "$", "bytearray cannot be stored"),
    (1j, "$", "complex cannot be stored"),
    (Login(password="s3cret"), "$.password", "SecretStr cannot"),  # type: ignore[arg-type]
    (Nanoseconds(2024, 1, 1), "$", "Nanoseconds holds more than a datetime can keep"),
    (time(1, tzinfo=Unhelpful()), "$", "time zone names no offset"),
]


@pytest.mark.parametrize(("value", "path", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_stored_is_refused_by_path_and_reason(
    value: object, path: str, reason: str
) -> None:
    with pytest.raises(UnencodableValue) as refusal:
        codec.encode(value)

    assert refusal.value.path == path
    assert reason in refusal.value.reason
    assert str(refusal.value) == f"{refusal.value.path}: {refusal.value.reason}"
    assert len(str(refusal.value)) < 400
    assert str(refusal.value).isprintable()


def test_a_coroutine_is_to_be_awaited() -> None:
    async def charge() -> None: ...

    coroutine = charge()
    with pytest.raises(UnencodableValue, match="coroutine cannot be stored: await it"):
        codec.encode({"charge": coroutine})
    coroutine.close()


RECURSIVE: dict[str, object] = {}
RECURSIVE["a"] = [RECURSIVE]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (RECURSIVE, "$.a[0].a[0]"),
        (nested(101, lambda inner: [inner]), "$[0][0]"),
        (nested(250, lambda inner: {"a": inner}), "$.a.a"),
        (nested(100_000, lambda inner: (inner,)), "$[0][0]"),
        (nested(101, Cart), "$.prices.prices"),
    ],
    ids=range(5),
)
def test_what_is_nested_too_deeply_or_endlessly_is_refused(value: object, path: str) -> None:
    with pytest.raises(UnencodableValue, match="nesting > 100: flatten it") as refusal:
        codec.encode(value)

    assert refusal.value.path.startswith(path)
    assert len(refusal.value.path) <= 200


@pytest.mark.parametrize(
    "wrap", [lambda x: [x], lambda x: {"a": x}, lambda x: {1: x}, lambda x: (x,), lambda x: Cart(x)]
)
def test_a_hundred_levels_come_back(wrap: Any) -> None:
    value = nested(100, wrap)

    assert codec.decode(codec.encode(value)) == value


def test_a_nearly_full_stack_is_no_recursion_error() -> None:
    value = nested(90, lambda inner: {1: inner})
    text = codec.encode(value)

    def down(levels: int) -> None:
        try:
            down(levels + 1)
        except RecursionError:
            with pytest.raises(UnencodableValue):
                codec.encode(value)
            with pytest.raises(UndecodableValue):
                codec.decode(text)

    down(0)


@pytest.mark.parametrize("value", ["x" * 98, "é" * 49, [0] * 50, {"a" * 94: 0}, b"x" * 66])
def test_the_limit_counts_bytes_of_the_text(value: object) -> None:
    size = len(codec.encode(value).encode())

    assert codec.encode(value, limit=size)
    with pytest.raises(OversizedValue, match="store it elsewhere and keep a reference") as refusal:
        codec.encode(value, limit=size - 1)
    assert refusal.value.limit == size - 1 < refusal.value.size <= size


def test_what_shares_its_parts_a_million_times_is_cut_early() -> None:
    for value in (nested(60, lambda inner: [inner, inner]), ["x" * 10**6] * 10**6):
        with pytest.raises(OversizedValue) as refusal:
            codec.encode(value, limit=4 << 20)
        assert refusal.value.size > 4 << 20


@pytest.mark.parametrize("error", [UnencodableValue("$.a", "no"), OversizedValue(5, 4)])
def test_a_refusal_survives_pickling(error: UnencodableValue) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert (str(copy), vars(copy)) == (str(error), vars(error))


HOSTILE = [
    "", " ", "{", "[1,]", "nul", "'a'", "\ufeff1", '{"a":1}x', "[" * 10**6, '{"a":' * 10**6,
    "NaN", "[Infinity]", "-Infinity", "1e400", "[-1e999]", "9" * 5000, "1" * 10**6 + ".0",
    '{"$set":1}', '{"$nope":1}', '{"$":1}', '{"$set":[1],"a":2}', '{"a":2,"$set":[1]}',
    '{"\\u0024set":5}', '{"$set":[[]]}', '{"$tuple":{}}', '{"$frozenset":"ab"}',
    '{"$dict":[1]}', '{"$dict":[[1,2,3]]}', '{"$dict":[[1,2],[1,3]]}', '{"$dict":[[[],1]]}',
    '{"$decimal":"NaN"}', '{"$decimal":"Infinity"}', '{"$decimal":1}',
    '{"$decimal":"1e99999999999999999999"}', '{"$int":"xyz"}', '{"$int":5}', '{"$uuid":5}',
    '{"$uuid":"5"}', '{"$bytes":"*"}', '{"$bytes":"é"}', '{"$bytes":[1]}', '{"$date":"2024-13-01"}',
    '{"$date":5}', '{"$datetime":""}', '{"$datetime":[]}', '{"$datetime":["2024-01-01",2,null]}',
    '{"$datetime":["2024-01-01",0,5]}', '{"$time":["00:00",0,"Mars/Base"]}', '{"$time":"25:00"}',
    '{"$timedelta":[1]}', '{"$timedelta":[1e3,0,0]}', '{"$timedelta":[99999999999,0,0]}',
    '{"$class":5}', '{"$class":[]}', '{"$class":[1,2]}', '{"$class":["a","b","c","d"]}',
    '{"$class":["enum:Enum",1]}', '{"$class":["pydantic.main:BaseModel",5]}',
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_corrupt_text_is_refused_in_short(text: str) -> None:
    with pytest.raises(UndecodableValue) as refusal:
        codec.decode(text)

    assert 0 < len(str(refusal.value)) < 250


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("Kind", '"bike"', "'bike' is not a valid Kind"),
        ("Pair", "[1]", ".*right"),
        ("Cart", "5", ".*int"),
        ("Even", '{"number":3}', r"number Value error, odd \\x1b\[31mx*"),
        ("Even", "{}", "number Field required"),
    ],
)
def test_a_class_that_has_changed_says_what_it_does_not_take(
    name: str, body: str, reason: str
) -> None:
    with pytest.raises(
        UndecodableValue, match=f"{name} does not take what was stored: {reason}"
    ) as refusal:
        codec.decode(f'{{"$class":["{__name__}:{name}",{body}]}}')

    assert len(str(refusal.value)) < 250
