"""An execution as bars over time; long idle times are folded.  Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from worchflow_celery.dashboard import format as texts
from worchflow_celery.models import Attempt, Execution
from worchflow_celery.store.records import Checkpoint

#: Per cent of the width that a folded idle time takes, and all of them together.
_FOLDED, _MOST_FOLDED = 4.0, 40.0
#: Kinds of steps that hold no worker.
_WAITS = ("sleep", "signal", "invoke")
#: Per cent under which a bar could not be seen.
_LEAST = 0.4
_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300)
_LONG_STEPS = (600, 1800, 3600, 7200, 21_600, 43_200, 86_400)

Interval = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Bar:
    """One run of a step, in per cent of the width."""

    x: str
    width: str
    #: ``completed``, ``failed``, ``waiting``, ``processing`` or ``queue``.
    look: str
    #: What it is, for those who point at it and those who do not see it.
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line: a step, or the wait for a worker."""

    label: str
    bars: list[Bar]
    #: The time that it took.
    took: str
    #: How it stands: a status word.
    status: str
    note: str = ""
    #: The step's key, to find what it returned.
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on the axis, or of a fold or a new attempt."""

    x: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Waterfall:
    """All that is drawn."""

    lines: list[Line]
    ticks: list[Tick]
    folds: list[Tick]
    attempts: list[Tick]


class Scale:
    """Maps moments to per cent of the width."""

    def __init__(self, busy: Sequence[Interval]) -> None:
        merged = _merged(busy)
        total = sum((end - start).total_seconds() for start, end in merged) or 0.001
        gaps = [(one[1], two[0]) for one, two in pairwise(merged)]
        self.folded = [gap for gap in gaps if _seconds(gap) > max(1.0, 0.3 * total)]
        fold = min(_FOLDED, _MOST_FOLDED / max(1, len(self.folded)))
        self._pieces: list[tuple[datetime, datetime, float, float]] = []
        bounds = [merged[0][0], *(moment for gap in self.folded for moment in gap), merged[-1][1]]
        pieces = list(pairwise(bounds))
        shown = sum(_seconds(one) for one in pieces if one not in self.folded) or 0.001
        x, room = 0.0, 100 - fold * len(self.folded)
        for one in pieces:
            width = fold if one in self.folded else room * _seconds(one) / shown
            self._pieces.append((*one, x, x + width))
            x += width

    def x(self, moment: datetime) -> float:
        """The place of a moment."""
        for start, end, left, right in self._pieces:
            if moment <= end:
                share = _seconds((start, max(moment, start))) / (_seconds((start, end)) or 1)
                return left + (right - left) * share
        return 100.0

    def ticks(self) -> list[Tick]:
        """Round times since the beginning, or since the last fold, where there is room for them."""
        shown = [one for one in self._pieces if (one[0], one[1]) not in self.folded]
        seconds = sum(_seconds((one[0], one[1])) for one in shown)
        step = next((one for one in (*_STEPS, *_LONG_STEPS) if seconds / one <= 6), 86_400 * 7)
        found = [] if self.folded else [Tick("0", "0")]
        last = 0.0
        for start, end, left, right in shown:
            length = _seconds((start, end))
            for number in range(1, min(100, int(length / step)) + 1):
                place = left + (right - left) * number * step / length
                if place - last >= 9 and place < min(96.0, right - 5 * bool(self.folded)):
                    plus = "+" if self.folded else ""
                    found.append(Tick(_percent(place), plus + _tick(number * step)))
                    last = place
        return found


def waterfall(
    execution: Execution, runs: Sequence[Checkpoint], now: datetime, running: str | None = None
) -> Waterfall:
    """Lay out an execution; ``running`` is the key of the step that runs now, if that is known."""
    started = execution.started_at
    end = execution.finished_at or now
    begun = started or (end if execution.status.finished else now)
    queue = (execution.created_at, max(begun, execution.created_at))
    spans = [(run, (_start_of(run, runs), _end_of(run, runs, end))) for run in runs]
    stay = _present_stay(execution, runs, now)
    # Waiting is idle, as the time in the queue is: it is folded when it is long.
    busy = [span for run, span in spans if run.kind not in _WAITS]
    busy += [(moment, moment) for _, span in spans for moment in span]
    busy += [(moment, moment) for moment in (*queue, end)]
    busy += [stay] if stay else []
    scale = Scale(busy)
    lines = [_queue_line(scale, queue, execution)]
    lines += [_step_line(scale, key, of_step) for key, of_step in _by_key(spans)]
    if stay:
        lines.append(_running_line(scale, stay, running))
    return Waterfall(
        lines,
        scale.ticks(),
        [Tick(_percent(scale.x(gap[0])), _fold(gap)) for gap in scale.folded],
        _attempt_ticks(scale, execution.attempts),
    )


def _start_of(run: Checkpoint, runs: Sequence[Checkpoint]) -> datetime:
    """When a run began; one that waited has its beginning in another record."""
    same = [one.started_at for one in runs if (one.key, one.attempt) == (run.key, run.attempt)]
    return min(same) if run.kind in _WAITS else run.started_at


def _end_of(run: Checkpoint, runs: Sequence[Checkpoint], end: datetime) -> datetime:
    """When a run was over; one that waits has its end in another record, or not yet."""
    if run.finished_at is not None:
        return max(run.finished_at, run.started_at)
    ended = [one.finished_at for one in runs if one.key == run.key and one.finished_at is not None]
    return max(max(ended, default=end), run.started_at)


def _present_stay(
    execution: Execution, runs: Sequence[Checkpoint], now: datetime
) -> Interval | None:
    """What a worker does now: since its last step, or since it began."""
    if execution.status != "processing" or execution.started_at is None:
        return None
    stays = [one.ended_at for one in execution.attempts if one.ended_at]
    ends = [run.finished_at for run in runs if run.finished_at]
    since = max([execution.started_at, *stays, *ends])
    return since, max(now, since)


def _by_key(
    spans: Iterable[tuple[Checkpoint, Interval]],
) -> Iterable[tuple[str, list[tuple[Checkpoint, Interval]]]]:
    found: dict[str, list[tuple[Checkpoint, Interval]]] = {}
    for run, span in spans:
        found.setdefault(run.key, []).append((run, span))
    return found.items()


def _queue_line(scale: Scale, span: Interval, execution: Execution) -> Line:
    took = texts.duration(_seconds(span))
    word = "waited for a worker" if execution.started_at else "waits for a worker"
    note = "" if execution.started_at else "not started"
    return Line("in the queue", [_bar(scale, span, "queue", f"{word}: {took}")], took, "", note)


def _step_line(scale: Scale, key: str, runs: list[tuple[Checkpoint, Interval]]) -> Line:
    ended = {(run.attempt) for run, _ in runs if run.status != "waiting"}
    bars = []
    for run, span in runs:
        if run.status == "waiting" and run.attempt in ended:
            continue  # its end tells more
        look = _wait_look(run) if run.kind in _WAITS else run.status
        told = f"{run.status}, run {run.attempt}: {texts.duration(_seconds(span))}"
        bars.append(_bar(scale, span, look, told))
    last, _ = max(runs, key=lambda one: (one[0].status == "completed", one[0].attempt))
    failures = sum(run.status == "failed" for run, _ in runs)
    note = f"{failures} failed" if failures and last.status == "completed" else ""
    took = texts.duration(_seconds((runs[0][1][0], max(span[1] for _, span in runs))))
    kind = "" if last.kind == "run" else last.kind
    return Line(key, bars, took, last.status, " · ".join(filter(None, (kind, note))), key)


def _wait_look(run: Checkpoint) -> str:
    return "failed" if run.status == "failed" else "waiting"


def _running_line(scale: Scale, span: Interval, running: str | None) -> Line:
    took = texts.duration(_seconds(span))
    bar = _bar(scale, span, "processing", f"running: {took}")
    return Line(running or "running", [bar], took, "processing", "now", running)


def _attempt_ticks(scale: Scale, attempts: Sequence[Attempt]) -> list[Tick]:
    seen: dict[int, datetime] = {}
    for one in attempts:
        if one.started_at is not None:
            seen.setdefault(one.number, one.started_at)
    return [Tick(_percent(scale.x(at)), f"attempt {n}") for n, at in seen.items() if n > 1]


def _bar(scale: Scale, span: Interval, look: str, title: str) -> Bar:
    left, right = scale.x(span[0]), scale.x(span[1])
    width = max(_LEAST, right - left)
    return Bar(_percent(min(left, 100 - width)), _percent(width), look, title)


def _merged(intervals: Iterable[Interval]) -> list[Interval]:
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _seconds(span: Interval) -> float:
    return (span[1] - span[0]).total_seconds()


def _percent(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _tick(seconds: float) -> str:
    return texts.duration(seconds).replace(".0 s", " s")


def _fold(gap: Interval) -> str:
    return f"{texts.duration(_seconds(gap))} idle"
