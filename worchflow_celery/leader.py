"""Leadership among schedulers: a term, kept in Redis, renewed in a thread of its own.

The contract::

                 lock free, or its value unchanged for a whole TTL
    follower ────────────────────────────────────────────────────────► leader
       ▲                                                                  │
       └──── not renewed for 0.8 x TTL; lock taken; loop hangs; exit ─────┘

* A leader believes in its term for 0.8 x TTL after the last renewal was *sent*, on a clock that
  counts suspension: it steps down before the lock can expire.
* The lock's value is ``token:counter``; each renewal raises the counter. A follower trusts that
  counter and its own clock, not Redis's: a value that has stood still for a TTL may be replaced,
  also when Redis's clock was set back. A lock that Redis lost belongs to the first who asks, and
  that may be its leader.
* A term is renewed only while the loop that leads gives signs of life.
* Two leaders at once cost nothing but work: what becomes of a window is decided once in MongoDB,
  and ordinary entries are reserved there before they are sent.
* While Redis is away there is no leader.
"""

import logging
import secrets
import threading
from collections import deque

from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as NoAnswer

from worchflow_celery.clock import elapsed
from worchflow_celery.errors import WorchflowError
from worchflow_celery.redis_client import connect

logger = logging.getLogger(__name__)

_TRUST = 0.8
#: KEYS: the lock. ARGV: TTL in ms, our name, the value seen to stand still (or ""), our value.
#: Takes a lock that is free, silent, or ours though we do not know: an answer may be lost.
_ACQUIRE = """
local held = redis.call('GET', KEYS[1])
if held == false or held == ARGV[3] or string.sub(held, 1, #ARGV[2]) == ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[1])
  return ARGV[4]
end
return held
"""
#: ARGV: TTL in ms, our token, the new value. Makes a lock that Redis has lost anew.
_RENEW = """
local held = redis.call('GET', KEYS[1])
if held == false or string.sub(held, 1, #ARGV[2]) == ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[1])
  return 1
end
return 0
"""
#: ARGV: TTL in ms, our name.
_RELEASE = """
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[2]) == ARGV[2] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""


class LockUnavailable(WorchflowError, ConnectionError):
    """Redis does not answer, or refuses us, so nobody can tell who leads."""


class _Term:
    """One stay as leader, or the attempt at one."""

    def __init__(self, token: str = "") -> None:
        #: Fresh for each term, so that a former leader cannot renew a later one.
        self.token = token
        #: When the last renewal that was accepted was sent.
        self.renewed_at = float("-inf")
        self.renewals = 0
        self.over = threading.Event()


class Leadership:
    """One scheduler's part in the election. Nothing is connected before the first call.

    A loop that gives no sign of life for ``hangs`` seconds does not lead for long.
    """

    def __init__(self, url: str, key: str, ttl: float, *, hangs: float) -> None:
        self._patience = max(0.2, min(2.0, ttl / 5))
        self._redis = connect(url, self._patience)
        self._key = key
        self._ttl = ttl
        self._hangs = hangs
        self._name = f"{secrets.token_hex(8)}."
        self._term = _Term()
        self._keeper: threading.Thread | None = None
        self._sign_of_life = elapsed()
        #: What the lock held when it was last seen to change, and when that was.
        self._seen: tuple[str, float] = ("", 0.0)
        self._away = False
        #: The first error of each outage of Redis, for whoever takes them out.
        self.outages: deque[LockUnavailable] = deque(maxlen=100)

    @property
    def token(self) -> str:
        """Of the present term."""
        return self._term.token

    def leads(self) -> bool:
        """Whether nobody else can lead now. Asking is the sign of life of the loop that asks."""
        self._sign_of_life = elapsed()
        return self._is_trusted(self._term)

    def stand(self) -> bool:
        """Try to become the leader; raises ``LockUnavailable``."""
        self._term.over.set()
        # Known before the call: whatever becomes of that, `resign` frees the lock.
        term = self._term = _Term(self._name + secrets.token_hex(8))
        sent, value = elapsed(), f"{term.token}:0"
        held = str(self._call(_ACQUIRE, self._name, self._silent_value(), value))
        if held != value:
            self._term = _Term()
            if held != self._seen[0]:
                self._seen = (held, elapsed())
            return False
        term.renewed_at = self._sign_of_life = sent
        self._keeper = threading.Thread(
            target=self._keep, args=(term,), name="worchflow-leader", daemon=True
        )
        self._keeper.start()
        return True

    def resign(self) -> None:
        """End the term and free the lock; a Redis that is away lets it expire."""
        term, self._term = self._term, _Term()
        term.over.set()
        if self._keeper is not None:  # a renewal that comes after the release would undo it
            self._keeper.join(2 * self._patience)
        if term.token:
            try:
                self._call(_RELEASE, self._name)
            except LockUnavailable:
                logger.warning("The leader's lock is left to expire: Redis does not answer")

    def close(self) -> None:
        """Resign and close the connection."""
        self.resign()
        self._redis.close()

    def _silent_value(self) -> str:
        value, since = self._seen
        return value if elapsed() - since > self._ttl else ""

    def _is_trusted(self, term: _Term) -> bool:
        return not term.over.is_set() and elapsed() - term.renewed_at < _TRUST * self._ttl

    def _keep(self, term: _Term) -> None:
        """Renew until the term ends; an error costs nothing but time, which the leader counts."""
        pause = self._ttl / 4
        while not term.over.wait(pause) and self._is_trusted(term):
            if elapsed() - self._sign_of_life > self._hangs:
                logger.error("The scheduler's loop hangs: another scheduler may lead")
                break
            try:
                self._renew(term)
                pause = self._ttl / 4
            except LockUnavailable:
                pause = self._ttl / 20
        term.over.set()

    def _renew(self, term: _Term) -> None:
        sent = elapsed()
        term.renewals += 1
        if self._call(_RENEW, term.token, f"{term.token}:{term.renewals}"):
            term.renewed_at = sent
        elif not term.over.is_set():
            logger.warning("Another scheduler has taken the leader's lock")
            term.over.set()

    def _call(self, script: str, *arguments: str) -> object:
        milliseconds = str(round(self._ttl * 1000))
        try:
            answer = self._redis.eval(script, 1, self._key, milliseconds, *arguments)
        except (RedisError, ValueError) as error:  # the second: the key holds no text
            unavailable = LockUnavailable(
                f"Redis, which holds the leader's lock, {_fault(error)} ({type(error).__name__})"
            )
            if not self._away:
                self._away = True
                self.outages.append(unavailable)
            raise unavailable from error
        self._away = False
        return answer


def _fault(error: Exception) -> str:
    return "does not answer" if isinstance(error, NoConnection | NoAnswer) else "refuses"
