"""From a value to what JSON is to say for it: one walk, exact types first, a path with each no."""

import reprlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from enum import Enum
from functools import cached_property
from math import isfinite
from typing import Any

from pydantic import BaseModel

from worchflow_celery.codec import classes
from worchflow_celery.codec.tags import (
    BIGGEST_PRINTED_INT,
    Refusal,
    shown,
    type_name,
    write_derived,
    write_scalar,
)

MAX_NESTING = 100
TOO_DEEP = f"nesting > {MAX_NESTING}: flatten it, or store it elsewhere and keep a reference"


class TooLarge(Exception):
    """The text would be larger than it may; counted on the way, so this is the least it takes."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Writing:
    """What one call knows, and how many bytes its text will have at the least."""

    def __init__(
        self, annotation: object = None, limit: int | None = None, *, any_class: bool = False
    ) -> None:
        self.annotation = annotation
        self.limit = limit
        self.any_class = any_class
        self.size = 0

    @cached_property
    def annotated(self) -> dict[str, type]:
        """The classes that the annotation names."""
        return classes.named_by(self.annotation)

    def count(self, size: int) -> None:
        """Stop as soon as the text is sure to be too large."""
        self.size += size
        if self.limit is not None and self.size > self.limit:
            raise TooLarge(self.size)

    def enter(self, depth: int, items: int) -> None:
        """Go into a container, unless that is one too many."""
        if depth > MAX_NESTING:
            raise Refusal(TOO_DEEP)
        self.count(2 * items)

    def require(self, cls: type, name: str) -> None:
        """Refuse a class that whoever reads the text could not find by its name."""
        if self.any_class or classes.loaded(name) is cls or self.annotated.get(name) is cls:
            return
        raise Refusal(
            f"{shown(name)} cannot be found by its name when it is read back: define it in a"
            " module, or name it in the function's return type"
        )


def write(value: Any, depth: int, writing: Writing) -> object:
    """Return the value itself where JSON can tell it, else a copy with tags in the right places."""
    kind = type(value)
    if kind is str:
        writing.size += len(value)
        return value if value.isascii() else _checked(value)
    if kind is int:
        if -BIGGEST_PRINTED_INT < value < BIGGEST_PRINTED_INT:
            return value
        return {"$int": hex(value)}
    if value is None or kind is bool:
        return value
    if kind is dict:
        return _write_dict(value, depth, writing)
    if kind is list:
        return _write_list(value, depth, writing)
    if kind is float:
        if isfinite(value):
            return value
        raise Refusal(f"{value} is no finite number: use None or a string instead")
    return _write_other(value, depth, writing)


def _checked(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        surrogate = f"U+{ord(text[error.start]):04X} at character {error.start}"
        raise Refusal(f"lone surrogate {surrogate}: make it valid Unicode, or bytes") from None
    return text


def _write_dict(value: dict[Any, Any], depth: int, writing: Writing) -> dict[Any, Any]:
    writing.enter(depth, len(value))
    result = value
    key: Any = None
    try:
        for key, item in value.items():
            if type(key) is not str or key[:1] == "$":
                break
            writing.size += len(key)
            if not key.isascii():
                _checked(key)
            written = write(item, depth + 1, writing)
            if written is not item:
                if result is value:
                    result = value.copy()
                result[key] = written
        else:
            return result
    except Refusal as refusal:
        refusal.path.append(_step(key))
        raise
    return {"$dict": _write_pairs(value, depth, writing)}


def _write_pairs(value: dict[Any, Any], depth: int, writing: Writing) -> list[list[object]]:
    pairs = []
    for key, item in value.items():
        try:
            written_key = write(key, depth + 1, writing)
        except Refusal as refusal:
            refusal.path.clear()
            refusal.reason = f"in a key: {refusal.reason}"
            raise
        try:
            pairs.append([written_key, write(item, depth + 1, writing)])
        except Refusal as refusal:
            refusal.path.append(_step(key))
            raise
    return pairs


def _write_list(value: list[Any], depth: int, writing: Writing) -> list[Any]:
    writing.enter(depth, len(value))
    result = value
    index = 0
    try:
        for index, item in enumerate(value):
            written = write(item, depth + 1, writing)
            if written is not item:
                if result is value:
                    result = value.copy()
                result[index] = written
    except Refusal as refusal:
        refusal.path.append(f"[{index}]")
        raise
    return result


def _step(key: object) -> str:
    if isinstance(key, str) and key.isidentifier() and len(key) <= 40:
        return f".{key}"
    try:
        return f"[{shown(reprlib.repr(key))}]"
    except ValueError:  # an integer too large to be printed
        return f"[{type_name(type(key))}]"


def _write_other(value: Any, depth: int, writing: Writing) -> object:
    kind = type(value)
    tag = _COLLECTIONS.get(kind)
    if tag is not None:
        return {tag: _write_list(list(value), depth, writing)}
    if kind is bytes:
        writing.count(len(value))
    tagged = write_scalar(value)
    if tagged is not None:
        return tagged
    if classes.is_stored_by_name(kind):
        return _write_instance(value, depth, writing)
    return _write_derived(value, depth, writing)


def _write_derived(value: Any, depth: int, writing: Writing) -> object:
    tagged = write_derived(value)
    if tagged is not None:
        return tagged
    for cls, as_plain in _BASES.items():
        if isinstance(value, cls):
            return write(as_plain(value), depth, writing)
    raise Refusal(f"{type_name(type(value))} cannot be stored: {_way_out(value)}", foreign=True)


_COLLECTIONS: dict[type, str] = {tuple: "$tuple", set: "$set", frozenset: "$frozenset"}

#: An instance of a subclass comes back as what the subclass is built on.
_BASES: dict[type, Callable[[Any], object]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    list: list,
    dict: dict,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
}


def _way_out(value: object) -> str:
    if isinstance(value, Awaitable):
        return "await it"
    if isinstance(value, Iterator | AsyncIterator):
        return "collect it in a list"
    if callable(value):
        return "keep its name, and look it up where it is called"
    return "return plain data, a dataclass or a pydantic model of it"


def _write_instance(value: Any, depth: int, writing: Writing) -> dict[str, object]:
    cls = type(value)
    name = classes.name_of(cls)
    writing.require(cls, name)
    if isinstance(value, Enum):
        return {"$class": [name, write(value._value_, depth, writing)]}
    if classes.is_named_tuple(cls):
        return {"$class": [name, _write_list(list(value), depth, writing)]}
    body = _write_fields(value, depth, writing)
    if isinstance(value, BaseModel) and (unset := classes.unset_of(value)):
        return {"$class": [name, body, unset]}
    return {"$class": [name, body]}


def _write_fields(value: Any, depth: int, writing: Writing) -> dict[str, object]:
    fields = classes.fields_of(value)
    writing.enter(depth, len(fields))
    written: dict[str, object] = {}
    for name, item in fields.items():
        try:
            written[_checked(name)] = write(item, depth + 1, writing)
        except Refusal as refusal:
            refusal.path.append(_step(name))
            if not refusal.foreign or not isinstance(value, BaseModel):
                raise
            written[name] = _write_as_pydantic_does(value, name, depth, writing, refusal)
    if any(name[:1] == "$" for name in written):  # a model may allow extra fields of any name
        return {"$dict": [[name, item] for name, item in written.items()]}
    return written


def _write_as_pydantic_does(
    model: BaseModel, name: str, depth: int, writing: Writing, refusal: Refusal
) -> object:
    # Models hold URLs, paths, addresses: types unknown here that the model itself can read back.
    try:
        dumped = classes.dumped_field(model, name)
    except Exception:  # a serializer or validator of the user's can raise anything
        raise refusal from None
    return write(dumped, depth + 1, writing)
