"""From what the log and MongoDB tell to the lines that a reader sees, each of them once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from examples.demo.effects import Effect
from examples.demo.screen import Screen
from worchflow_celery import Execution


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened."""

    at: datetime
    who: str
    what: str
    style: str = ""
    #: More about it, a line each.
    more: tuple[str, ...] = ()


@dataclass
class Timeline:
    """Collects moments from where they are told, and writes them in the order of their times."""

    screen: Screen
    began_at: datetime
    _moments: list[Moment] = field(default_factory=list)
    _effects: int = 0
    _seen: set[tuple[str, str]] = field(default_factory=set)
    #: Which worker has begun the last step of an execution, and its steps that are stored.
    _worker: dict[str, str] = field(default_factory=dict)
    _stored: dict[str, list[str]] = field(default_factory=dict)

    def say(self, who: str, what: str, style: str = "bold", *more: str) -> None:
        """Something that the demo does itself, now."""
        now = datetime.now(UTC)
        self._moments.append(Moment(now, who, what, style, more))
        self.write(until=now)

    def look(self, effects: list[Effect], executions: Iterable[Execution]) -> None:
        """Take up what is new in the whole log and in the records."""
        for effect in effects[self._effects :]:
            self._moments.extend(self._of_effect(effect))
        self._effects = len(effects)
        for execution in executions:
            self._moments.extend(self._of_execution(execution))

    def write(self, until: datetime) -> None:
        """Write what happened until then; later moments may have earlier ones still to come."""
        due = sorted((one for one in self._moments if one.at <= until), key=lambda one: one.at)
        self._moments = [one for one in self._moments if one.at > until]
        for moment in due:
            self.screen.line(
                (f"{self.seconds(moment.at):7.1f}  ", "dim"),
                (f"{moment.who:<10}", moment.who),
                (moment.what, moment.style),
            )
            for line in moment.more:
                self.screen.line(f"{'':19}", (line, moment.style))

    def finish(self) -> None:
        """Write all that is left, also what happened on a clock that is ahead of ours."""
        self.write(until=max((one.at for one in self._moments), default=self.began_at))

    def seconds(self, at: datetime) -> float:
        """Since the beginning."""
        return (at - self.began_at).total_seconds()

    def _of_effect(self, effect: Effect) -> Iterator[Moment]:
        if effect.what == "ready":
            yield Moment(effect.at, f"worker {effect.worker}", "ready", "bold")
        elif effect.what == "begin":
            before = self._worker.setdefault(effect.execution, effect.worker)
            if before != effect.worker:
                self._worker[effect.execution] = effect.worker
                yield self._resumed(effect)
            yield Moment(effect.at, effect.execution, f"{effect.step:<16}  begins")
        elif effect.what == "stored":
            self._stored.setdefault(effect.execution, []).append(effect.step)
            what = f"{effect.step:<16}  ✓ done, checkpoint stored"
            yield Moment(effect.at, effect.execution, what, "good")

    def _resumed(self, effect: Effect) -> Moment:
        stored = ", ".join(self._stored.get(effect.execution, ["nothing"]))
        return Moment(
            effect.at,
            effect.execution,
            f"RESUMED by worker {effect.worker} at: {effect.step}",
            "back",
            (f"read from their checkpoints: {stored}",),
        )

    def _of_execution(self, execution: Execution) -> Iterator[Moment]:
        for attempt in execution.attempts:
            if attempt.outcome == "lost" and attempt.ended_at and self._new(execution, "lost"):
                what = "its lease is over: taken back from the dead worker"
                yield Moment(attempt.ended_at, execution.id, what, "bold")
        if execution.finished_at and self._new(execution, "finished"):
            error = execution.error
            style, more = ("bad", (f"{error.type}: {error.message}",)) if error else ("bold", ())
            yield Moment(execution.finished_at, execution.id, execution.status.upper(), style, more)

    def _new(self, execution: Execution, what: str) -> bool:
        if (execution.id, what) in self._seen:
            return False
        self._seen.add((execution.id, what))
        return True
