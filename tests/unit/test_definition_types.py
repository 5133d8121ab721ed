"""Data of every kind that pydantic can validate reaches the handler as what it was."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    PrivateAttr,
    RootModel,
    computed_field,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass

from worchflow_celery import Event
from worchflow_celery.definition import Definition
from worchflow_celery.options import FlowOptions

T = TypeVar("T")
LIMIT = 100_000
NOW = datetime(2030, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Rights(Flag):
    READ = 1
    WRITE = 2


class Item(BaseModel):
    price: Decimal


class Cart(BaseModel, Generic[T]):
    items: list[T]


class Names(RootModel[list[str]]): ...


class Tree(BaseModel):
    leaves: "list[Tree]" = []


class Site(BaseModel):
    url: HttpUrl
    path: Path
    address: IPv4Address


class Aliased(BaseModel):
    amount: int = Field(alias="theAmount")


class ByEither(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    amount: int = Field(alias="theAmount")


class InAndOut(BaseModel):
    amount: int = Field(validation_alias="in", serialization_alias="out")


class Choices(BaseModel):
    amount: int = Field(validation_alias=AliasChoices("sum", "total"))


class Within(BaseModel):
    amount: int = Field(validation_alias=AliasPath("order", "amount"))


class Crossed(BaseModel):
    """Each field's alias is the other field's name."""

    first: int = Field(alias="second")
    second: int = Field(alias="first")


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    amount: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def doubled(self) -> int:
        return 2 * self.amount


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    when: datetime
    tags: set[str]
    pair: tuple[int, int]
    id: UUID


class Private(BaseModel):
    amount: int
    _cache: list[int] = PrivateAttr(default_factory=list)


@dataclass
class Order:
    amount: int
    at: datetime | None = None


@pydantic_dataclass
class Booking:
    amount: int
    tags: list[str] = field(default_factory=list)


class Place(NamedTuple):
    x: int
    y: int


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


KEPT: list[tuple[Any, Any, Any]] = [
    (int, "5", 5),
    (int, 10**5000, 10**5000),
    (str, "größer € 🎉 \x00", "größer € 🎉 \x00"),
    (Decimal, "1.50", Decimal("1.50")),
    (datetime, NOW, NOW),
    (date, "2030-01-01", date(2030, 1, 1)),
    (time, "10:00", time(10)),
    (timedelta, timedelta(microseconds=1), timedelta(microseconds=1)),
    (UUID, str(UUID(int=5)), UUID(int=5)),
    (bytes, b"\xff\x00", b"\xff\x00"),
    (Color, "red", Color.RED),
    (Level, 3, Level.HIGH),
    (Rights, 3, Rights.READ | Rights.WRITE),
    (Literal["a", "b"], "a", "a"),
    (Item | None, None, None),
    (list[Item], [{"price": "1.5"}], [Item(price=Decimal("1.5"))]),
    (dict[int, Item], {7: {"price": 1}}, {7: Item(price=Decimal(1))}),
    (Sequence[int], (1, 2), (1, 2)),
    (Mapping[str, int], {"$set": 1, "a.b": 2, "": 3}, {"$set": 1, "a.b": 2, "": 3}),
    (tuple[int, str], (1, "a"), (1, "a")),
    (set[int], [1, 2], {1, 2}),
    (Path, "/tmp/x", Path("/tmp/x")),
    (AnyUrl, "https://shop.example/", AnyUrl("https://shop.example/")),
    (re.Pattern[str], "a+", re.compile("a+")),
    (Cart[Item], {"items": [{"price": 1}]}, Cart[Item](items=[Item(price=Decimal(1))])),
    (Cart[int], {"items": ["1"]}, Cart[int](items=[1])),
    (Names, ["a"], Names(["a"])),
    (Tree, {"leaves": [{}]}, Tree(leaves=[Tree()])),
    (Aliased, {"theAmount": 1}, Aliased(theAmount=1)),
    (Aliased, Aliased(theAmount=1), Aliased(theAmount=1)),
    (ByEither, {"amount": 1}, ByEither(amount=1)),
    (InAndOut, {"in": 1}, InAndOut.model_validate({"in": 1})),
    (Choices, {"total": 1}, Choices(sum=1)),  # type: ignore[call-arg]
    (Within, {"order": {"amount": 1}}, Within.model_validate({"order": {"amount": 1}})),
    (Crossed, {"first": 1, "second": 2}, Crossed(first=1, second=2)),
    (Computed, {"amount": 1}, Computed(amount=1)),
    (Open, {"$set": 1, "a.b": 2}, Open.model_validate({"$set": 1, "a.b": 2})),
    (Private, {"amount": 1}, Private(amount=1)),
    (Order, {"amount": 1, "at": NOW}, Order(1, NOW)),
    (Order, Order(1), Order(1)),
    (Booking, {"amount": "1"}, Booking(1)),
    (Place, (1, 2), Place(1, 2)),
    (Annotated[Cat | Dog, Field(discriminator="kind")], {"kind": "cat"}, Cat(kind="cat")),
    (Annotated[int, Field(gt=3)], 4, 4),
]


def flow(data_type: Any) -> Definition:
    def handler(event: Any) -> None: ...

    handler.__annotations__["event"] = Event[data_type]
    return Definition("pay", handler, FlowOptions())


def received(data_type: Any, data: object) -> Any:
    """What a worker, which makes its own of the flow, hands to the handler."""
    return flow(data_type).data(flow(data_type).encode(data, LIMIT).text)


def label(value: object) -> str:
    return value.__name__ if isinstance(value, type) else type(value).__name__


@pytest.mark.parametrize(("data_type", "sent", "expected"), KEPT, ids=label)
def test_data_comes_back_as_its_type(data_type: Any, sent: object, expected: object) -> None:
    value = received(data_type, sent)

    assert value == expected
    assert type(value) is type(expected)


def test_a_strict_model_comes_back() -> None:
    sent = Strict(when=NOW, tags={"x"}, pair=(1, 2), id=UUID(int=1))

    assert received(Strict, sent) == sent


def test_types_that_json_has_no_form_for_come_back_inside_a_model() -> None:
    site = Site(url=HttpUrl("https://a.example/"), path=Path("/a"), address=IPv4Address(1))

    assert received(Site, site) == site


def test_classes_of_a_function_come_back_too() -> None:
    class Mood(Enum):
        GOOD = "good"

    class Diary(BaseModel):
        mood: Mood
        days: dict[Mood, int]

    sent = Diary(mood=Mood.GOOD, days={Mood.GOOD: 3})

    assert received(Diary, sent) == sent


@pytest.mark.parametrize("data_type", [Aliased, InAndOut, Choices, Item, Order, Path])
def test_equal_data_has_equal_fingerprints(data_type: Any) -> None:
    examples = {
        Aliased: {"theAmount": 1},
        InAndOut: {"in": 1},
        Choices: {"sum": 1},
        Item: {"price": "1.5"},
        Order: {"amount": 1},
        Path: "/tmp",
    }
    definition = flow(data_type)
    first = definition.encode(examples[data_type], LIMIT)

    again = definition.encode(definition.data(first.text), LIMIT)

    assert again == first
