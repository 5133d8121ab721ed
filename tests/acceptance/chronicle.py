"""What is left of many executions when all is over, and what must be true of it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from tests.acceptance.lives import Lives, lives
from tests.acceptance.stage import Stage
from worchflow_celery import Execution, StepRecord

Document = dict[str, Any]
ENDED = ("completed", "failed", "cancelled")


class Effect(NamedTuple):
    """One run of a step's function."""

    execution: str
    #: Its idempotency key within the execution.
    key: str
    #: When it began, in seconds since 1970.
    at: float


@dataclass(frozen=True)
class Chronicle:
    """All documents of a place, as MongoDB has them, and the side-effect log."""

    executions: dict[str, Document]
    steps: list[Document]
    signals: list[Document]
    effects: list[Effect]
    #: What a user reads of each execution and of its steps.
    read: dict[str, Execution]
    records: dict[str, list[StepRecord]]
    #: Writes to checkpoints other than inserts, seen in the oplog.
    rewritten: int
    lives: Lives

    @classmethod
    def of(cls, stage: Stage) -> "Chronicle":
        found = {name: documents(stage, name) for name in ("executions", "steps", "signals")}
        ids = [one["_id"] for one in found["executions"]]
        return cls(
            {one["_id"]: one for one in found["executions"]},
            found["steps"],
            found["signals"],
            effects_of(stage.diary.lines()),
            {one: stage.worchflow.get(one) for one in ids},
            {one: stage.worchflow.steps(one) for one in ids},
            rewrites(stage),
            lives(stage),
        )

    def of_flow(self, flow: str) -> list[Execution]:
        return [one for one in self.read.values() if one.flow == flow]

    def checkpoints(self, execution_id: str, kind: str | None = None) -> list[Document]:
        """What was recorded for good of an execution's steps, in the order of their steps."""
        found = [one for one in self._checkpoints if one["_id"].split(" ")[0] == execution_id]
        wanted = [one for one in found if kind is None or one["kind"] == kind]
        return sorted(wanted, key=lambda one: one["seq"])

    @property
    def _checkpoints(self) -> list[Document]:
        return [one for one in self.steps if one["status"] == "completed" or one.get("final")]

    @property
    def identities(self) -> Counter[tuple[str, str]]:
        """How many checkpoints there are of each run that a step may have."""
        return Counter(identity(one) for one in self._checkpoints)

    @cached_property
    def recorded_at(self) -> dict[tuple[str, str], float]:
        return {identity(one): one["finished_at"].timestamp() for one in self._checkpoints}

    @property
    def runs(self) -> Counter[tuple[str, str]]:
        """How often each step ran."""
        return Counter((one.execution, one.key) for one in self.effects)

    @property
    def children(self) -> dict[str, list[str]]:
        """The steps that children name as theirs, by parent."""
        found: dict[str, list[str]] = defaultdict(list)
        for one in self.executions.values():
            if "parent" in one:
                found[one["parent"]["id"]].append(one["parent"]["key"])
        return {parent: sorted(keys) for parent, keys in found.items()}

    def undone(self, execution_id: str) -> list[str]:
        """The steps that were undone, in the order in which that first began."""
        keys = [one.key for one in self.effects if one.execution == execution_id]
        compensations = (key for key in keys if key.startswith("compensate:"))
        return [key.removeprefix("compensate:") for key in dict.fromkeys(compensations)]

    def undoable(self, execution_id: str) -> list[str]:
        """The steps with a compensation that have completed, in their order."""
        return [identity(one)[1] for one in self.checkpoints(execution_id) if one.get("undo")]

    def handler_results(self, execution_id: str) -> dict[str, Any]:
        """What the steps of the handler have recorded last, by key."""
        return {
            one.key: one.result
            for one in self.records[execution_id]
            if one.kind != "compensate" and not one.key.startswith("on_failure")
        }


def identity(checkpoint: Document) -> tuple[str, str]:
    """The execution, and what names a run of its step in an idempotency key."""
    again = checkpoint.get("again")
    parts = [checkpoint.get("phase"), checkpoint["key"], f"again{again}" if again else None]
    return checkpoint["_id"].split(" ")[0], ":".join(filter(None, parts))


def documents(stage: Stage, name: str) -> list[Document]:
    return list(stage.collection(name).find())


def effects_of(lines: Iterable[str]) -> list[Effect]:
    words = (line.split() for line in lines if line.startswith("effect "))
    return [Effect(execution, key, float(at)) for _, execution, key, at in words]


def rewrites(stage: Stage) -> int:
    steps = stage.collection("steps")
    oplog = steps.database.client["local"]["oplog.rs"]
    return oplog.count_documents({"ns": steps.full_name, "op": {"$in": ["u", "d"]}})


def most_open(intervals: Sequence[tuple[float, float]]) -> int:
    """How many of these intervals overlap, at most."""
    starts = (start for start, _ in intervals)
    return max(
        (sum(start <= moment < end for start, end in intervals) for moment in starts), default=0
    )
