"""The logger that a handler finds at its event: its lines are kept with the execution."""

import logging
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

#: All flows log here; what tells them apart is in each record's ``execution`` and ``flow``.
_LOGGER = logging.getLogger("worchflow_celery.flows")

#: Keeps a line: level, text, fields.
Keep = Callable[[int, str, Mapping[str, Any]], None]


class FlowLogger(logging.LoggerAdapter[logging.Logger]):
    """A standard logger; what it is told is kept as well, from INFO on whatever its level is."""

    def __init__(self, ids: Mapping[str, object], keep: Keep | None = None) -> None:
        super().__init__(_LOGGER, dict(ids))
        self._keep = keep

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """As of any logger."""
        if self._keep is not None and (level >= logging.INFO or self.isEnabledFor(level)):
            text = _text(msg, args) + _trace(kwargs.get("exc_info"))
            self._keep(level, text, kwargs.get("extra") or {})
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        super().log(level, msg, *args, **kwargs)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the ids to whatever else is given."""
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


def _text(msg: object, args: tuple[Any, ...]) -> str:
    """As a log record makes it; a line that cannot be made must not end a flow."""
    try:
        return logging.LogRecord("", 0, "", 0, msg, args, None).getMessage()
    except Exception:
        return f"{msg!r:.500} (its arguments do not fit)"


def _trace(exc_info: Any) -> str:
    if not exc_info:
        return ""
    if isinstance(exc_info, BaseException):
        return "\n" + "".join(traceback.format_exception(exc_info))
    return "\n" + traceback.format_exc()
