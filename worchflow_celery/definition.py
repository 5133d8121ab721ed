"""What a decorated function says: how it is called, what its event holds, what it returns."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args, get_origin

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation

from worchflow_celery import codec
from worchflow_celery.errors import InvalidEventData, PayloadTooLarge
from worchflow_celery.models import Event
from worchflow_celery.options import FlowOptions, searchable, shown

_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


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
    ) -> None:
        self.id = flow_id
        self.function = function
        self.options = options
        self.wants_step = _check_signature(flow_id, function)
        self.is_async = inspect.iscoroutinefunction(function)
        #: Names of the function that encloses this one, which its annotations may use.
        self._names = dict(names or {})
        self._adapter: TypeAdapter[Any] | None = None
        self._resolved = False
        self._returns: Any = inspect.Signature.empty
        self._resolve()

    def data(self, text: str) -> Any:
        """The data of a stored execution, as the handler gets it.

        Raises ``InvalidEventData`` when it does not fit the event's type.
        """
        try:
            value = _decoded(text)
        except codec.UndecodableValue as error:
            raise InvalidEventData(f"the stored data for flow {self.id!r}: {error}") from error
        return self._validate(value)

    def encode(self, data: object, limit: int) -> EncodedData:
        """Validate data and bring it into the form in which it is stored and compared."""
        self._resolve()
        value = self._validate(data)
        if self._adapter is None:
            encoded = encode_plain(self.id, value, limit)
            return replace(encoded, search=self._search(value))
        for by_alias in (True, False):
            plain = self._adapter.dump_python(
                value, by_alias=by_alias, round_trip=True, warnings=False
            )
            text = _encode(self.id, plain, limit)
            if self._fits(text):
                return EncodedData(text, codec.fingerprint(text), self._search(value))
        raise InvalidEventData(
            f"data for flow {self.id!r} cannot be stored: what {type(value).__name__} is dumped to "
            "does not validate again; make its validators accept their own output"
        )

    @property
    def returns(self) -> Any:
        """The annotation of the result, or ``None``."""
        self._resolve()
        return None if self._returns is inspect.Signature.empty else self._returns

    def _validate(self, value: object) -> Any:
        self._resolve()
        if self._adapter is None:
            return value
        try:
            return self._adapter.validate_python(value)
        except ValidationError as error:
            raise InvalidEventData(f"data for flow {self.id!r}: {_reasons(error)}") from None

    def _fits(self, text: str) -> bool:
        try:
            self._validate(_decoded(text))
        except InvalidEventData:
            return False
        return True

    def _search(self, value: object) -> dict[str, Any]:
        found = {}
        for name in self.options.search:
            held = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
            if held is not None:
                found[name] = searchable(held)
        return found

    def _resolve(self) -> None:
        """Understand the annotations: at once where possible, else when they are needed."""
        if self._resolved:
            return
        try:
            annotations = _annotations(self.function, self._names)
            self._adapter = _adapter(self.id, annotations.get("event"))
        except (NameError, PydanticUndefinedAnnotation):
            return  # a class that is defined further down
        self._returns = annotations.get("return", inspect.Signature.empty)
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
    plain = _ANYTHING.dump_python(data, warnings=False)
    text = _encode(flow_id, plain, limit)
    return EncodedData(text, codec.fingerprint(text), {})


def _encode(flow_id: str, plain: object, limit: int) -> str:
    try:
        return codec.encode(plain, limit=limit)
    except codec.OversizedValue as error:
        raise PayloadTooLarge(
            f"data for flow {flow_id!r} has {error.size} bytes; the limit is {error.limit} "
            "(worchflow_max_payload_bytes): store it elsewhere and send a reference"
        ) from None
    except codec.UnencodableValue as error:
        raise InvalidEventData(f"data for flow {flow_id!r}: {error}") from None


def _reasons(error: ValidationError) -> str:
    """The first faults with their places; never the values, which may be secret."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    parts = []
    for fault in faults[:3]:
        place = ".".join(str(part) for part in fault["loc"]) or "data"
        parts.append(f"{shown(place)[1:-1]}: {fault['msg'][:200]}")
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    return "; ".join(parts) + more


def _check_signature(flow_id: str, function: object) -> bool:
    """Whether the handler takes ``step``; raises ``TypeError`` when it cannot be called."""
    where = f"flow {flow_id!r}"
    if not callable(function):
        raise TypeError(f"{where}: {shown(function)} is not a function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{where}: the handler must not be a generator; return the result")
    parameters = inspect.signature(function).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    named = kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    if not named or "event" not in parameters or not set(parameters) <= {"event", "step"}:
        raise TypeError(
            f"{where}: the handler takes ({', '.join(parameters)}); it must take `event` and, "
            "if it wants it, `step`"
        )
    return "step" in parameters


def _annotations(function: Callable[..., Any], names: Mapping[str, Any]) -> dict[str, Any]:
    raw = getattr(function, "__annotations__", {})
    known = {**getattr(inspect.unwrap(function), "__globals__", {}), **names}
    return {
        name: eval(value, known) if isinstance(value, str) else value for name, value in raw.items()
    }


def _adapter(flow_id: str, annotation: Any) -> TypeAdapter[Any] | None:
    """What validates the data, or ``None`` when the event says nothing of it."""
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
