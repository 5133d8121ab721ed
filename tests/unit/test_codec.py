"""Values come back as what they were: by their tags, their classes' names, or the annotation."""

import sys
import uuid
from collections import OrderedDict, defaultdict
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, Literal, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, RootModel

from worchflow_celery import codec
from worchflow_celery.codec import UndecodableValue, UnencodableValue

BERLIN = ZoneInfo("Europe/Berlin")
T = TypeVar("T")


class Color(Enum):
    RED = "red"
    MIXED = (1, Decimal("0.5"))


class State(StrEnum):
    OPEN = "open"


class Level(IntEnum):
    HIGH = 3


class Permission(Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Item:
    name: str
    prices: tuple[Decimal, ...] = ()


@dataclass
class Order:
    items: list[Item]
    scale: InitVar[int]
    total: Decimal = field(init=False, default=Decimal(0))
    tags: list[str] | str = "a,b"

    def __post_init__(self, scale: int) -> None:
        self.total = Decimal(scale)
        self.tags = self.tags.split(",")  # type: ignore[union-attr]


class Address(BaseModel):
    street: str
    since: date = date(2020, 2, 29)


class Payment(BaseModel):
    model_config = ConfigDict(extra="allow")

    amount: Decimal = Field(alias="Amount")
    state: State = State.OPEN
    address: Address | None = Field(default=None, validation_alias="addr", exclude=True)
    raw: Any = None


class Links(BaseModel):
    home: HttpUrl
    files: list[Path]


class Box(BaseModel, Generic[T]):
    content: T


class Codes(RootModel[tuple[int, ...]]):
    pass


class Text(str):
    __slots__ = ()


class Real(float):
    pass


def there_and_back(value: object, annotation: object = None) -> Any:
    return codec.decode(codec.encode(value, annotation=annotation), annotation=annotation)


VALUES: list[object] = [
    None, True, 0, -1, 2**63, -(2**2048), 10**5000, 0.1, 1e308, 5e-324, "", "é\u2028\x00\"\\",
    [], {}, [[]], {"": 1, "a.b": {"c.": 2}, "\x00": 3},
    {"a": "$status"}, {"$set": 1}, {"$set": [1], "b": 2}, {"$dict": [[1, 2]]}, ["$set", {"$": {}}],
    {1: "a", "1": "b", None: "c", (1, "x"): "d", 2.5: "e", False: "f"},
    datetime(2024, 5, 1, 12, 30, 15, 123456), datetime(1, 1, 1), datetime.max,
    datetime(2024, 5, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    datetime(2024, 5, 1, tzinfo=timezone(-timedelta(hours=3, seconds=1, microseconds=7))),
    date(2024, 2, 29), time(23, 59, 59, 999999), time(1, tzinfo=UTC), time(1, fold=1),
    timedelta(days=-1, microseconds=1), timedelta.max, timedelta.min,
    Decimal("1E+5"), Decimal("-0.00"), Decimal("1." + "0" * 60), Decimal("1E-400"),
    uuid.UUID(int=7), b"", b"\x00\xff", (), (1,), ((1, [2]), {"k": (3,)}), set(), {1, "a", (2,)},
    frozenset({frozenset(), b"x"}),
    Color.RED, Color.MIXED, State.OPEN, Level.HIGH, Permission.READ | Permission.WRITE,
    {State.OPEN: Level.HIGH, Color.RED: {Color.MIXED}},
    Point(1, Decimal("2.50")), Item("a", (Decimal("0.10"),)), {Item("in a set")},
    Address(street="x"), Codes((1, 2)),
    Links.model_validate({"home": "https://example.org/a?b=c", "files": ["/tmp/x"]}),
    Payment.model_validate(
        {"Amount": "1.50", "addr": {"street": "s"}, "raw": (1, {2}), "$in": 1, "b c": b"2"}
    ),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=[type(value).__name__ for value in VALUES])
def test_a_value_comes_back_as_what_it_was(value: object) -> None:
    back = there_and_back(value)

    assert back == value
    assert type(back) is type(value)
    assert codec.encode(back) == codec.encode(value)


def test_minus_zero_keeps_its_sign() -> None:
    assert str(there_and_back(-0.0)) == "-0.0"


def test_a_dict_keeps_its_order() -> None:
    assert list(there_and_back({"b": 1, "a": (), 3: 2})) == ["b", "a", 3]


def test_plain_json_is_stored_as_it_is() -> None:
    assert codec.encode({"a": [1, None, "ü", True]}) == '{"a":[1,null,"ü",true]}'


def test_a_value_is_not_changed_by_being_encoded() -> None:
    value = {"a": [(1,), {"b": Decimal(1)}]}

    codec.encode(value)

    assert value == {"a": [(1,), {"b": Decimal(1)}]}


@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize("hour", [1, 2, 12])
@pytest.mark.parametrize("day", [datetime(2024, 10, 27), datetime(2024, 3, 31)])
def test_a_time_in_a_zone_keeps_zone_fold_and_offset(day: datetime, hour: int, fold: int) -> None:
    value = day.replace(hour=hour, minute=30, tzinfo=BERLIN, fold=fold)

    back = there_and_back(value)

    assert (back, back.tzinfo, back.fold) == (value, BERLIN, fold)
    assert back.utcoffset() == value.utcoffset()


@pytest.mark.parametrize("zone", ["Mars/Base", "../../etc/passwd", "", "Europe"])
def test_a_zone_that_is_unknown_here_leaves_the_instant(zone: str) -> None:
    back = codec.decode(f'{{"$datetime":["2024-05-01T12:00:00+02:00",0,"{zone}"]}}')

    assert back == datetime(2024, 5, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Text("a"), "a"),
        ({Text("k"): Real(1.5)}, {"k": 1.5}),
        (OrderedDict(a=defaultdict(list, b=[1])), {"a": {"b": [1]}}),
    ],
)
def test_a_subclass_of_a_plain_type_comes_back_plain(value: object, expected: object) -> None:
    back = there_and_back(value)

    assert repr(back) == repr(expected)


