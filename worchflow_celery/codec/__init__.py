"""Values to one JSON text and back, type for type, and a clear no to what cannot be stored.

What JSON has no form for goes as an object whose one key begins with a dollar sign, such as
``{"$decimal": "1.50"}`` or ``{"$class": ["shop.models:Payment", {"amount": 5}]}``.  A dict of the
user's that could be taken for such a tag goes as ``{"$dict": [[key, value], ...]}``.
"""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from json import JSONDecodeError, JSONDecoder, JSONEncoder
from math import isinf
from typing import Any

from pydantic import TypeAdapter, ValidationError

from worchflow_celery.codec import classes
from worchflow_celery.codec.tags import READERS, Refusal, shown
from worchflow_celery.codec.writing import TOO_DEEP, TooLarge, Writing, write

_PATH_CHARACTERS = 200


class UnencodableValue(ValueError):
    """A value cannot be stored: where in it, and why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class OversizedValue(UnencodableValue):
    """A value takes more bytes than it may; ``size`` is what had been counted by then."""

    def __init__(self, size: int, limit: int) -> None:
        way_out = "store it elsewhere and keep a reference"
        super().__init__("$", f"at least {size} bytes, the limit is {limit}: {way_out}")
        self.args = (size, limit)
        self.size = size
        self.limit = limit


class UndecodableValue(ValueError):
    """A stored text is corrupt, or names a class that is not there."""


def encode(value: object, *, annotation: object = None, limit: int | None = None) -> str:
    """Write a value as compact JSON of at most ``limit`` bytes of UTF-8.

    A class that no other process could find by its name (a local one, one of a script) is stored
    only if the annotation names it: ``decode`` will need the same annotation.
    """
    text = _PRINT.encode(_written(value, Writing(annotation, limit)))
    if limit is not None:
        size = len(text) if text.isascii() else len(text.encode())
        if size > limit:
            raise OversizedValue(size, limit)
    return text


def decode(text: str, *, annotation: object = None) -> Any:
    """Read a value back.  The annotation serves classes that are not loaded, and nothing else."""
    if '"$' not in text and "\\u0024" not in text:  # JSON may spell a dollar sign like this, too
        return _load(text, _READ)
    reading = _Reading(annotation)
    value = _load(text, _reader(reading.revive))
    return reading.validated(value) if reading.not_loaded else value


def plain(value: object) -> Any:
    """Turn a value into plain JSON data, for those who know nothing of our tags.

    A dict's keys become strings; should two of them become the same one, it is a list of pairs.
    """
    written = _written(value, Writing(any_class=True))
    return written if written is value else _untagged(written)


def plain_of(text: str) -> Any:
    """Read a stored text as plain JSON data: no class in it needs to be loaded."""
    value = _load(text, _READ)
    try:
        return _untagged(value)
    except RecursionError:
        raise UndecodableValue(TOO_DEEP) from None
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise UndecodableValue(f"a tag is malformed: {shown(str(error))}") from error


def fingerprint(text: str) -> str:
    """Hash an encoded value; the order of keys, and of the items of a set, makes no difference."""
    value = _load(text, _reader(_canonical))
    try:
        canonical = _PRINT_SORTED.encode(value)
    except RecursionError:
        raise UndecodableValue(TOO_DEEP) from None
    return hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()


def _written(value: object, writing: Writing) -> object:
    try:
        written = write(value, 1, writing)
        writing.count(0)  # a last look before the text is made
        return written
    except Refusal as refusal:
        path = "$" + "".join(reversed(refusal.path))
        if len(path) > _PATH_CHARACTERS:
            path = f"{path[: _PATH_CHARACTERS // 2]}…{path[-_PATH_CHARACTERS // 2 + 1 :]}"
        raise UnencodableValue(path, refusal.reason) from None
    except TooLarge as large:
        raise OversizedValue(large.size, writing.limit or 0) from None
    except RecursionError:  # the caller's own stack is nearly full
        raise UnencodableValue("$", TOO_DEEP) from None


def _load(text: str, reader: JSONDecoder) -> Any:
    try:
        return reader.decode(text)
    except UndecodableValue:
        raise
    except RecursionError:
        raise UndecodableValue(TOO_DEEP) from None
    except JSONDecodeError as error:  # not chained: it holds the whole text
        raise UndecodableValue(f"not JSON: {error.msg} at character {error.pos}") from None
    except ValueError:
        raise UndecodableValue("an integer has more digits than Python reads") from None


def _finite(number: str) -> float:
    value = float(number)
    if isinf(value):
        raise UndecodableValue(f"{shown(number)} is larger than a float can be")
    return value


def _no_constant(name: str) -> object:
    raise UndecodableValue(f"{name} is not JSON")


def _reader(hook: Callable[[dict[str, Any]], Any] | None) -> JSONDecoder:
    return JSONDecoder(object_hook=hook, parse_float=_finite, parse_constant=_no_constant)


_READ = _reader(None)
_PRINT = JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)
_PRINT_SORTED = JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)


class _Reading:
    """What one call of decode knows: an annotation, and which class it could not find."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self.not_loaded = ""

    @cached_property
    def annotated(self) -> dict[str, type]:
        """The classes that the annotation names."""
        return classes.named_by(self.annotation)

    def revive(self, found: dict[str, Any]) -> Any:
        """Turn a tagged object into its value; those inside it have been turned already."""
        for key in found:
            if key[:1] == "$":
                return self._tagged(found, key)
        return found

    def validated(self, value: object) -> Any:
        """Let pydantic fill in a class that has been renamed since, where the annotation says."""
        try:
            adapter = TypeAdapter[Any](self.annotation)
            return adapter.validate_python(value, by_name=True, by_alias=False)
        except Exception as error:  # as _instance: code of the user's
            raise _unfit(self.not_loaded, error) from error

    def _tagged(self, found: dict[str, Any], tag: str) -> object:
        reader = self._instance if tag == "$class" else READERS.get(tag)
        if reader is None or len(found) > 1:
            raise UndecodableValue(f"{shown(tag)} is no tag of ours")
        try:
            return reader(found[tag])
        except UndecodableValue:
            raise
        except Exception as error:  # what is stored can be anything
            if self.not_loaded:
                raise _not_loaded(self.not_loaded) from error
            raise UndecodableValue(f"{tag} is malformed: {shown(str(error))}") from error

    def _instance(self, body: Any) -> object:
        name, fields, unset = body if len(body) == 3 else (*body, [])
        cls = classes.loaded(name)
        if cls is None:
            if not self.annotated:
                raise _not_loaded(name)
            cls = self.annotated.get(name) or _namesake(name, self.annotated)
        if cls is None:
            self.not_loaded = name
            return fields
        try:
            return classes.rebuild(cls, fields, unset)
        except Exception as error:  # code of the user's: validators, __post_init__, _missing_
            raise _unfit(name, error) from error


