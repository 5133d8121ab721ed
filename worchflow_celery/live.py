"""Live events: what each process tells of itself, in one capped stream in Redis.

They are for looking, not for deciding. A process hands them to a thread, and goes on; a Redis that
is away costs events, never an execution. An event that was sent while Redis went away may come
twice. What must not be missed is in MongoDB.
"""

import json
import logging
import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Any

from pydantic import ValidationError
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as NoAnswer

from worchflow_celery.clock import timestamp
from worchflow_celery.errors import InvalidOption, LiveUnavailable
from worchflow_celery.models import ExecutionStatus
from worchflow_celery.observed import Update
from worchflow_celery.outbox import Outbox
from worchflow_celery.outcome import cut, message_of
from worchflow_celery.redis_client import connect

logger = logging.getLogger(__name__)

#: Entries that the stream holds, about; and how many events one of them holds at most.
KEPT, TOGETHER = 2_000, 50
#: Seconds after its last event for which the stream is kept.
_KEPT_FOR = 86_400
_LONGEST_TEXT = 500
#: Seconds that one call waits for Redis.
_PATIENCE = 1.0
#: Seconds of one blocking read, so that a watch hears soon that it is closed.
_SLICE = 0.5
_ID = re.compile(r"\d{1,20}(-\d{1,20}(-\d{1,4})?)?")
_AWAY = (NoConnection, NoAnswer)
#: The highest number that Redis gives to an entry, and one that no event of an entry has.
_LAST, _WHOLE = 2**64 - 1, 10_000
#: What is sent of a signal's arguments.
_SENT = frozenset(Update.model_fields)
#: A signal's name, when it was sent, by which worker, and its arguments.
_Told = tuple[str, float, str, Mapping[str, Any]]
#: One call for many events, and one text for many of them: an XADD for each costs this process
#: several times as much. KEYS: the stream. ARGV: its length, its life in seconds, texts.
_ADD = """
for i = 3, #ARGV do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'events', ARGV[i])
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""


class Live:
    """The way of one process's events to the stream. Nothing is connected before the first."""

    def __init__(self, url: str, key: str) -> None:
        self._client = connect(url, _PATIENCE)
        self._key = key
        self._outbox: Outbox[_Told] = Outbox("live events", self._send, again=_AWAY)

    @property
    def dropped(self) -> int:
        """How many events were lost so far."""
        return self._outbox.dropped

    def tell(self, event: str, worker: str, told: Mapping[str, Any]) -> None:
        """Pass a signal on; never fails, never waits."""
        if "error" in told:  # now: it holds the frames that it was raised in
            told = {**told, "error": _error(told["error"])}
        self._outbox.put((event, timestamp(), worker, told))

    def close(self) -> None:
        """Send what is there, and close the connection."""
        self._outbox.close()
        self._client.close()

    def _send(self, events: list[_Told]) -> None:
        told = [one for event in events for one in _written(*event)]
        some = (told[first : first + TOGETHER] for first in range(0, len(told), TOGETHER))
        self._client.eval(_ADD, 1, self._key, KEPT, _KEPT_FOR, *map(_JSON.encode, some))


