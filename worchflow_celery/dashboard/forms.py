"""A form for an event, from the JSON schema of its type, and back to data.  Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError

#: What the names of fields begin with, so that none meets one of our own.
PREFIX = "data."
_DEEPEST = 4
_INPUTS = {"integer": "number", "number": "number"}
_FORMATS = {"date": "date", "date-time": "datetime-local", "time": "time", "email": "email"}


@dataclass(frozen=True, slots=True)
class Field:
    """One thing to fill in."""

    #: ``data.customer.id``.
    name: str
    label: str
    #: ``text``, ``number``, ``boolean``, ``choice``, ``list``, ``json``, or of dates and times.
    kind: str
    required: bool = False
    description: str = ""
    choices: tuple[str, ...] = ()
    value: str = ""
    #: Of the numbers: whether only whole ones are.
    whole: bool = False
    #: Of the items of a list.
    items: str = "text"
    fields: tuple["Field", ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is wrong with some data: by field, and what belongs to none."""

    by_field: Mapping[str, str] = field(default_factory=dict)
    rest: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.by_field or self.rest)


def schema_of(adapter: TypeAdapter[Any] | None) -> dict[str, Any] | None:
    """The JSON schema of an event's data; ``None`` where there is none."""
    if adapter is None:
        return None
    try:
        return adapter.json_schema()
    except (PydanticInvalidForJsonSchema, PydanticUserError):
        return None


def fields_of(schema: Mapping[str, Any] | None, data: Any = None) -> tuple[Field, ...]:
    """The fields of a model, filled from ``data`` or the defaults; none for another type."""
    if schema is None:
        return ()
    return _fields(_resolved(schema, schema), schema, PREFIX, data, 1)


def data_of(fields: Iterable[Field], given: Mapping[str, str]) -> dict[str, Any]:
    """The data that a filled form stands for; an empty field that is not required is left out."""
    data = {}
    for one in fields:
        if one.fields and not one.required and _is_empty(one.fields, given):
            continue
        value = data_of(one.fields, given) if one.fields else _value(one, given.get(one.name, ""))
        if value is not None and (value != {} or one.required):
            data[one.name.rpartition(".")[2]] = value
    return data


def _is_empty(fields: Iterable[Field], given: Mapping[str, str]) -> bool:
    """Whether nobody has filled in anything of it."""
    return all(not given.get(one.name, "").strip() for one in _all(fields))


def filled(fields: Iterable[Field], given: Mapping[str, str]) -> tuple[Field, ...]:
    """The fields as somebody filled them in."""
    return tuple(
        replace(one, value=given.get(one.name, ""), fields=filled(one.fields, given))
        for one in fields
    )


def refusal_of(error: ValidationError, fields: Iterable[Field]) -> Refusal:
    """The faults of some data, each beside the field that it is in."""
    names = {one.name for one in _all(fields)}
    by_field: dict[str, str] = {}
    rest = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        parts = [str(part) for part in fault["loc"]]
        place = next((name for name in _places(parts) if name in names), None)
        if place is None:
            rest.append(": ".join(filter(None, (".".join(parts), fault["msg"]))))
        else:
            by_field.setdefault(place, fault["msg"])
    return Refusal(by_field, tuple(rest[:20]))


def _places(parts: list[str]) -> Iterable[str]:
    """Names of the fields around a fault, the nearest first."""
    for length in range(len(parts), 0, -1):
        yield PREFIX + ".".join(parts[:length])


def _all(fields: Iterable[Field]) -> Iterable[Field]:
    for one in fields:
        yield one
        yield from _all(one.fields)


def _fields(
    schema: Mapping[str, Any], root: Mapping[str, Any], prefix: str, data: Any, depth: int
) -> tuple[Field, ...]:
    required = schema.get("required", ())
    held = data if isinstance(data, Mapping) else {}
    found = []
    for name, given in schema.get("properties", {}).items():
        default = given.get("default") if isinstance(given, Mapping) else None
        value = held.get(name, default)
        place = (prefix + name, name in required)
        found.append(_field(_resolved(given, root), root, place, value, depth))
    return tuple(found)


