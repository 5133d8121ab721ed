"""The only place that reads a clock."""

import time
from datetime import UTC, datetime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Counts the time in which the machine slept, where the system offers it: a lease goes on
#: running out while a laptop is closed or a virtual machine is paused.
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)


def utcnow() -> datetime:
    """The present time, aware, UTC, to the millisecond that MongoDB keeps."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def timestamp() -> float:
    """The present time in seconds since 1970, where it is to cost next to nothing."""
    return time.time()


def elapsed() -> float:
    """Seconds on a clock that never goes back and does not stop in suspension."""
    if _BOOTTIME is None:
        return time.monotonic()
    return time.clock_gettime(_BOOTTIME)