def _namesake(name: str, annotated: dict[str, type]) -> type | None:
    # The class may have moved to another module, or a script's be what the worker imports.
    qualname = name.partition(":")[2]
    namesakes = [cls for known, cls in annotated.items() if known.partition(":")[2] == qualname]
    return namesakes[0] if len(namesakes) == 1 else None


def _not_loaded(name: str) -> UndecodableValue:
    return UndecodableValue(
        f"class {shown(name)} is not loaded: import its module where the flows are defined, or"
        " name it in the function's annotation"
    )


def _unfit(name: str, error: Exception) -> UndecodableValue:
    cause = str(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        cause = f"{'.'.join(str(part) for part in first['loc'])} {first['msg']}"
    return UndecodableValue(f"{shown(name)} does not take what was stored: {shown(cause)}")


def _untagged(value: Any) -> Any:
    if isinstance(value, list):
        return [_untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    tag = next(iter(value), "")
    if tag[:1] != "$":
        return {key: _untagged(item) for key, item in value.items()}
    body = value[tag]
    match tag:
        case "$class":
            return _untagged(body[1])
        case "$dict":
            return _untagged_pairs(body)
        case "$timedelta":
            return timedelta(*body).total_seconds()
        case "$datetime" | "$time" if isinstance(body, list):
            return body[0]
    return _untagged(body)


def _untagged_pairs(pairs: Any) -> Any:
    items = [(_untagged(key), _untagged(item)) for key, item in pairs]
    plain_dict = {key if isinstance(key, str) else _PRINT.encode(key): item for key, item in items}
    return plain_dict if len(plain_dict) == len(items) else [list(pair) for pair in items]


def _canonical(found: dict[str, Any]) -> dict[str, Any]:
    for tag, body in found.items():
        if tag in ("$set", "$frozenset", "$dict") and isinstance(body, list):
            return {tag: sorted(body, key=_PRINT_SORTED.encode)}
        if tag == "$class" and isinstance(body, list):
            return {tag: body[:2]}  # equal models may differ in which fields were left unset
        break
    return found