def _field(
    schema: Mapping[str, Any],
    root: Mapping[str, Any],
    place: tuple[str, bool],
    value: Any,
    depth: int,
) -> Field:
    name, required = place
    kind, choices, items = _kind(schema, root)
    label = str(schema.get("title") or name.rpartition(".")[2].replace("_", " ").capitalize())
    about = str(schema.get("description", "")).partition("\n\n")[0]
    if kind == "object" and depth < _DEEPEST:
        inner = _fields(schema, root, f"{name}.", value, depth + 1)
        if inner:
            return Field(name, label, kind, required, about, fields=inner)
    if kind in ("object", "json"):
        kind = "json"
    whole = schema.get("type") == "integer"
    text = _text(value, kind)
    return Field(name, label, kind, required, about, choices, text, whole, items)


def _kind(schema: Mapping[str, Any], root: Mapping[str, Any]) -> tuple[str, tuple[str, ...], str]:
    if "const" in schema:
        return "choice", (_word(schema["const"]),), ""
    if "enum" in schema:
        return "choice", tuple(_word(one) for one in schema["enum"]), ""
    type_ = schema.get("type")
    if type_ == "boolean":
        return "boolean", (), ""
    if type_ in _INPUTS:
        return "number", (), ""
    if type_ == "string":
        return _FORMATS.get(schema.get("format", ""), "text"), (), ""
    if type_ == "array":
        items = _resolved(schema.get("items", {}), root).get("type")
        return ("list", (), items) if items in ("string", "integer", "number") else ("json", (), "")
    return ("object" if "properties" in schema else "json"), (), ""


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema without references, and without the ``null`` of what may be left out."""
    found = schema if isinstance(schema, Mapping) else {}
    for _ in range(20):
        own = {key: found[key] for key in ("title", "description") if key in found}
        several = [one for one in found.get("anyOf", ()) if one.get("type") != "null"]
        if "$ref" in found:
            name = str(found["$ref"]).rpartition("/")[2]
            found = {**root.get("$defs", {}).get(name, {}), "title": "", **own}
        elif len(several) == 1:
            found = {**several[0], **own}
        elif any(one.get("type") == "string" for one in several):
            return {"type": "string", **own}  # a number or its text, as of a Decimal
        else:
            break
    return found


def _value(one: Field, text: str) -> Any:
    """What a text stands for; one that stands for nothing is left to the model to refuse."""
    if one.kind == "boolean":
        return text == "true" if text or one.required else None
    if text.strip() == "":
        return "" if one.required and one.kind == "text" else None
    if one.kind == "list":
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return [_number(line, one.items == "integer") for line in lines] if _counts(one) else lines
    if one.kind == "number":
        return _number(text, one.whole)
    if one.kind in ("json", "choice"):
        return _json(text, one)
    return f"{text}Z" if one.kind == "datetime-local" and not _has_zone(text) else text


def _counts(one: Field) -> bool:
    return one.items in _INPUTS


def _number(text: str, whole: bool) -> Any:
    try:
        return int(text) if whole or text.strip().lstrip("+-").isdigit() else float(text)
    except ValueError:
        return text


def _json(text: str, one: Field) -> Any:
    if one.kind == "choice" and text in one.choices and not text.startswith('"'):
        try:
            value = json.loads(text)
        except ValueError:
            return text
        return value if isinstance(value, int | float | bool | None) else text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _has_zone(text: str) -> bool:
    return text.endswith(("Z", "z")) or "+" in text or text.count("-") > 2


def _word(value: Any) -> str:
    """A choice as it is written in the form: texts as they are, others as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _text(value: Any, kind: str) -> str:
    """A value as it stands in a field."""
    if value is None:
        return ""
    if kind == "list" and isinstance(value, list):
        return "\n".join(str(item) for item in value)
    if kind == "boolean":
        return "true" if value else "false"
    if isinstance(value, str) and kind != "json":
        return value.removesuffix("Z") if kind == "datetime-local" else value
    return json.dumps(value, ensure_ascii=False, indent=2 if kind == "json" else None)
