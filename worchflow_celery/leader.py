"""Leadership among schedulers: a term, kept in Redis, renewed in a thread of its own.

The contract::

    follower ──── lock free, or its holder silent for a whole TTL ────► leader
    leader ────── released on exit; not renewed in time; token gone ──► follower

* A leader believes in its term for 0.8 x TTL after the last renewal was *sent*, on a clock that
  counts suspension: it steps down before the lock can expire.
* The lock's value is ``token:counter``; each renewal raises the counter. A follower trusts that
  counter and its own clock, not Redis's: a value that has stood still for a TTL may be replaced,
  also when Redis's clock was set back. A lock that Redis lost is simply free.
* Two leaders at once cost nothing but work: a window's execution has an id that exists once, and
  ordinary entries are reserved in MongoDB before they are sent.
* While Redis is away there is no leader.
"""

import logging
import secrets
import threading

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from worchflow_celery.clock import elapsed

logger = logging.getLogger(__name__)

_TRUST = 0.8
#: KEYS[1] lock; ARGV: the value seen (or ""), ours, TTL in ms. Takes a free or a silent lock.
_ACQUIRE = """
local held = redis.call('GET', KEYS[1])
if held == false or (ARGV[1] ~= '' and held == ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return ARGV[2]
end
return held
"""
#: ARGV: our token, the new value, TTL in ms.
_RENEW = """
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
return 0
"""
_RELEASE = """
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""


class LockUnavailable(ConnectionError):
    """Redis does not answer, so nobody can tell who leads."""


class Leadership:
    """One scheduler's part in the election."""

    def __init__(self, url: str, key: str, ttl: float) -> None:
        # No retries: an answer that comes late is worth nothing here.
        patience = max(0.2, min(2.0, ttl / 5))
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=patience,
            socket_connect_timeout=patience,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._key = key
        self._ttl = ttl
        #: Fresh for each term, so that a former leader cannot renew a later one.
        self.token = ""
        self._counter = 0
        self._sent = 0.0
        self._seen: tuple[str, float] = ("", 0.0)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def leads(self) -> bool:
        """Whether nobody else can lead now."""
        return bool(self.token) and elapsed() - self._sent < _TRUST * self._ttl

    def stand(self) -> bool:
        """Try to become the leader; raises ``LockUnavailable``."""
        self._end_term()
        token, sent = secrets.token_hex(12), elapsed()
        value = f"{token}:0"
        held = str(self._call(_ACQUIRE, self._silent_value(), value))
        if held != value:
            if held != self._seen[0]:
                self._seen = (held, elapsed())
            return False
        self.token, self._counter, self._sent = token, 0, sent
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._keep, args=(token, self._ended), name="worchflow-leader", daemon=True
        )
        self._thread.start()
        return True

    def resign(self) -> None:
        """End the term and free the lock; a Redis that is away lets it expire."""
        token = self.token
        self._end_term()
        if token:
            try:
                self._call(_RELEASE, token)
            except LockUnavailable:
                logger.warning("The leader's lock is left to expire: Redis does not answer")

    def close(self) -> None:
        """Resign and close the connection."""
        self.resign()
        self._redis.close()

    def _end_term(self) -> None:
        self.token = ""
        self._ended.set()

    def _silent_value(self) -> str:
        value, since = self._seen
        return value if value and elapsed() - since > self._ttl else ""

    def _keep(self, token: str, ended: threading.Event) -> None:
        """Renew until the term ends; an error costs nothing but time, which the leader counts."""
        while not ended.wait(self._ttl / 4):
            sent = elapsed()
            self._counter += 1
            try:
                renewed = self._call(_RENEW, token, f"{token}:{self._counter}")
            except LockUnavailable:
                continue
            if ended.is_set() or self.token != token:
                return
            if not renewed:
                logger.warning("Leadership is lost: another scheduler has the lock")
                self.token = ""
                return
            self._sent = sent

    def _call(self, script: str, *arguments: str) -> object:
        milliseconds = str(round(self._ttl * 1000))
        try:
            return self._redis.eval(script, 1, self._key, *arguments, milliseconds)
        except RedisError as error:
            raise LockUnavailable(
                f"Redis, which holds the leader's lock, does not answer ({type(error).__name__})"
            ) from error
