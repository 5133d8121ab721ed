"""How the functions that a flow is made of must be callable."""

import inspect
from contextlib import suppress

from worchflow_celery.options import shown


def check_signature(flow_id: str, function: object) -> bool:
    """Whether the handler takes ``step``; raises ``TypeError`` when it cannot be called."""
    where = f"flow {flow_id!r}"
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
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


def check_on_failure(flow_id: str, function: object, is_async: bool) -> None:
    where = f"flow {flow_id!r}: on_failure={shown(function)}"
    if not callable(function):
        raise TypeError(f"{where} is not a function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{where} must not be a generator")
    if inspect.iscoroutinefunction(function) and not is_async:
        raise TypeError(f"{where} is a coroutine function: it needs an `async def` flow")
    with suppress(ValueError):  # a builtin may hide its signature
        try:
            inspect.signature(function).bind("event", "error", "step")
        except TypeError:
            raise TypeError(f"{where} must take (event, error, step)") from None
