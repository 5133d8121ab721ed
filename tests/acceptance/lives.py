"""The whole lives of executions, write by write, as MongoDB's oplog has them."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.acceptance.stage import Stage


class Moment(NamedTuple):
    """What an execution was after a write."""

    status: str
    epoch: int
    due: bool


Lives = Mapping[str, list[Moment]]


def lives(stage: Stage) -> Lives:
    """What each execution was after each of the writes to it, in their order."""
    executions = stage.collection("executions")
    oplog = executions.database.client["local"]["oplog.rs"]
    present: dict[str, dict[str, Any]] = defaultdict(dict)
    found = defaultdict(list)
    for entry in oplog.find({"ns": executions.full_name, "op": {"$in": ["i", "u"]}}):
        execution_id = (entry.get("o2") or entry["o"])["_id"]
        document = present[execution_id]
        apply(document, entry["o"])
        moment = Moment(document["status"], document["epoch"], "due_at" in document)
        found[execution_id].append(moment)
    return found


def entries(life: list[Moment], status: str) -> int:
    """How often an execution came into a status."""
    before = [None, *(one.status for one in life)]
    return sum(one.status == status != last for one, last in zip(life, before, strict=False))


def apply(document: dict[str, Any], change: Mapping[str, Any]) -> None:
    """Change a document as an entry of the oplog says."""
    if "diff" not in change:  # the whole document
        document.clear()
        document.update(change)
        return
    diff = change["diff"]
    document.update(diff.get("i", {}), **diff.get("u", {}))
    for name in diff.get("d", {}):
        document.pop(name, None)
