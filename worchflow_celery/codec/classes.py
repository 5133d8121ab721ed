"""Which classes a stored value may name, and how their instances are taken apart and rebuilt."""

import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, RootModel

#: What a script is called while it runs; a worker knows the same file by another name.
_SCRIPTS = {"__main__", "__mp_main__"}


def is_stored_by_name(cls: object) -> bool:
    """Tell whether it is an enum, a dataclass, a pydantic model or a named tuple."""
    return isinstance(cls, type) and (
        issubclass(cls, Enum | BaseModel) or is_dataclass(cls) or is_named_tuple(cls)
    )


def is_named_tuple(cls: type) -> bool:
    return issubclass(cls, tuple) and isinstance(getattr(cls, "_fields", None), tuple)


def name_of(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def loaded(name: str) -> type | None:
    """Find a class in the modules that are loaded by now.  Stored data never imports one."""
    module, _, qualname = name.partition(":")
    found: Any = None if module in _SCRIPTS else sys.modules.get(module)
    try:
        for part in qualname.split("."):
            # Not getattr: a module's own __getattr__, or a lazy module, could import something.
            found = object.__getattribute__(found, "__dict__")[part]
    except (AttributeError, LookupError):
        return None
    return found if is_stored_by_name(found) else None


def named_by(annotation: object) -> dict[str, type]:
    """Collect the classes that a type annotation speaks of, their fields' classes included."""
    found: dict[str, type] = {}
    hints = [annotation]
    for hint in hints:
        if isinstance(hint, type) and is_stored_by_name(hint):
            found.setdefault(name_of(hint), hint)
        hints += [part for part in _parts(hint) if not any(part is known for known in hints)]
    return found


def _parts(hint: object) -> Iterator[object]:
    yield get_origin(hint)
    yield from get_args(hint)
    if isinstance(hint, Enum):  # Literal[Color.RED]
        yield type(hint)
    elif not isinstance(hint, type):
        # A `type` alias, a NewType and a bound TypeVar each stand for another type.
        for attribute in ("__value__", "__supertype__", "__bound__"):
            yield getattr(hint, attribute, None)
    elif issubclass(hint, BaseModel):
        yield from (field.annotation for field in hint.model_fields.values())
    elif is_stored_by_name(hint):
        yield from _field_hints(hint)


def _field_hints(cls: type) -> Iterator[object]:
    try:
        yield from get_type_hints(cls).values()
    except Exception:  # a postponed annotation can name, and evaluate, anything
        yield from getattr(cls, "__annotations__", {}).values()


def fields_of(value: Any) -> dict[str, Any]:
    """Take a model or a dataclass apart: what its fields hold, by field name.

    A model's private attributes are left out, as pydantic leaves them out of every dump.
    """
    if isinstance(value, BaseModel):
        state = value.__dict__
        known = {name: state[name] for name in type(value).model_fields if name in state}
        return known | (value.model_extra or {})
    names = [field.name for field in fields(value)]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def unset_of(model: BaseModel) -> list[str]:
    """Name the fields that only have their default, for ``model_dump(exclude_unset=True)``."""
    return [name for name in type(model).model_fields if name not in model.model_fields_set]


def dumped_field(model: BaseModel, name: str) -> object:
    """Return a field as pydantic writes it; ``ValueError`` if the model would not read the same."""
    value = model.__dict__[name]
    only = None if isinstance(model, RootModel) else {name}
    dumped: Any = model.model_dump(
        mode="json", include=only, by_alias=False, round_trip=True, warnings=False
    )
    dumped = dumped[name] if only else dumped
    again = validated(type(model), fields_of(model) | {name: dumped}).__dict__[name]
    if type(again) is not type(value) or again != value:
        raise ValueError(f"{name} would not be read back as it is")
    return dumped


def rebuild(cls: type, body: Any, unset: list[str]) -> object:
    """Make an instance again.  The class's own code runs here, and may raise anything."""
    if issubclass(cls, Enum):
        return cls(body)
    if is_named_tuple(cls):
        return cls(*body)
    if issubclass(cls, BaseModel):
        model = validated(cls, body)
        model.model_fields_set.difference_update(unset)
        return model
    return _rebuild_dataclass(cls, body)


def validated(cls: type[BaseModel], state: dict[str, Any]) -> BaseModel:
    """Build a model from its fields by name, whatever aliases the world outside knows."""
    data = state["root"] if issubclass(cls, RootModel) else state
    return cls.model_validate(data, by_name=True, by_alias=False)


def _rebuild_dataclass(cls: Any, body: dict[str, Any]) -> object:
    known = {field.name: field for field in fields(cls)}
    stored = {name: item for name, item in body.items() if name in known}
    defaults = {name: field for name, field in known.items() if _has_default(field)}
    if lost := [name for name in known if known[name].init and name not in {*stored, *defaults}]:
        raise ValueError(f"it was stored without {', '.join(lost)}")
    try:
        instance = cls(**{name: item for name, item in stored.items() if known[name].init})
    except Exception:  # whatever __post_init__ makes of values that have been through it once
        instance = object.__new__(cls)
        stored = {name: _default(field) for name, field in defaults.items()} | stored
    for name, item in stored.items():
        object.__setattr__(instance, name, item)  # past `frozen`, and past __post_init__
    return instance


def _has_default(field: "Field[Any]") -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _default(field: "Field[Any]") -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()
