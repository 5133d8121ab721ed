"""For any value: it comes back equal, type for type.  For any text: a value, or one clear error."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, time
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from worchflow_celery import codec
from worchflow_celery.codec import UndecodableValue


class Size(IntEnum):
    S = 1
    L = 2


class Shape(Enum):
    ROUND = (1.5, "o")
    FLAT = None


class Pair(NamedTuple):
    left: object
    right: object


@dataclass(frozen=True)
class Held:
    value: object


class Model(BaseModel):
    value: Any
    other: "Model | None" = None


huge = st.builds(lambda number, bits: number << bits, st.integers(), st.integers(2000, 20_000))
zones = st.none() | st.timezones()
folds = st.integers(0, 1)
keys = st.text() | st.sampled_from(["$set", "$class", "$", "a.b", "", "\x00", "\u2028"])
hashable_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | huge
    | st.floats(allow_nan=False, allow_infinity=False)
    | keys
    | st.binary()
    | st.builds(lambda when, fold: when.replace(fold=fold), st.datetimes(timezones=zones), folds)
    | st.dates()
    | st.builds(lambda when, fold: when.replace(fold=fold), st.times(timezones=zones), folds)
    | st.timedeltas()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.uuids()
    | st.sampled_from([*Size, *Shape])
)
hashables = st.recursive(
    hashable_leaves,
    lambda inner: (
        st.tuples(inner, inner)
        | st.frozensets(inner, max_size=3)
        | st.builds(Pair, inner, inner)
        | st.builds(Held, inner)
    ),
    max_leaves=4,
)
values = st.recursive(
    hashable_leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(hashables, inner, max_size=4)
        | st.sets(hashables, max_size=4)
        | st.frozensets(hashables, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.builds(Pair, inner, inner)
        | st.builds(Held, inner)
        | st.builds(Model, value=inner, other=st.none() | st.builds(Model, value=inner))
    ),
    max_leaves=12,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "a $x $class $dict $set $datetime $time $timedelta $tuple $decimal $uuid $bytes "
                "$int $date $frozenset".split()
            ),
            inner,
            max_size=2,
        )
    ),
    max_leaves=10,
)


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert_same(list(one.items()), list(other.items()))
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    elif isinstance(one, set | frozenset):
        assert one == other
        found = {item: item for item in other}
        for item in one:
            assert_same(item, found[item])
    elif isinstance(one, Held | Model):
        assert one == other
        assert_same(vars(one), vars(other))
    elif isinstance(one, datetime | time):
        assert (one, one.fold, one.tzinfo) == (other, other.fold, other.tzinfo)
    elif isinstance(one, float | Decimal):
        assert repr(one) == repr(other)
    else:
        assert one == other


relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(values)
def test_any_value_comes_back_equal_and_of_the_same_type(value: object) -> None:
    text = codec.encode(value)
    back = codec.decode(text)

    assert_same(back, value)
    assert codec.fingerprint(codec.encode(back)) == codec.fingerprint(text)


@relaxed
@given(values)
def test_any_value_has_a_plain_form_that_json_leaves_as_it_is(value: object) -> None:
    plain = codec.plain(value)

    assert codec.encode(plain) == codec.encode(codec.plain(plain))
    assert_same(codec.plain_of(codec.encode(value)), plain)


@relaxed
@given(st.text() | st.text(alphabet='{}[]",:$0123456789.eE-+\\u tnaf'))
def test_any_text_is_a_value_or_undecodable(text: str) -> None:
    for read in (codec.decode, codec.plain_of, codec.fingerprint):
        with suppress(UndecodableValue):
            read(text)


@relaxed
@given(json_values, st.sampled_from([None, Model, list[Held], Size]))
def test_any_json_with_tags_is_a_value_or_undecodable(value: object, annotation: object) -> None:
    text = codec._PRINT.encode(value)

    with suppress(UndecodableValue):
        codec.decode(text, annotation=annotation)
    for read in (codec.plain_of, codec.fingerprint):
        with suppress(UndecodableValue):
            read(text)
