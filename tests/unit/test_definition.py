"""What a function must look like to be a flow, and what its annotations make of data."""

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import BaseModel

from worchflow_celery import AsyncStep, Event, Step
from worchflow_celery.definition import Definition
from worchflow_celery.errors import InvalidEventData
from worchflow_celery.options import FlowOptions

if TYPE_CHECKING:
    from elsewhere import Ghost  # type: ignore[import-not-found]

LIMIT = 100_000


class Payment(BaseModel):
    amount: int
    customer_id: str = "c1"


def define(function: Callable[..., Any], names: dict[str, Any] | None = None) -> Definition:
    return Definition("pay", function, FlowOptions(), names)


def received(definition: Definition, data: object) -> Any:
    """What a worker hands to the handler of what a sender was given."""
    return definition.data(definition.encode(data, LIMIT).text)


def with_step(event: Event[Payment], step: Step) -> None: ...


def without_step(event: Event[Payment]) -> None: ...


def the_other_way_round(step: Step, event: Event[Payment]) -> None: ...


def by_keyword(*, event: Event[Payment], step: Step) -> None: ...


async def asynchronous(event: Event[Payment], step: AsyncStep) -> None: ...


@functools.wraps(with_step)
def wrapped(*args: Any, **kwargs: Any) -> None:
    return with_step(*args, **kwargs)


class Service:
    def method(self, event: Event[Payment], step: Step) -> None: ...

    @staticmethod
    def static(event: Event[Payment]) -> None: ...

    @classmethod
    def of_class(cls, event: Event[Payment]) -> None: ...


HANDLERS = [
    (with_step, True, False),
    (without_step, False, False),
    (the_other_way_round, True, False),
    (by_keyword, True, False),
    (asynchronous, True, True),
    (wrapped, True, False),
    (Service().method, True, False),
    (Service.static, False, False),
    (Service.of_class, False, False),
]


@pytest.mark.parametrize(("function", "wants_step", "is_async"), HANDLERS)
def test_a_handler_takes_event_and_if_it_wants_it_step(
    function: Callable[..., Any], wants_step: bool, is_async: bool
) -> None:
    definition = define(function)

    assert (definition.wants_step, definition.is_async) == (wants_step, is_async)
    with pytest.raises(InvalidEventData, match="amount"):
        definition.encode({"amount": "much"}, LIMIT)


def no_parameters() -> None: ...
def another_name(events: Any) -> None: ...
def step_alone(step: Any) -> None: ...
def one_too_many(event: Any, step: Any, retries: int = 0) -> None: ...
def positional_only(event: Any, /) -> None: ...
def any_positionals(*event: Any) -> None: ...
def any_keywords(event: Any, **step: Any) -> None: ...


def generator(event: Any) -> Iterator[int]:
    yield 1


async def async_generator(event: Any) -> AsyncIterator[int]:
    yield 1


class CallableObject:
    def __call__(self, event: Any) -> None: ...


NO_HANDLERS: dict[str, tuple[Any, str]] = {
    "no parameters": (no_parameters, r"takes \(\); it must take `event`"),
    "another name": (another_name, r"takes \(events\); it must take `event`"),
    "step alone": (step_alone, "must take `event`"),
    "one too many": (one_too_many, r"takes \(event, step, retries\)"),
    "positional only": (positional_only, "must take `event`"),
    "any positionals": (any_positionals, "must take `event`"),
    "any keywords": (any_keywords, "must take `event`"),
    "generator": (generator, "must not be a generator"),
    "async generator": (async_generator, "must not be a generator"),
    "class": (Payment, "is not a function"),
    "callable object": (CallableObject(), "is not a function"),
    "partial": (functools.partial(with_step), "is not a function"),
    "built-in": (dict, "is not a function"),
    "None": (None, "None is not a function"),
    "text": ("pay", "'pay' is not a function"),
}


@pytest.mark.parametrize(("function", "why"), NO_HANDLERS.values(), ids=NO_HANDLERS)
def test_anything_else_raises_type_error_with_the_flow_and_the_reason(
    function: Any, why: str
) -> None:
    with pytest.raises(TypeError, match=f"^flow 'pay': .*{why}"):
        define(function)


def unannotated(event, step): ...  # type: ignore[no-untyped-def]
def bare(event: Event) -> None: ...  # type: ignore[type-arg]
def anything(event: Event[Any]) -> None: ...
def an_object(event: Event[object]) -> None: ...
def unknown_to_us(event: Any) -> None: ...


@pytest.mark.parametrize("function", [unannotated, bare, anything, an_object, unknown_to_us])
def test_without_an_annotation_data_is_what_was_sent(function: Callable[..., Any]) -> None:
    data = {"a": [1, None, "x"], "$set": {"b.c": 1.5}}

    assert received(define(function), data) == data


