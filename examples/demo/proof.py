"""What the demo proves, out of MongoDB's records and the side-effect log. No I/O, no clock."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from examples.demo.effects import Effect
from worchflow_celery import Execution, ExecutionStatus, StepRecord

#: Seconds after the end of a lease within which another worker goes on.
GRACE = 3.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is there to be judged when the demo is over."""

    sent: tuple[str, ...]
    steps_each: int
    #: As MongoDB has them.
    executions: list[Execution]
    steps: list[StepRecord]
    #: As the side-effect log has them.
    effects: list[Effect]
    killed_at: datetime
    #: When another worker was there to take over.
    replaced_at: datetime
    lease: float

    def runs(self, execution: str, step: str) -> list[datetime]:
        """When a step's function began, each time that it did."""
        return [
            effect.at
            for effect in self.effects
            if effect.what == "begin" and (effect.execution, effect.step) == (execution, step)
        ]

    def checkpoint(self, step: StepRecord) -> datetime:
        """When a step's checkpoint was stored: the first time that anybody says so."""
        told = [
            effect.at
            for effect in self.effects
            if effect.what == "stored"
            and (effect.execution, effect.step) == (step.execution_id, step.name)
        ]
        return min([step.finished_at, *told])


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence, what was measured, and whether that is as promised."""

    text: str
    measured: str
    holds: bool


def examine(evidence: Evidence) -> list[Claim]:
    """All claims; the demo has succeeded if every one of them holds."""
    return [
        _completed(evidence),
        _lost(evidence),
        _finished_steps(evidence),
        _repeated(evidence),
        _interrupted(evidence),
        _return(evidence),
    ]


def _completed(evidence: Evidence) -> Claim:
    done = [one for one in evidence.executions if one.status is ExecutionStatus.COMPLETED]
    total = len(evidence.sent)
    return Claim("payments completed", f"{len(done)} of {total}", len(done) == total > 0)


def _lost(evidence: Evidence) -> Claim:
    ended = {one.id for one in evidence.executions if one.status.finished}
    lost = [one for one in evidence.sent if one not in ended]
    return Claim("executions lost", _listed(lost), not lost)


def _finished_steps(evidence: Evidence) -> Claim:
    done = [one for one in evidence.steps if one.status == "completed"]
    ran = [one for one in done if evidence.runs(one.execution_id, one.name)]
    total = len(evidence.sent) * evidence.steps_each
    text = f"{len(done)} of {total}"
    if len(ran) < len(done):
        text += f", {len(done) - len(ran)} of them without a side effect"
    return Claim("steps finished", text, len(ran) == len(done) == total)


def _repeated(evidence: Evidence) -> Claim:
    repeated = [
        f"{one.execution_id} {one.name}"
        for one in evidence.steps
        if any(run > evidence.checkpoint(one) for run in evidence.runs(one.execution_id, one.name))
    ]
    return Claim("steps repeated after their checkpoint", _listed(repeated), not repeated)


def _interrupted(evidence: Evidence) -> Claim:
    """A step may have run before its checkpoint twice: if the kill was in between."""
    again, groundless = 0, list[str]()
    for step in evidence.steps:
        runs = sorted(evidence.runs(step.execution_id, step.name))
        runs = [run for run in runs if run <= evidence.checkpoint(step)]
        for earlier, later in pairwise(runs):
            if earlier < evidence.killed_at < later:
                again += 1
            else:
                groundless.append(f"{step.execution_id} {step.name}")
    text = f"{again}"
    if groundless:
        text += f", and without a kill {_listed(groundless)}"
    return Claim("steps interrupted and run again", text, again > 0 and not groundless)


def _return(evidence: Evidence) -> Claim:
    """How long the killed worker's executions stood still, at most."""
    returns = list(_returns(evidence))
    if not returns:
        return Claim("slowest return", "none had to return: the kill came too late", False)
    since, taken = "after the kill", max(returns) - evidence.killed_at
    if taken.total_seconds() > evidence.lease + GRACE:
        # The promise needs somebody to keep it: it counts from when another worker is there.
        since = "once a worker was there"
        taken = max(returns) - max(evidence.killed_at, evidence.replaced_at)
    seconds = taken.total_seconds()
    measured = f"{seconds:.1f} s; promised: {evidence.lease:g} s lease + {GRACE:g} s"
    return Claim(f"slowest return {since}", measured, seconds <= evidence.lease + GRACE)


def _returns(evidence: Evidence) -> Iterator[datetime]:
    for execution in evidence.executions:
        for attempt, following in pairwise(execution.attempts):
            if attempt.outcome == "lost" and following.started_at:
                yield following.started_at


def _listed(names: list[str]) -> str:
    return f"{len(names)} ({', '.join(names)})" if names else "0"
