"""What `doctor` asks Redis."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis

from worchflow_celery.errors import WorchflowError
from worchflow_celery.redis_client import connect

_PATIENCE = 3.0
#: For a page, which has other things to show.
_SHORTLY = 1.0
_LOOPBACK = {"localhost", "127.0.0.1", "::1", None}


class RedisUnavailable(WorchflowError, ConnectionError):
    """Redis does not answer, or refuses us."""


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What a Redis says of itself."""

    version: str
    #: ``noeviction``, or what it forgets when its memory is full.
    eviction: str
    #: Whether it writes to disk.
    persists: bool
    #: Whether anybody who reaches it may use it.
    open: bool
    #: Whether a scheduler leads.
    led: bool


def redis_facts(url: str, lock: str) -> RedisFacts:
    """Ask a Redis; raises ``RedisUnavailable``, whose text holds no password."""
    try:
        with connect(url, _PATIENCE) as client:
            facts: Mapping[str, Any] = client.info()
            persists = bool(facts.get("aof_enabled")) or _saves(client)
            led = bool(client.exists(lock))
    except (redis.RedisError, ValueError, TypeError, OSError) as error:
        raise _unavailable(url, error) from None
    return RedisFacts(
        version=str(facts.get("redis_version")),
        eviction=str(facts.get("maxmemory_policy", "noeviction")),
        persists=persists,
        open=_is_open(url),
        led=led,
    )


def leader_lock(url: str, lock: str) -> tuple[str, float] | None:
    """Whose the leader's lock is and the seconds that it has left; ``None``: nobody's.

    Raises ``RedisUnavailable``.
    """
    try:
        with connect(url, _SHORTLY) as client, client.pipeline(transaction=False) as both:
            held, left = both.get(lock).pttl(lock).execute()
    except (redis.RedisError, ValueError, TypeError, OSError) as error:
        raise _unavailable(url, error) from None
    return None if held is None else (str(held).partition(":")[0], max(0, left) / 1000)


def _unavailable(url: str, error: Exception) -> RedisUnavailable:
    return RedisUnavailable(f"Redis at {place_of(url)} is not available: {type(error).__name__}")


def _saves(client: "redis.Redis") -> bool:
    try:
        return bool(client.config_get("save").get("save"))
    except redis.ResponseError:  # a managed Redis does not tell
        return False


def place_of(url: str) -> str:
    """The host of a Redis URL, without user, password and options."""
    rest = url.partition("://")[2].partition("?")[0]
    return rest.rpartition("@")[2] or "?"


def _is_open(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return not parts.password and parts.hostname not in _LOOPBACK
    except ValueError:
        return False
