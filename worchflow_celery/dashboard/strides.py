"""How far the executions of a list have come, step by step.  Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worchflow_celery.clock import EPOCH
from worchflow_celery.dashboard.hub import Running
from worchflow_celery.models import Execution

#: Recorded runs of one execution that are read, and marks that are drawn.
MOST_RUNS, _MOST_MARKS = 60, 10
_RANK = {"waiting": 0, "failed": 1, "completed": 2}


@dataclass(frozen=True, slots=True)
class Stride:
    """Where an execution is."""

    #: ``completed``, ``failed``, ``waiting`` or ``processing``, a step each, in their order.
    marks: list[str]
    #: The step that it is in, failed in, or waits in.
    name: str = ""
    #: Since when it is in that step, if that is known.
    since: datetime | None = None
    #: ``name`` is the last step that has completed, of one that goes on.
    after: bool = False
    #: Steps before those that have a mark.
    left: int = 0

    @property
    def words(self) -> str:
        """The marks, for those who do not see them."""
        done = self.marks.count("completed") + self.left
        return f"{done} of {len(self.marks) + self.left} recorded steps completed"


def stride(
    execution: Execution, runs: Sequence[Mapping[str, Any]], running: Running | None
) -> Stride | None:
    """``None`` where nothing is known of any step."""
    steps = _steps(runs)
    if len(runs) >= MOST_RUNS:  # not all of them: which is the last nobody knows
        return Stride([], f"{MOST_RUNS} or more steps")
    status = execution.status.value
    marks = [str(one["status"]) for one in steps]
    name, since, after = "", None, False
    if status == "processing":
        marks.append("processing")
        if running is not None:
            name, since = running.key, running.since
        elif steps:
            name, after = str(steps[-1]["key"]), True
    elif steps and status != "completed":
        name = str(steps[-1]["key"])
    if not marks:
        return None
    return Stride(marks[-_MOST_MARKS:], name, since, after, max(0, len(marks) - _MOST_MARKS))


def _steps(runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The run of each step that tells of it, by first start."""
    found: dict[str, Mapping[str, Any]] = {}
    first: dict[str, datetime] = {}
    for run in runs:
        key, started = run.get("key"), run.get("started_at")
        if run.get("phase") is not None or run.get("status") not in _RANK:
            continue
        if not isinstance(key, str):
            continue  # a document that somebody else has written to
        known = found.get(key)
        if known is None or _RANK[run["status"]] > _RANK[known["status"]]:
            found[key] = run
        at = started if isinstance(started, datetime) else EPOCH
        first[key] = min(first.get(key, at), at)
    return sorted(found.values(), key=lambda run: first[run["key"]])
