"""Where one measure works: addresses, and names that no other measure uses."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import redis
from celery import Celery
from pymongo import MongoClient
from pymongo.database import Database

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Handed to workers and feeders as text, so that all of them mean the same names."""

    redis_url: str
    database_url: str
    name: str
    #: Whether workers report each run of a task; it costs both sides one Redis command.
    probed: bool = False

    @classmethod
    def new(cls, redis_url: str, database_url: str, *, probed: bool = False) -> "Place":
        return cls(redis_url, database_url, f"bench{uuid.uuid4().hex[:10]}", probed)

    @classmethod
    def read(cls, text: str) -> "Place":
        return cls(**json.loads(text))

    def text(self) -> str:
        return json.dumps(asdict(self))

    def celery(self, queue: str) -> Celery:
        """An app with one queue, configured as ``celeryconfig.py`` recommends."""
        app = Celery(self.name, broker=self.redis_url, set_as_current=False)
        app.conf.update(
            task_default_queue=queue,
            task_ignore_result=True,
            worker_prefetch_multiplier=1,
            broker_connection_retry_on_startup=True,
            broker_transport_options={"visibility_timeout": 12 * 3600},
        )
        return app

    def client(self) -> "MongoClient[Document]":
        """MongoDB with the promises that Worchflow asks for: a majority's disks."""
        return MongoClient(
            self.database_url,
            tz_aware=True,
            w="majority",
            journal=True,
            readConcernLevel="majority",
            retryWrites=True,
        )

    def database(self, client: "MongoClient[Document]") -> "Database[Document]":
        return client.get_default_database("worchflow")

    def broker(self) -> "redis.Redis":
        return redis.Redis.from_url(self.redis_url, socket_timeout=None)  # some wait for long

    def clean(self) -> None:
        """Remove what the measure left."""
        with self.client() as client:
            database = self.database(client)
            for name in database.list_collection_names(filter=_begins(self.name)):
                database.drop_collection(name)
        with self.broker() as broker:
            for key in broker.scan_iter(f"*{self.name}*"):
                broker.delete(key)


def _begins(prefix: str) -> Mapping[str, Any]:
    return {"name": {"$regex": f"^{prefix}"}}
