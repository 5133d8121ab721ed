"""What a function says that it returns."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, get_type_hints
from weakref import WeakKeyDictionary

_annotations: "WeakKeyDictionary[Any, Any]" = WeakKeyDictionary()


def annotation_of(fn: Callable[..., Any]) -> Any:
    """The return annotation of a function, or ``None``."""
    while isinstance(fn, partial):
        fn = fn.func
    if not inspect.isroutine(fn) and not inspect.isclass(fn):
        fn = type(fn).__call__
    if inspect.isclass(fn):
        return fn
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
