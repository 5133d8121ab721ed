"""The same by hand: what a careful team writes with Celery and pymongo, and nothing more.

Insert before the message, a claim by compare-and-set, one journaled majority insert for each
step, one final update. It has no lease, no fencing, no dispatcher, no codec of types and no
secondary index: what it does not do, it does not pay for.
"""

import json
import uuid
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from celery import Task
from pymongo import ReturnDocument
from pymongo.collection import Collection
from pymongo.database import Database

from benchmarks.place import Document, Place
from benchmarks.work import effect, order


class Hand:
    """A plain Celery app: a task that does nothing, and a durable one written by hand."""

    name = "hand"

    def __init__(self, place: Place) -> None:
        self._place = place
        self.queue = f"{place.name}.hand"
        self.prefix = f"{place.name}_hand"
        self.app = place.celery(self.queue)
        self.nothing: Any = self.app.task(name="nothing")(_nothing)
        self.task: Any = self._durable_task()

    @cached_property
    def _database(self) -> "Database[Document]":
        """Opened by the process that uses it, after its pool has forked it."""
        return self._place.database(self._place.client())

    @cached_property
    def executions(self) -> "Collection[Document]":
        return self._database[f"{self.prefix}_executions"]

    @cached_property
    def steps(self) -> "Collection[Document]":
        return self._database[f"{self.prefix}_steps"]

    def send(self, steps: int, *, fails: bool = False) -> str:
        """Start an execution; return its id."""
        execution_id = str(uuid.uuid4())
        document = {
            "_id": execution_id,
            "task": "hand",
            "data": _dumped(order(steps, fails=fails)),
            "status": "queued",
            "attempt": 0,
            "created_at": datetime.now(UTC),
        }
        self.executions.insert_one(document)
        self.task.apply_async((execution_id,), task_id=execution_id)
        return execution_id

    def _durable_task(self) -> Any:
        @self.app.task(name="hand", bind=True, max_retries=1)
        def hand(task: "Task[Any, Any]", execution_id: str) -> None:
            self._run(task, execution_id)

        return hand

    def _run(self, task: "Task[Any, Any]", execution_id: str) -> None:
        claimed = self.executions.find_one_and_update(
            {"_id": execution_id, "status": {"$in": ["queued", "retrying"]}},
            {
                "$set": {"status": "processing", "started_at": datetime.now(UTC)},
                "$inc": {"attempt": 1},
            },
            return_document=ReturnDocument.AFTER,
        )
        if claimed is None:
            return
        data, attempt = json.loads(claimed["data"]), claimed["attempt"]
        done = self._recorded(execution_id) if attempt > 1 else {}
        for number in range(data["steps"]):
            self._step(execution_id, f"step#{number + 1}", number, done)
        if data["fails"] and attempt == 1:
            self._settle(execution_id, attempt, {"status": "retrying"})
            raise task.retry(exc=ConnectionError("as it was asked to"), countdown=0)
        ended = {"result": _dumped({"steps": data["steps"]}), "finished_at": datetime.now(UTC)}
        self._settle(execution_id, attempt, {"status": "completed", **ended})

    def _step(self, execution_id: str, key: str, number: int, done: dict[str, str]) -> Any:
        if key in done:
            return json.loads(done[key])
        started_at = datetime.now(UTC)
        text = _dumped(effect(number))
        document = {
            "_id": f"{execution_id} {key}",
            "name": "step",
            "result": text,
            "started_at": started_at,
            "finished_at": datetime.now(UTC),
        }
        self.steps.insert_one(document)
        return json.loads(text)

    def _recorded(self, execution_id: str) -> dict[str, str]:
        within = {"$gte": f"{execution_id} ", "$lt": f"{execution_id}!"}
        found = self.steps.find({"_id": within}, batch_size=100_000)
        return {one["_id"].partition(" ")[2]: one["result"] for one in found}

    def _settle(self, execution_id: str, attempt: int, change: Document) -> None:
        held = {"_id": execution_id, "attempt": attempt, "status": "processing"}
        self.executions.update_one(held, {"$set": change})


def _nothing() -> None:
    """The least that a Celery task can be."""


def _dumped(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