def in_text(event: "Event[Payment]", step: "Step") -> "dict[str, Payment]": ...
def inner_text(event: Event["Payment"]) -> None: ...
def deep_text(event: Event[dict[str, list["Payment"]]]) -> None: ...
def annotated(event: Annotated[Event[Payment], "documented"]) -> None: ...
def unknown_step(event: "Event[Payment]", step: "Ghost") -> None: ...
def unknown_result(event: "Event[Payment]") -> "Ghost": ...
def in_data(event: Event[Annotated[Payment, "documented"]]) -> None: ...


@pytest.mark.parametrize(
    ("function", "wrap"),
    [
        (in_text, lambda data: data),
        (inner_text, lambda data: data),
        (deep_text, lambda data: {"many": [data]}),
        (annotated, lambda data: data),
        (unknown_step, lambda data: data),
        (unknown_result, lambda data: data),
        (in_data, lambda data: data),
    ],
)
def test_an_annotation_is_understood_as_text_and_whatever_the_others_are(
    function: Callable[..., Any], wrap: Callable[[object], object]
) -> None:
    definition = define(function)

    assert received(definition, wrap({"amount": "5"})) == wrap(Payment(amount=5))
    with pytest.raises(InvalidEventData, match="amount"):
        definition.encode(wrap({"amount": "much"}), LIMIT)


def test_classes_of_the_enclosing_function_may_be_named_as_text() -> None:
    class Refund(BaseModel):
        amount: int

    def refund(event: "Event[Refund]") -> "list[Refund]": ...

    definition = define(refund, dict(locals()))

    assert received(definition, {"amount": 1}) == Refund(amount=1)
    assert definition.returns == list[Refund]


def late(event: "Event[Late]") -> "Late": ...  # type: ignore[name-defined]  # noqa: F821


def test_a_class_may_be_defined_after_its_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    definition = define(late)

    monkeypatch.setitem(globals(), "Late", Payment)

    assert received(definition, {"amount": 1}) == Payment(amount=1)
    assert definition.returns is Payment


def typo(event: "Event[Paymnt]") -> None: ...  # type: ignore[name-defined]  # noqa: F821


def test_a_name_that_does_not_exist_is_told_before_anything_is_sent() -> None:
    definition = define(typo)

    with pytest.raises(TypeError, match=r"'pay'.*`event`.*'Paymnt' is not defined.*import"):
        definition.encode({}, LIMIT)


class NoSchema:
    pass


def impossible(event: Event[NoSchema]) -> None: ...


def test_a_type_that_pydantic_does_not_know_is_refused_at_decoration() -> None:
    with pytest.raises(TypeError, match=r"'pay'.*NoSchema.*not a type that pydantic can validate"):
        define(impossible)


def returns_text(event: Any) -> "int": ...
def returns_none(event: Any) -> None: ...
def returns_nothing(event): ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize(
    ("function", "returns"),
    [
        (in_text, dict[str, Payment]),
        (returns_text, int),
        (returns_none, type(None)),
        (returns_nothing, None),
        (unknown_result, None),
    ],
)
def test_the_annotation_of_the_result_is_known(function: Callable[..., Any], returns: Any) -> None:
    assert define(function).returns == returns


def test_faults_are_told_by_place_and_reason_and_never_by_value() -> None:
    def many(event: Event[dict[str, Payment]]) -> None: ...

    data = {f"p{n}": {"amount": "sesame"} for n in range(5)}

    with pytest.raises(InvalidEventData) as refused:
        define(many).encode(data, LIMIT)

    text = str(refused.value)
    assert text.startswith("data for flow 'pay': p0.amount: Input should be a valid integer")
    assert text.endswith("(and 2 more)")
    assert "sesame" not in text + repr(refused.value.__cause__)


def test_the_place_of_a_fault_is_escaped() -> None:
    def many(event: Event[dict[str, Payment]]) -> None: ...

    with pytest.raises(InvalidEventData) as refused:
        define(many).encode({"\x1b[31m\n": {}}, LIMIT)

    assert str(refused.value).isprintable()


def test_stored_data_of_another_version_is_told_to_be_so() -> None:
    with pytest.raises(InvalidEventData, match="amount: Field required"):
        define(with_step).data('{"total":5}')


@pytest.mark.parametrize("text", ["", "{", "not json", "[1,", "nul", '{"$decimal":"x"}', "NaN"])
def test_corrupt_stored_data_is_told_to_be_so(text: str) -> None:
    with pytest.raises(InvalidEventData, match="data for flow 'pay'"):
        define(with_step).data(text)
