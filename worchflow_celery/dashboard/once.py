"""A double click does what it says once."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

_REMEMBERED = 1000


class Once:
    """Does what a form or a key asks for once, however often it is sent to this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: OrderedDict[tuple[str, ...], Future[str]] = OrderedDict()

    def __call__(self, key: tuple[str, ...], do: Callable[[], str]) -> str:
        """The answer of the first call, also for one that comes meanwhile."""
        if not key[0]:
            return do()
        with self._lock:
            known = self._done.get(key)
            future = known or self._done.setdefault(key, Future())
            while len(self._done) > _REMEMBERED:
                self._done.popitem(last=False)
        if known is not None:
            return known.result(timeout=30)
        try:
            future.set_result(do())
        except BaseException as error:
            future.set_exception(error)
            with self._lock:
                self._done.pop(key, None)
            raise
        return future.result()
