"""How the functions that a flow is made of must be callable."""

import inspect
from contextlib import suppress
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from types import FunctionType, NoneType

from worchflow_celery.options import shown

#: What nearly all functions return.
_DATA = {NoneType, bool, bytes, dict, float, int, list, str, tuple}


def is_generator(function: object) -> bool:
    """Whether a call of it would run nothing yet, but return a generator."""
    if type(function) is FunctionType:  # what nearly all are; `inspect` takes ten times as long
        return bool(function.__code__.co_flags & (CO_GENERATOR | CO_ASYNC_GENERATOR))
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def is_coroutine(function: object) -> bool:
    """Whether a call of it would have to be awaited."""
    if type(function) is FunctionType and not function.__dict__:  # where it would be marked as one
        return bool(function.__code__.co_flags & CO_COROUTINE)
    return inspect.iscoroutinefunction(function)


def is_awaitable(value: object) -> bool:
    """Whether a returned value has yet to be awaited."""
    return type(value) not in _DATA and inspect.isawaitable(value)


def check_signature(flow_id: str, function: object) -> bool:
    """Whether the handler takes ``step``; raises ``TypeError`` when it cannot be called."""
    where = f"flow {flow_id!r}"
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        raise TypeError(f"{where}: {shown(function)} is not a function")
    if is_generator(function):
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


def check_on_failure(flow_id: str, function: object, is_async: bool) -> None:
    where = f"flow {flow_id!r}: on_failure={shown(function)}"
    if not callable(function):
        raise TypeError(f"{where} is not a function")
    if is_generator(function):
        raise TypeError(f"{where} must not be a generator")
    if is_coroutine(function) and not is_async:
        raise TypeError(f"{where} is a coroutine function: it needs an `async def` flow")
    with suppress(ValueError):  # a builtin may hide its signature
        try:
            inspect.signature(function).bind("event", "error", "step")
        except TypeError:
            raise TypeError(f"{where} must take (event, error, step)") from None