class Watch(Iterator[Update]):
    """Updates from all processes as they happen; ends when it is closed.

    While Redis is away it waits, and goes on after the last update that it has seen.
    """

    def __init__(
        self, url: str, key: str, execution_id: str | None = None, since: str | None = None
    ) -> None:
        if since is not None and not (isinstance(since, str) and _ID.fullmatch(since)):
            raise InvalidOption(f"since is {since!r:.80}: it must be the id of an update")
        self._key = key
        self._execution_id = execution_id
        self._closed = threading.Event()
        #: Held while the connection is in use; by a signal handler once more.
        self._busy = threading.RLock()
        self._ready: deque[Update] = deque()
        self._client = connect(url, _PATIENCE + _SLICE)
        #: Whether Redis has answered the last time.
        self.connected = True
        try:
            newest = self._newest()
        except RedisError as error:
            self._client.close()
            raise _unavailable(error) from error
        #: The last one that was seen; where it goes on.
        self.last_id = since or newest
        #: The last entry that was read.
        self._read_to = _before(self.last_id)

    def __iter__(self) -> "Watch":
        return self

    def __next__(self) -> Update:
        while not self._closed.is_set():
            if self._ready:
                return self._ready.popleft()
            self._ready.extend(self.poll())
        raise StopIteration

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def poll(self, timeout: float = _SLICE) -> list[Update]:
        """Updates that have come, or come within ``timeout`` seconds (at most half a second)."""
        timeout = max(0.001, min(timeout, _SLICE))
        with self._busy:
            if self._closed.is_set():
                return []
            try:
                if not self.connected:
                    self._reconnect()
                entries = self._read(timeout)
            except _AWAY as error:
                if self.connected:
                    logger.warning("Updates do not come for now: %s", type(error).__name__)
                self.connected = False
                self._closed.wait(timeout)
                return []
            except RedisError as error:
                raise _unavailable(error) from error
            return [update for entry in entries for update in self._seen(*entry)]

    def close(self) -> None:
        """End the watch, from any thread; one that waits ends within half a second."""
        self._closed.set()
        with self._busy:
            self._client.close()

    def _read(self, timeout: float) -> list[tuple[str, Mapping[str, str]]]:
        answer: Any = self._client.xread(
            {self._key: self._read_to}, count=100, block=round(timeout * 1000)
        )
        # In whichever protocol it came; there is one stream.
        streams = answer.values() if isinstance(answer, dict) else [one[1] for one in answer or ()]
        return [entry for stream in streams for entry in stream]

    def _reconnect(self) -> None:
        newest = self._newest()
        # A Redis that has lost the stream, or its end, may count from an earlier time than before.
        self._read_to = min(self._read_to, newest, key=_place)
        self.connected = True

    def _newest(self) -> str:
        found: Any = self._client.xrevrange(self._key, count=1)
        return str(found[0][0]) if found else "0-0"

    def _seen(self, entry: str, fields: Mapping[str, str]) -> Iterator[Update]:
        """The wanted ones of an entry; it may hold some that were seen before."""
        self._read_to, seen = entry, _place(self.last_id)
        try:
            events = list(json.loads(fields["events"]))
        except (ValueError, KeyError, TypeError):
            return  # none of ours
        first = seen[2] + 1 if _place(entry)[:2] == seen[:2] else 0
        for number, event in enumerate(events[first:], first):
            self.last_id = id = f"{entry}-{number}"
            with suppress(ValidationError, TypeError):  # of another version
                update = Update(**{**event, "id": id})
                if self._execution_id in (None, update.execution_id):
                    yield update


def _written(
    event: str, at: float, worker: str, told: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """What stands in the stream of a signal."""
    sent = {name: value for name, value in told.items() if name in _SENT}
    sent |= {"event": event, "at": at, "worker": worker}
    if told.get("status") is ExecutionStatus.COMPLETED:
        yield {**sent, "event": "execution_completed"}
    yield sent


def _before(id: str) -> str:
    """Where to read on, for the entry of this update to come again."""
    time, number, of_entry = _place(id)
    if of_entry == _WHOLE:
        return f"{time}-{number}"
    return f"{time}-{number - 1}" if number else f"{max(time - 1, 0)}-{_LAST}"


def _place(id: str) -> tuple[int, int, int]:
    """The time and the number of an entry, and which one of it; without that it is all of it."""
    time, number, of_entry = (*id.split("-"), "", "")[:3]
    return int(time), int(number or 0), int(of_entry or _WHOLE)


def _error(error: Any) -> dict[str, str]:
    if isinstance(error, BaseException):
        kind, message = type(error).__name__, message_of(error)
    else:
        kind, message = error.type, error.message
    return {"type": cut(kind)[:_LONGEST_TEXT], "message": cut(message)[:_LONGEST_TEXT]}


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


_JSON = json.JSONEncoder(default=_text, separators=(",", ":"))


def _unavailable(error: RedisError) -> LiveUnavailable:
    fault = "does not answer" if isinstance(error, _AWAY) else "refuses"
    return LiveUnavailable(f"Redis, which holds live events, {fault} ({type(error).__name__})")
