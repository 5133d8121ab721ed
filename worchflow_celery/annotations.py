"""What a function says that it returns."""

import inspect
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any, get_type_hints
from weakref import WeakKeyDictionary

_annotations: "WeakKeyDictionary[Any, Any]" = WeakKeyDictionary()


def annotation_of(fn: Callable[..., Any]) -> Any:
    """The return annotation of a function, or ``None``."""
    while isinstance(fn, partial):
        fn = fn.func
    if inspect.isclass(fn):
        return fn
    if type(fn) is not FunctionType and not inspect.isroutine(fn):
        fn = type(fn).__call__
    function = getattr(fn, "__func__", fn)
    if "return" not in getattr(function, "__annotations__", {}):
        return None
    try:
        return _annotations[function]
    except KeyError:
        pass
    try:
        annotation = get_type_hints(function).get("return")
    except Exception:  # an annotation may name anything, also what does not exist
        annotation = None
    _annotations[function] = annotation
    return annotation
