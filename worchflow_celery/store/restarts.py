"""What a restarted execution takes over from the one before it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymongo.collection import Collection

from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.expressions import belonging
from worchflow_celery.store.records import Copied, Document, corrupt

#: The epoch of copied checkpoints: none that a claim has.
COPY_EPOCH = 0


@dataclass(frozen=True, slots=True)
class Source:
    """An execution as one like it is started."""

    flow: str
    #: Encoded.
    data: str
    data_hash: str
    queue: str
    priority: int | None
    search: Mapping[str, Any]


class Restarts:
    """Reads of the execution that is restarted, and the copies of its checkpoints."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def source(self, execution_id: str) -> Source | None:
        """What there is to be started again; ``None``: no such execution."""
        query = {"_id": {"$eq": execution_id}, "purging": {"$exists": False}}
        names = Source.__dataclass_fields__
        with translated(self._database.settings):
            found = self._database.collection("executions").find_one(query, dict.fromkeys(names, 1))
        if found is None:
            return None
        try:
            present = {name: found[name] for name in names if name in found}
            return Source(**{"priority": None, "search": {}, **present})
        except TypeError as error:
            raise corrupt("execution", execution_id, error) from error

    def place_of(self, execution_id: str, key: str) -> int | None:
        """Which step of its attempt it was that has this key; ``None``: none has."""
        first = f"{execution_id} {key}"
        # Its checkpoint, and with a tab behind the key its failures.
        within = {"$gte": first, "$lt": first + "\n"}
        query = {"_id": within, "phase": {"$exists": False}}
        with translated(self._database.settings):
            found = [document["seq"] for document in self._steps.find(query, {"seq": 1})]
        return min(found, default=None)

    def count(self, copied: Copied) -> int:
        """How many checkpoints there are to be copied."""
        with translated(self._database.settings):
            return self._steps.count_documents(self._taken_over(copied))

    def copy(self, copied: Copied, execution_id: str) -> None:
        """Copy checkpoints, in MongoDB itself; those that are there already stay as they are."""
        renamed = {
            "_id": {"$concat": [{"$literal": f"{execution_id} "}, "$key"]},
            "epoch": {"$literal": COPY_EPOCH},
            "again": "$$REMOVE",
        }
        merge = {"into": self._steps.name, "on": "_id", "whenMatched": "keepExisting"}
        with translated(self._database.settings):
            taken_over = self._taken_over(copied)
            self._steps.aggregate([{"$match": taken_over}, {"$set": renamed}, {"$merge": merge}])

    def _taken_over(self, copied: Copied) -> Document:
        """What a later attempt would replay of the steps before that one, but for what is undone.

        A step that was undone may have run again since, and that may count.
        """
        within = {"_id": belonging(copied.of)}
        done = {**within, "phase": "compensate", "status": "completed"}
        undone = Counter(one["key"] for one in self._steps.find(done, {"key": 1}))
        again: list[Document] = [{"key": key, "again": times} for key, times in undone.items()]
        stands = {"$or": [{"key": {"$nin": list(undone)}}, *again]}
        is_replayed = {"$or": [{"status": "completed"}, {"final": True}]}
        of_the_handler = {"seq": {"$lt": copied.before}, "phase": {"$exists": False}}
        return {**within, **of_the_handler, "$and": [is_replayed, stands]}

    @property
    def _steps(self) -> "Collection[Document]":
        return self._database.collection("steps")
