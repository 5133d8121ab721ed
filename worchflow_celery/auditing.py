"""The trail of what people do to executions and schedules, by command line or dashboard."""

from worchflow_celery import options
from worchflow_celery.errors import InvalidOption
from worchflow_celery.observed import AuditRecord
from worchflow_celery.runtime import Runtime

_LONGEST = 500


class AuditTrail:
    """What ``worchflow.audit`` is. Nothing is recorded by itself: a call from code is no deed."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def record(
        self, action: str, target: str, *, who: str, n: int = 1, note: str | None = None
    ) -> AuditRecord:
        """Keep who did what to what, and to how many executions or schedules.

        ``target`` is an id, or in words the filter of many. Texts are cut to 500 characters.
        Raises ``StoreUnavailable``.
        """
        if not isinstance(n, int) or isinstance(n, bool) or n < 0:
            raise InvalidOption(f"n is {n!r:.80}: it must be a whole number from 0")
        texts = [_text(action, "action"), _text(target, "target"), _text(who, "who")]
        action, target, who = texts
        note = None if note is None else _text(note, "note")
        return self._runtime.store.audit.insert(who, action, target, n, note)

    def list(
        self, *, target: str | None = None, before: str | None = None, limit: int = 50
    ) -> list[AuditRecord]:
        """Records, newest first, ``limit`` (1 to 1000) of them.

        ``target`` is whose; ``before`` the ``id`` of the last record of the page before.
        """
        options.check_limit(limit)
        target = None if target is None else _text(target, "target")
        before = None if before is None else _text(before, "before")
        return self._runtime.store.audit.newest(limit, before=before, target=target)


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidOption(f"{what} is {options.shown(value)}: it must be a text")
    return value.encode("utf-8", "backslashreplace").decode()[:_LONGEST]
