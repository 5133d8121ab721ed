"""What a decorated function says: how it is called, what its event holds, what it returns."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation

from worchflow_celery import codec
from worchflow_celery.callables import check_on_failure, check_signature, is_coroutine
from worchflow_celery.errors import InvalidEventData, InvalidOption, PayloadTooLarge
from worchflow_celery.models import Event
from worchflow_celery.options import FlowOptions, searchable, shown

_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)
_Mode = Literal["python", "json"]
#: How data may be brought into a form that can be stored, best first: as what it is, by alias or
#: by name; else as pydantic writes it, for paths, URLs and the like.
_DUMPS: list[tuple[_Mode, bool]] = [
    ("python", True),
    ("python", False),
    ("json", True),
    ("json", False),
]


@dataclass(frozen=True, slots=True)
class EncodedData:
    """The data of an execution as it is stored."""

    text: str
    fingerprint: str
    search: dict[str, Any]


class Definition:
    """A flow's function and options. Raises ``TypeError`` for a function that cannot be a flow."""

    def __init__(
        self,
        flow_id: str,
        function: Callable[..., Any],
        options: FlowOptions,
        names: Mapping[str, Any] | None = None,
        on_failure: Callable[..., Any] | None = None,
    ) -> None:
        self.id = flow_id
        self.function = function
        self.options = options
        self.wants_step = check_signature(flow_id, function)
        self.is_async = is_coroutine(function)
        #: Called with event, error and step when an execution has failed.
        self.on_failure = on_failure
        if on_failure is not None:
            check_on_failure(flow_id, on_failure, self.is_async)
        #: Names of the function that encloses this one, which its annotations may use.
        self._names = dict(names or {})
        self._adapter: TypeAdapter[Any] | None = None
        self._resolved = False
        self._returns: Any = None
        #: The types that waits of this process have asked of signals; ``None``: anything.
        self._signals: dict[str, list[Any]] = {}
        self._resolve(needed=False)

    def data(self, text: str) -> Any:
        """The data of a stored execution, as the handler gets it.

        Raises ``InvalidEventData`` when it does not fit the event's type.
        """
        try:
            value = _decoded(text)
        except codec.UndecodableValue as error:
            raise InvalidEventData(f"the stored data for flow {self.id!r}: {error}") from error
        return self._validate_stored(value)

    def takes_signals(self, names: Iterable[str], kind: Any) -> None:
        """A wait asks this type of signals; raises ``InvalidOption`` for what is no type."""
        for name in names:
            known = self._signals.setdefault(name, [])
            if kind not in known:
                _check_type(kind)
                known.append(kind)

    def check_signal(self, name: str, text: str) -> None:
        """Refuse a signal that fits none of the waits that are known here."""
        kinds = self._signals.get(name, [None])
        if None in kinds:
            return
        for kind in kinds:
            with suppress(ValidationError, codec.UndecodableValue):
                TypeAdapter(kind).validate_python(codec.decode(text, annotation=kind))
                return
        raise InvalidEventData(f"signal {name!r} for flow {self.id!r}: it is no {kinds[-1]}")

    def encode(self, data: object, limit: int) -> EncodedData:
        """Validate data and bring it into the form in which it is stored and compared."""
        self._resolve()
        value = self._validate(data)
        if self._adapter is None:
            encoded = encode_plain(self.id, value, limit)
            return replace(encoded, search=self._search(value))
        refusal = None
        for mode, by_alias in _DUMPS:
            try:
                text = _encode(
                    f"data for flow {self.id!r}", self._dumped(value, mode, by_alias), limit
                )
            except InvalidEventData as error:
                refusal = refusal or error
                continue
            if self._survives(value, text, mode):
                return EncodedData(text, codec.fingerprint(text), self._search(value))
        raise refusal or InvalidEventData(
            f"data for flow {self.id!r} cannot be stored: what {type(value).__name__} is dumped to "
            "does not validate to the same again; make its validators accept their own output"
        )

    def accepts(self, data: object) -> bool:
        """Whether the event's type takes some data, as far as that is known yet."""
        try:
            if self._resolved:
                self._validate_stored(data)
        except InvalidEventData:
            return False
        except Exception:  # a validator of the user's raises what it likes
            return True
        return True

    @property
    def event_type(self) -> TypeAdapter[Any] | None:
        """What validates the data; ``None`` when the event says nothing of it."""
        self._resolve()
        return self._adapter

    @property
    def returns(self) -> Any:
        """The annotation of the result, or ``None``."""
        self._resolve(needed=False)
        return self._returns

    def _validate(self, value: object) -> Any:
        self._resolve()
        if self._adapter is None:
            return value
        try:
            return self._adapter.validate_python(value)
        except ValidationError as error:
            raise InvalidEventData(f"data for flow {self.id!r}: {_reasons(error)}") from None

    def _validate_stored(self, value: object) -> Any:
        """By alias, as data comes from outside; else by name, as some models are dumped."""
        try:
            return self._validate(value)
        except InvalidEventData:
            try:
                assert self._adapter is not None
                return self._adapter.validate_python(value, by_alias=False, by_name=True)
            except ValidationError:
                pass
            raise

    def _dumped(self, value: object, mode: _Mode, by_alias: bool) -> object:
        assert self._adapter is not None
        how = {"mode": mode, "by_alias": by_alias, "round_trip": True}
        return _dump(self.id, self._adapter, value, how)

    def _survives(self, value: object, text: str, mode: _Mode) -> bool:
        """Whether the worker will read what was sent."""
        try:
            again = self._validate_stored(_decoded(text))
        except InvalidEventData:
            return False
        if again == value or mode == "json":  # as JSON a secret is nothing but asterisks
            return bool(again == value)
        return bool(self._dumped(again, mode, True) == self._dumped(value, mode, True))

    def _search(self, value: object) -> dict[str, Any]:
        found = {}
        for name in self.options.search:
            held = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
            if held is not None:
                found[name] = searchable(held)
        return found

    def _resolve(self, *, needed: bool = True) -> None:
        """Understand the annotations: at once where possible, else when they are needed."""
        if self._resolved:
            return
        try:
            event = _annotation(self.function, "event", self._names)
            self._adapter = _adapter(self.id, event)
        except NameError as error:
            if not needed:
                return  # a class that is defined further down
            raise TypeError(
                f"flow {self.id!r}: the annotation of `event` cannot be evaluated ({error}): "
                "define or import its names where the flow is, not for type checkers only"
            ) from error
        with suppress(NameError):  # it helps to decode; imported for type checkers it does not
            self._returns = _annotation(self.function, "return", self._names)
        self._resolved = True
        self._names = {}


