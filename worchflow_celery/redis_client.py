"""A connection to Redis that waits for nothing for long."""

import redis
from celery.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry


def connect(url: str, patience: float) -> "redis.Redis":
    """A client without retries; nothing is connected yet.

    Raises ``ImproperlyConfigured`` for a URL that redis-py does not understand.
    """
    try:
        client = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), decode_responses=True)
        pool = client.connection_pool
        pool.connection_kwargs |= {"socket_timeout": patience, "socket_connect_timeout": patience}
        pool.connection_class(**pool.connection_kwargs)  # else a bad option shows only later
    except (RedisError, TypeError, ValueError) as error:
        raise ImproperlyConfigured(
            "worchflow_redis_backend: the Redis URL is not valid "
            f"({type(error).__name__}); set a plain redis:// or rediss:// URL"
        ) from None
    return client
