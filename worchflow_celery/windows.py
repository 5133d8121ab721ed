"""What is to become of the windows of a schedule that have passed.  Pure: no I/O, no clock."""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from worchflow_celery import cron
from worchflow_celery.definition import Definition
from worchflow_celery.models import Window
from worchflow_celery.store.schedules import Cursor, Line

#: Missed windows of a flow that are run or recorded one by one; older ones are only counted.
MOST_MISSED = 100
#: Missed windows of a flow that are counted.
MOST_COUNTED = 10_000
#: With the window's time it is an execution's id, of 200 characters at most.
LONGEST_FLOW_ID = 200 - len("cron:@2000-01-01T00:00:00Z")

FIRED, MISSED_RAN = "fired", "missed-ran"
MISSED_SKIPPED, OVERLAP_SKIPPED = "missed-skipped", "overlap-skipped"


@dataclass(frozen=True, slots=True)
class Gap:
    """Windows of a flow whose time passed while no leader fired them."""

    flow: str
    since: datetime
    #: At most ``MOST_COUNTED``.
    count: int
    #: The newest ``MOST_MISSED`` of them, oldest first.
    newest: tuple[datetime, ...]


@dataclass(frozen=True, slots=True)
class Passed:
    """What is to become of the windows of one flow, oldest first."""

    windows: list[Window]
    gap: Gap | None


def line_of(definition: Definition) -> Line:
    """The schedule that a flow is decorated with."""
    own = definition.options
    return Line(definition.id, str(own.cron), own.timezone)


def next_window(line: Line, after: datetime) -> datetime:
    """The first window later than ``after``."""
    return cron.next_run(line.cron, after, line.timezone)


def passed(
    cursor: Cursor, policy: str, now: datetime, *, term: datetime, grace: timedelta
) -> Passed:
    """See to the windows from the cursor until ``now``.

    Those that passed before the leader's term began are missed. So are all, if the oldest is
    later than ``grace``: whatever kept the leader, it was none meanwhile.
    """
    line, seen = cursor.line, cursor.seen
    late = next_window(line, seen) < now - grace
    missed_until = max(seen, now if late else min(term, now))
    gap = _gap(line, seen, missed_until)
    on_time = cron.windows(line.cron, missed_until, now, line.timezone)
    return Passed(
        [*_missed(gap, policy, now), *(_window(line.flow, one, now, FIRED) for one in on_time)],
        gap if gap.count else None,
    )


def without_overlaps(
    windows: Iterable[Window], careful: Collection[str], busy: Iterable[str]
) -> list[Window]:
    """Skip windows of careful flows that are busy: each has one execution at a time."""
    busy, kept = set(busy), []
    for window in windows:
        if window.execution_id is not None and window.flow in careful:
            if window.flow in busy:
                window = _skipped(window)
            busy.add(window.flow)  # of several windows the first runs, the others overlap it
        kept.append(window)
    return kept


def execution_id(flow: str, scheduled_for: datetime) -> str:
    """The id of a window's execution: it can exist once."""
    return f"cron:{flow}@{scheduled_for:%Y-%m-%dT%H:%M:%SZ}"


def _gap(line: Line, since: datetime, until: datetime) -> Gap:
    moments = cron.windows(line.cron, since, until, line.timezone)
    newest: deque[datetime] = deque(maxlen=MOST_MISSED)
    count = 0
    for moment in islice(moments, MOST_COUNTED):
        newest.append(moment)
        count += 1
    if count == MOST_COUNTED:
        newest = _last_windows(line, until)
    return Gap(line.flow, since, count, tuple(newest))


def _last_windows(line: Line, until: datetime) -> deque[datetime]:
    """Walk back from the end of a long gap."""
    windows: deque[datetime] = deque()
    before = until + timedelta(seconds=1)
    while len(windows) < MOST_MISSED:
        before = cron.previous_run(line.cron, before, line.timezone)
        if before <= until:
            windows.appendleft(before)
    return windows


def _missed(gap: Gap, policy: str, now: datetime) -> list[Window]:
    why = f"no leader fired it; {counted(gap)} missed since {gap.since:%Y-%m-%d %H:%M:%S} UTC"
    if policy == "all" and gap.count > MOST_MISSED:
        why += f"; only the newest {MOST_MISSED} run"
    runs = {"all": len(gap.newest), "latest": 1, "skip": 0}[policy]
    skipped = _first(gap.newest, len(gap.newest) - runs)
    return [
        *(_window(gap.flow, one, now, MISSED_SKIPPED, why) for one in skipped),
        *(_window(gap.flow, one, now, MISSED_RAN, why) for one in gap.newest[len(skipped) :]),
    ]


def counted(gap: Gap) -> str:
    """How many windows were missed, for people."""
    return f"at least {gap.count}" if gap.count == MOST_COUNTED else str(gap.count)


def _first(moments: Sequence[datetime], count: int) -> Sequence[datetime]:
    return moments[: max(0, count)]


def _window(
    flow: str, moment: datetime, now: datetime, outcome: str, why: str | None = None
) -> Window:
    runs = outcome in {FIRED, MISSED_RAN}
    return Window(
        flow=flow,
        scheduled_for=moment,
        fired_at=now,
        outcome=outcome,
        execution_id=execution_id(flow, moment) if runs else None,
        reason=why,
    )


def _skipped(window: Window) -> Window:
    changes = {
        "outcome": OVERLAP_SKIPPED,
        "execution_id": None,
        "reason": "the execution of an earlier window had not ended",
    }
    return window.model_copy(update=changes)
