"""What may be seen of payloads: one hook, for pages, API, streams, logs and commands alike."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from worchflow_celery import codec
from worchflow_celery.models import ErrorInfo, Execution, StepRecord

#: Given a flow's id and a value as plain JSON data (an event's data, a result, an error's text),
#: it returns what is shown instead.
Redact = Callable[[str, Any], Any]

HIDDEN = "[hidden]"
FAILED = "[hidden: the redact hook failed]"

logger = logging.getLogger(__name__)


def fields(*names: str) -> Redact:
    """A hook that hides the values of these keys, wherever they are, in upper or lower case."""
    hidden = {name.casefold() for name in names}

    def redact(flow: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                key: HIDDEN if str(key).casefold() in hidden else redact(flow, item)
                for key, item in value.items()
            }
        return [redact(flow, item) for item in value] if isinstance(value, list) else value

    return redact


def nothing(flow: str, value: Any) -> Any:
    """The hook for those who may see no payload at all; that there is none is no secret."""
    return None if value is None else HIDDEN


class Redactor:
    """Applies a hook; without one everything is shown as it is."""

    def __init__(self, hook: Redact | None = None) -> None:
        self._hook = hook

    def value(self, flow: str, value: Any) -> Any:
        """A payload as plain JSON data; never the payload itself when the hook fails."""
        shown = _plain(value)
        if self._hook is None:
            return shown
        try:
            return _plain(self._hook(flow, shown))
        except Exception:  # the hook is the user's
            logger.warning("The redact hook failed for a payload of flow %s", flow, exc_info=True)
            return FAILED

    def text(self, flow: str, text: str | None) -> str | None:
        """A text that may hold parts of a payload: of an error, of a log."""
        return text if self._hook is None or text is None else str(self.value(flow, text))

    def error(self, flow: str, error: ErrorInfo | None) -> ErrorInfo | None:
        """An error whose texts may be seen."""
        if error is None or self._hook is None:
            return error
        texts = {name: self.text(flow, getattr(error, name)) for name in ("message", "traceback")}
        return error.model_copy(update=texts)

    def execution(self, execution: Execution) -> Execution:
        """An execution that may be shown."""
        flow = execution.flow
        attempts = [
            one.model_copy(update={"error": self.error(flow, one.error)})
            for one in execution.attempts
        ]
        return execution.model_copy(
            update={
                "data": self.value(flow, execution.data),
                "result": self.value(flow, execution.result),
                "error": self.error(flow, execution.error),
                "attempts": attempts,
            }
        )

    def step(self, flow: str, step: StepRecord) -> StepRecord:
        """A step that may be shown."""
        return step.model_copy(
            update={
                "result": self.value(flow, step.result),
                "error": self.error(flow, step.error),
            }
        )


def _plain(value: Any) -> Any:
    try:
        return codec.plain(value)
    except codec.UnencodableValue:
        return repr(value)[:200]