def _decoded(text: str) -> Any:
    """Stored data; of classes that are not loaded only what the event's type makes of them."""
    try:
        return codec.decode(text)
    except codec.UndecodableValue:
        return codec.plain_of(text)


def encode_plain(flow_id: str, data: object, limit: int) -> EncodedData:
    """Data for a flow that nothing is known of: models and dataclasses as mappings."""
    text = _encode(f"data for flow {flow_id!r}", _dump(flow_id, _ANYTHING, data, {}), limit)
    return EncodedData(text, codec.fingerprint(text), {})


def encode_signal(name: str, data: object, limit: int) -> str:
    """The payload of a signal, with its classes."""
    return _encode(f"the payload of signal {name!r}", data, limit)


def _dump(flow_id: str, adapter: TypeAdapter[Any], value: object, how: Mapping[str, Any]) -> object:
    try:
        return adapter.dump_python(value, warnings=False, **how)
    except (ValueError, RecursionError) as error:  # endless nesting, or a serializer of the user's
        reason = shown(str(error), 200)[1:-1]
        raise InvalidEventData(f"data for flow {flow_id!r}: {reason}") from None


def _encode(what: str, plain: object, limit: int) -> str:
    try:
        return codec.encode(plain, limit=limit)
    except codec.OversizedValue as error:
        raise PayloadTooLarge(
            f"{what} has at least {error.size} bytes; the limit is "
            f"{error.limit} (worchflow_max_payload_bytes): store it elsewhere and send a reference"
        ) from None
    except codec.UnencodableValue as error:
        raise InvalidEventData(f"{what}: {error}") from None


def _reasons(error: ValidationError) -> str:
    """The first faults with their places; never the values, which may be secret."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    parts = []
    for fault in faults[:3]:
        place = ".".join(str(part) for part in fault["loc"]) or "data"
        parts.append(f"{shown(place)[1:-1]}: {fault['msg'][:200]}")
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    return "; ".join(parts) + more


def _annotation(function: Callable[..., Any], name: str, names: Mapping[str, Any]) -> Any:
    """One annotation, with the names in it looked up; by itself, since others may not be found."""
    given = getattr(function, "__annotations__", {})
    if name not in given:
        return None
    known = {**getattr(inspect.unwrap(function), "__globals__", {}), **names}
    alone = SimpleNamespace(__annotations__={name: given[name]})
    hints: dict[str, Any] = get_type_hints(alone, known, include_extras=True)
    return hints[name]


def _adapter(flow_id: str, annotation: Any) -> TypeAdapter[Any] | None:
    """What validates the data, or ``None`` when the event says nothing of it."""
    while get_origin(annotation) is Annotated or hasattr(annotation, "__value__"):
        annotation = getattr(annotation, "__value__", None) or get_args(annotation)[0]
    if get_origin(annotation) is not Event:
        return None
    (data_type,) = get_args(annotation)
    if data_type is Any or data_type is object:
        return None
    try:
        return TypeAdapter(data_type)
    except PydanticUndefinedAnnotation:
        raise
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise TypeError(
            f"flow {flow_id!r}: Event[{data_type!r}] is not a type that pydantic can validate "
            f"({str(error).splitlines()[0]})"
        ) from error


def _check_type(kind: Any) -> None:
    try:
        TypeAdapter(kind)
    except Exception as error:  # of what is no type, pydantic and Python raise many kinds
        raise InvalidOption(
            f"type is {shown(kind)}: it must be one that pydantic can validate"
        ) from error
