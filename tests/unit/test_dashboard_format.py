"""How the dashboard writes values, lays out a timeline, makes forms of types."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from worchflow_celery.dashboard import format as texts
from worchflow_celery.dashboard import forms
from worchflow_celery.dashboard.waterfall import Scale, waterfall
from worchflow_celery.models import Execution
from worchflow_celery.store.records import Checkpoint

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"), (-1, "0 ms"), (0, "0 ms"), (0.0404, "40 ms"), (0.9996, "1.0 s"),
        (1.94, "1.9 s"), (12.3, "12 s"), (59.4, "59 s"), (59.6, "1 min"), (250, "4 min 10 s"),
        (10_920, "3 h 2 min"),
        (86_400 * 12.2, "12 d 4 h"),
    ],
)  # fmt: skip
def test_a_duration_has_two_units_at_most(seconds: float | None, text: str) -> None:
    assert texts.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "just now"), (5, "5 s ago"), (-90, "in 1 min"), (7200, "2 h ago"), (-200_000, "in 2 d")],
)
def test_an_age_has_one_unit(seconds: float, text: str) -> None:
    assert texts.age(NOON - timedelta(seconds=seconds), NOON) == text


@pytest.mark.parametrize(
    ("count", "text"), [(None, ""), (0, "0"), (5775, "5,775"), (10_000, "10,000"), (10_001, "10k+")]
)
def test_a_count_that_stops_says_so(count: int | None, text: str) -> None:
    assert texts.counted(count) == text


@pytest.mark.parametrize("control", ["\x00", "\x1b", "\x7f", "\x9b", "\u202e", "\u2066", "\u200f"])
def test_what_turns_or_hides_text_is_spelt_out(control: str) -> None:
    assert texts.clean(f"a{control}b") == f"a\\u{ord(control):04x}b"


@pytest.mark.parametrize(
    ("data", "pairs"),
    [
        (None, []),
        ("text", [("", "text")]),
        ({"a": 1, "b": "x", "c": [1], "d": True, "e": 2}, [("a", "1"), ("b", "x"), ("d", "true")]),
        ({"deep": {"a": 1}}, [("deep", '{"a": 1}')]),
        ([1, 2], [("", "[1, 2]")]),
    ],
)
def test_a_summary_prefers_scalars(data: Any, pairs: list[tuple[str, str]]) -> None:
    assert texts.summary(data) == pairs


# -- the timeline ------------------------------------------------------------------------------


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def execution(**fields: Any) -> Execution:
    given = {"id": "x", "flow": "f", "status": "completed", "trigger": {"kind": "send"}}
    times = {"created_at": NOON, "updated_at": NOON}
    return Execution.model_validate({**given, **times, **fields})


def ran(key: str, start: float, end: float | None, **more: Any) -> Checkpoint:
    given = {"status": "completed", "result": "null", "attempt": 1, "epoch": 1, "seq": 1, **more}
    finished = None if end is None else at(end)
    return Checkpoint(key=key, name=key, started_at=at(start), finished_at=finished, **given)


def test_a_scale_is_even_where_nothing_is_idle() -> None:
    scale = Scale([(at(0), at(4)), (at(4), at(10))])

    assert [scale.x(at(second)) for second in (0, 5, 10)] == [0, 50, 100]


def test_a_long_idle_time_is_folded() -> None:
    scale = Scale([(at(0), at(1)), (at(601), at(602))])

    assert scale.folded == [(at(1), at(601))]
    assert (scale.x(at(1)), scale.x(at(601))) == (48, 52)


def test_every_bar_is_inside_and_as_wide_as_it_can_be_seen() -> None:
    runs = [ran("a", 1, 1.0001), ran("b", 1, 3), ran("b", 5000, 5001, attempt=2)]
    whole = execution(started_at=at(1), finished_at=at(5001))

    fall = waterfall(whole, runs, at(6000))

    bars = [(float(bar.x), float(bar.width)) for line in fall.lines for bar in line.bars]
    assert all(x >= 0 and width >= 0.4 and x + width <= 100.01 for x, width in bars)
    assert [line.label for line in fall.lines] == ["in the queue", "a", "b"]


def test_a_step_that_slept_is_one_bar_from_its_beginning() -> None:
    slept = [
        ran("nap", 1, None, status="waiting", kind="sleep"),
        ran("nap", 61, 61, kind="sleep"),
    ]

    fall = waterfall(execution(started_at=at(1), finished_at=at(62)), slept, at(99))

    assert [(bar.look, line.took) for line in fall.lines[1:] for bar in line.bars] == [
        ("waiting", "1 min")
    ]


def test_what_runs_now_grows_until_now() -> None:
    running = execution(status="processing", started_at=at(1))

    fall = waterfall(running, [ran("a", 1, 2)], at(12), "b")

    assert (fall.lines[-1].label, fall.lines[-1].took) == ("b", "10 s")


@pytest.mark.parametrize("fields", [{}, {"status": "queued"}, {"status": "cancelled"}])
def test_an_execution_that_never_began_has_a_timeline(fields: Any) -> None:
    assert len(waterfall(execution(**fields), [], at(5)).lines) == 1


# -- forms -------------------------------------------------------------------------------------


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Place(BaseModel):
    city: str
    zip: int | None = None


class Order(BaseModel):
    number: int
    price: Decimal
    to: Place
    when: datetime
    size: Size = Size.SMALL
    note: str | None = None
    tags: list[str] = []
    counts: list[int] = []
    extra: dict[str, int] = {}
    gift: bool = False
    kind: Literal[1, "two"] = "two"


ADAPTER = TypeAdapter(Order)
FIELDS = forms.fields_of(forms.schema_of(ADAPTER))
FILLED = {
    "data.number": "7", "data.price": "1.50", "data.to.city": "Rome", "data.to.zip": "",
    "data.when": "2026-03-01T12:00", "data.size": "large", "data.note": "", "data.tags": "a\n\nb\n",
    "data.counts": "1\n2", "data.extra": '{"x": 1}', "data.gift": "true", "data.kind": "1",
}  # fmt: skip


def test_each_type_has_its_field() -> None:
    kinds = {one.name.removeprefix("data."): one.kind for one in FIELDS}

    assert kinds == {
        "number": "number", "price": "text", "to": "object", "when": "datetime-local",
        "size": "choice", "note": "text", "tags": "list", "counts": "list", "extra": "json",
        "gift": "boolean", "kind": "choice",
    }  # fmt: skip


def test_a_filled_form_is_the_data() -> None:
    order = ADAPTER.validate_python(forms.data_of(FIELDS, FILLED))

    assert order == Order(
        number=7, price=Decimal("1.50"), to=Place(city="Rome"), when=NOON, size=Size.LARGE,
        tags=["a", "b"], counts=[1, 2], extra={"x": 1}, gift=True, kind=1,
    )  # fmt: skip


def test_data_fills_a_form_that_is_the_same_data() -> None:
    data = ADAPTER.dump_python(ADAPTER.validate_python(forms.data_of(FIELDS, FILLED)), mode="json")

    fields = forms.fields_of(forms.schema_of(ADAPTER), data)

    def texts_of(many: tuple[forms.Field, ...]) -> dict[str, str]:
        own = {one.name: one.value for one in many if not one.fields}
        inner = [texts_of(one.fields) for one in many if one.fields]
        return {name: value for some in [own, *inner] for name, value in some.items()}

    assert ADAPTER.validate_python(forms.data_of(fields, texts_of(fields))) == (
        ADAPTER.validate_python(data)
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.number", "1.5"), ("data.number", ""), ("data.price", "dear"), ("data.size", "huge"),
        ("data.when", "tomorrow"), ("data.counts", "1\nx"), ("data.extra", "{"),
        ("data.to.zip", "x"),
    ],
)  # fmt: skip
def test_a_fault_is_beside_its_field(name: str, text: str) -> None:
    with pytest.raises(ValidationError) as fault:
        ADAPTER.validate_python(forms.data_of(FIELDS, {**FILLED, name: text}))

    assert list(forms.refusal_of(fault.value, FIELDS).by_field) == [name]


@pytest.mark.parametrize("kind", [int, str, list[int], dict[str, Any], None, bytes | int])
def test_what_is_no_model_has_no_fields(kind: Any) -> None:
    assert forms.fields_of(forms.schema_of(TypeAdapter(kind))) == ()
