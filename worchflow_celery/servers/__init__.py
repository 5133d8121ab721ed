"""Real Redis and MongoDB servers for the demo, tests, benchmarks and development."""

from worchflow_celery.servers.errors import ServersUnavailable
from worchflow_celery.servers.mongo_server import MongoServer
from worchflow_celery.servers.pair import Servers, start
from worchflow_celery.servers.redis_server import RedisServer

__all__ = ["MongoServer", "RedisServer", "Servers", "ServersUnavailable", "start"]
