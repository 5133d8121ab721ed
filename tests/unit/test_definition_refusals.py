"""Data that cannot be stored as what it is, is refused by its sender."""

import math
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import (
    BaseModel,
    Field,
    PlainSerializer,
    SecretStr,
    field_validator,
    model_serializer,
)

from worchflow_celery import Event
from worchflow_celery.definition import Definition, encode_plain
from worchflow_celery.errors import InvalidEventData, PayloadTooLarge, WorchflowError
from worchflow_celery.options import FlowOptions

LIMIT = 100_000


class Login(BaseModel):
    password: SecretStr


class Grows(BaseModel):
    """Its validator makes something else of its own output."""

    price: int

    @field_validator("price")
    @classmethod
    def _in_cents(cls, price: int) -> int:
        return price * 100


class Lossy(BaseModel):
    when: Annotated[datetime, PlainSerializer(lambda when: f"{when:%d.%m.%Y}")]


class Hidden(BaseModel):
    token: str = Field(exclude=True)


class Stubborn(BaseModel):
    @model_serializer
    def _dumped(self) -> dict[str, Any]:
        raise KeyError("sesame" * 1000)


def flow(data_type: Any) -> Definition:
    def handler(event: Any) -> None: ...

    handler.__annotations__["event"] = Event[data_type]
    return Definition("pay", handler, FlowOptions())


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append({"again": value})
    return value


def counting() -> Iterator[int]:
    yield from range(3)


TYPED: dict[str, tuple[Any, Any, str]] = {
    "secret": (Login, {"password": "sesame"}, r"\.password: .*SecretStr cannot be stored"),
    "grows": (Grows, {"price": 5}, "Grows is dumped to does not validate to the same again"),
    "lossy": (Lossy, {"when": datetime(2030, 1, 1, 5)}, "does not validate to the same again"),
    "hidden": (Hidden, {"token": "sesame"}, "does not validate to the same again"),
    "stubborn": (Stubborn, {}, "KeyError"),
    "function": (Callable, print, "cannot be stored"),
    "iterator": (Iterable[int], counting(), "collect it in a list"),
    "not a number": (float, math.nan, "nan is no finite number"),
    "infinite": (float, "1e400", "inf is no finite number"),
    "surrogate": (str, "a\ud800", r"surrogate U\+D800 at character 1"),
    "surrogate in a key": (dict[str, int], {"\ud800": 1}, r"surrogate U\+D800"),
    "too deep": (list[Any], nested(200), "nesting > 100"),
    "far too deep": (list[Any], nested(100_000), "(depth|nesting)"),
    "endless": (list[Any], endless(), "nesting > 100"),
}


@pytest.mark.parametrize(("data_type", "data", "why"), TYPED.values(), ids=TYPED)
def test_what_is_not_kept_as_its_type_is_refused(data_type: Any, data: Any, why: str) -> None:
    with pytest.raises(InvalidEventData, match=f"^data for flow 'pay'.*{why}") as refused:
        flow(data_type).encode(data, LIMIT)

    assert len(str(refused.value)) < 600


PLAIN: dict[str, tuple[Any, str]] = {
    "object": ({"a": [object()]}, r"\$\.a\[0\]: object cannot be stored"),
    "function": (print, "cannot be stored"),
    "iterator": (counting(), "collect it in a list"),
    "not a number": ([math.nan], r"\$\[0\]: nan is no finite number"),
    "no decimal": (Decimal("NaN"), "no finite number"),
    "surrogate": ("\ud800", r"surrogate U\+D800"),
    "too deep": (nested(250), "nesting > 100"),
    "far too deep": (nested(100_000), "nesting > 100"),
    "endless": (endless(), "nesting > 100"),
    "a key that is an object": ({object(): 1}, "in a key: object cannot be stored"),
    "secret": (Login(password=SecretStr("sesame")), "SecretStr cannot be stored"),
    "stubborn": (Stubborn(), "KeyError"),
}


@pytest.mark.parametrize(("data", "why"), PLAIN.values(), ids=PLAIN)
def test_what_is_sent_by_name_is_refused_as_well(data: Any, why: str) -> None:
    with pytest.raises(InvalidEventData, match=f"^data for flow 'pay'.*{why}"):
        encode_plain("pay", data, LIMIT)


def test_no_secret_is_shown_in_a_refusal() -> None:
    with pytest.raises(InvalidEventData) as refused:
        flow(Login).encode({"password": "sesame"}, LIMIT)

    assert "sesame" not in f"{refused.value!r} {refused.value.__cause__!r}"


@pytest.mark.parametrize(
    "encode",
    [
        lambda data: flow(Any).encode(data, LIMIT),
        lambda data: flow(str).encode(data, LIMIT),
        lambda data: encode_plain("pay", data, LIMIT),
    ],
    ids=["any", "typed", "by name"],
)
def test_what_is_too_large_is_refused_with_size_limit_and_way_out(
    encode: Callable[[object], object],
) -> None:
    with pytest.raises(
        PayloadTooLarge, match=r"'pay' has at least \d{6} bytes; the limit is 100000 .*reference"
    ):
        encode("€" * 333_333 + "e")


@pytest.mark.parametrize("size", [LIMIT - 2, LIMIT - 1])
def test_the_limit_is_exact(size: int) -> None:
    fits = size + len('""') <= LIMIT
    try:
        text = encode_plain("pay", "x" * size, LIMIT).text
    except PayloadTooLarge:
        text = None

    assert (text is not None) == fits


def test_every_refusal_is_an_error_of_this_library_and_a_value_error() -> None:
    for kind in (InvalidEventData, PayloadTooLarge):
        assert issubclass(kind, WorchflowError)
        assert issubclass(kind, ValueError)