def test_a_dataclass_comes_back_past_what_its_post_init_would_refuse_or_change() -> None:
    order = Order([Item("a")], scale=7)

    back = there_and_back(order)

    assert back == order
    assert (back.total, back.tags) == (Decimal(7), ["a", "b"])


def test_a_dataclass_that_has_grown_a_default_since_reads_what_was_stored() -> None:
    back = codec.decode(codec.encode(Item("a", (Decimal(1),))).replace('"prices"', '"gone"'))

    assert back == Item("a")


def test_a_model_keeps_which_of_its_fields_were_set() -> None:
    back = there_and_back(Payment.model_validate({"Amount": 1, "raw": None}))

    assert back.model_fields_set == {"amount", "raw"}


def local_classes() -> tuple[Any, Any, Any, Any]:
    class LocalColor(Enum):
        BLUE = "blue"

    class LocalPoint(NamedTuple):
        x: Decimal

    @dataclass(frozen=True)
    class LocalItem:
        point: LocalPoint
        color: LocalColor

    class LocalModel(BaseModel):
        item: LocalItem
        amount: int = Field(alias="Amount")

    return LocalColor, LocalPoint, LocalItem, LocalModel


def local_values() -> dict[str, tuple[object, object]]:
    color, point, item, model = local_classes()
    one = item(point(Decimal(1)), color.BLUE)
    return {
        "enum": (color.BLUE, color),
        "named tuple in a set": ({point(Decimal(2))}, set[point]),  # type: ignore[valid-type]
        "dataclass with locals": (one, item | None),
        "key of a dict": ({one: [color.BLUE, 5]}, dict[item, list[Any]]),  # type: ignore[valid-type]
        "model": ([model(Amount=5, item=one)], list[model]),  # type: ignore[valid-type]
        "generic": (Box[point](content=point(Decimal(3))), Box[point]),  # type: ignore[valid-type]
        "literal": (color.BLUE, Literal[color.BLUE]),
    }


@pytest.mark.parametrize("case", local_values())
def test_a_class_without_a_findable_name_comes_back_by_the_annotation(case: str) -> None:
    value, annotation = local_values()[case]

    back = there_and_back(value, annotation)

    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("annotation", [None, int, dict[str, Any], Any, "LocalColor"])
def test_a_class_that_neither_name_nor_annotation_tells_is_refused(annotation: object) -> None:
    color = local_classes()[0]

    with pytest.raises(UnencodableValue, match=r"^\$\.c\[0\]: .*LocalColor.*return type"):
        codec.encode({"c": [color.BLUE]}, annotation=annotation)


def test_a_class_of_a_script_needs_the_annotation_and_matches_its_import() -> None:
    text = codec.encode(Item("a")).replace(Item.__module__, "__main__")

    with pytest.raises(UndecodableValue, match="__main__:Item is not loaded"):
        codec.decode(text)
    assert codec.decode(text, annotation=list[Item]) == Item("a")


def test_a_class_that_was_renamed_is_read_as_the_annotation_says() -> None:
    text = codec.encode([Item("a"), 5]).replace(":Item", ":OldItem")

    assert codec.decode(text, annotation=tuple[Item, int]) == (Item("a"), 5)
    with pytest.raises(UndecodableValue, match="OldItem is not loaded"):
        codec.decode(text, annotation=list[int])


@pytest.mark.parametrize("annotation", [int, list[Item], set[str], Payment])
def test_an_annotation_that_lies_changes_nothing(annotation: object) -> None:
    value = {"a": "5", "b": (1, Item("x"))}

    assert there_and_back(value, annotation) == value


def test_stored_data_never_imports_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = ModuleType("lazy")
    lazy.__getattr__ = lambda name: pytest.fail("imported")  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy", lazy)
    monkeypatch.delitem(sys.modules, "this", raising=False)

    for name in ("this:Zen", "lazy:Thing", "os:system", "builtins:int", "sys:modules.x", ":", ""):
        with pytest.raises(UndecodableValue, match="is not loaded: import its module"):
            codec.decode(f'{{"$class":["{name}",{{}}]}}')

    assert "this" not in sys.modules
