"""What is done about executions after their end: Celery's going on, and their removal."""

from pymongo import DeleteMany
from pymongo.collection import Collection

from worchflow_celery.store.database import Database, translated
from worchflow_celery.store.expressions import belonging
from worchflow_celery.store.records import Document, Due, due_of
from worchflow_celery.store.sweep import BATCH, CLOCKS_APART, LOOK_FIELDS, Scope

#: Seconds between two looks after what Celery has not gone on with.
_FOLLOW_UP_PAUSE = 30.0


class Aftercare:
    """Queries and batch writes on finished executions, safe beside any number of others."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def follow_ups(self, scope: Scope, token: str) -> list[Due]:
        """Finished executions after which Celery has not gone on, won for publishing."""
        mine = {"flow": {"$in": list(scope.flows)}, "queue": {"$in": list(scope.queues)}}
        query = self._passed("follow_up_at")
        change = {
            "follow_up_at": {"$add": ["$$NOW", round(_FOLLOW_UP_PAUSE * 1000)]},
            "publisher": token,
        }
        with translated(self._database.settings):
            found = self._collection.find({**query, **mine}, LOOK_FIELDS).limit(BATCH)
            late = {document["_id"]: due_of(document) for document in found}
            if not late:
                return []
            self._collection.update_many({**query, "_id": {"$in": list(late)}}, [{"$set": change}])
            won = self._collection.find(
                {"_id": {"$in": list(late)}, "publisher": token}, {"_id": 1}
            )
            return [late[document["_id"]] for document in won]

    def purge(self) -> int:
        """Remove executions whose retention is over, their steps first."""
        query = self._passed("expires_at")
        with translated(self._database.settings):
            ids = [one["_id"] for one in self._collection.find(query, {"_id": 1}).limit(BATCH)]
            if not ids:
                return 0
            # Marked first, so that a retry in between does not revive half of an execution.
            mark = {"$set": {"purging": True}}
            self._collection.update_many({**query, "_id": {"$in": ids}}, mark)
            marked = {"_id": {"$in": ids}, "purging": True}
            ids = [one["_id"] for one in self._collection.find(marked, {"_id": 1})]
            belongings = [DeleteMany({"_id": belonging(i)}) for i in ids]
            if belongings:
                for name in ("steps", "signals", "logs"):
                    self._database.collection(name).bulk_write(belongings, ordered=False)
            return self._collection.delete_many(marked).deleted_count

    def _passed(self, name: str) -> Document:
        # The server's own clock decides. Ours, which is not far from it, bounds what is read.
        bound = self._database.now() + CLOCKS_APART
        return {name: {"$lte": bound}, "$expr": {"$lte": [f"${name}", "$$NOW"]}}

    @property
    def _collection(self) -> "Collection[Document]":
        return self._database.collection("executions")
