"""Scheduled flows whose past a test makes up: MongoDB's clock cannot be turned, cursors can."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.utils.dispatch import Signal

from tests.support import Bench, eventually
from worchflow_celery import Event, Scheduler, Worchflow
from worchflow_celery.models import Window
from worchflow_celery.timetable import Timetable


class Clockwork:
    """A binding, its schedules in MongoDB, and what became of their windows."""

    def __init__(self, bench: Bench, worchflow: Worchflow) -> None:
        self.bench = bench
        self.worchflow = worchflow

    def flow(self, flow_id: str, **options: Any) -> list[Event[None]]:
        """Define a flow; the list is what it is called with."""
        events: list[Event[None]] = []

        def handler(event: Event[None]) -> None:
            events.append(event)

        self.worchflow.flow(flow_id, **options)(handler)
        return events

    def timetable(self) -> Timetable:
        return Timetable(self.worchflow.runtime, self.worchflow.runtime.definitions.values())

    def open(self) -> Timetable:
        """A leader's term begins."""
        timetable = self.timetable()
        timetable.open()
        return timetable

    def gap(self, flow: str, length: timedelta) -> Timetable:
        """A leader's term begins after none had fired a flow for a while."""
        self.open()
        self.age(flow, length)
        return self.open()

    def age(self, flow: str, length: timedelta) -> None:
        """The last window that was seen to becomes so old."""
        ago = {"$subtract": ["$$NOW", length // timedelta(milliseconds=1)]}
        schedules = self.bench.collection("schedules")
        assert schedules.update_one(
            {"_id": f"flow:{flow}"}, [{"$set": {"seen": ago}}]
        ).matched_count

    def now(self) -> datetime:
        """On MongoDB's clock."""
        now: datetime = self.bench.database.command("hello")["localTime"]
        return now.replace(tzinfo=UTC)

    def last_hour(self) -> datetime:
        return self.now().replace(minute=0, second=0, microsecond=0)

    def windows(self, flow: str, limit: int = 1000) -> list[Window]:
        """Newest first."""
        return self.worchflow.windows(flow, limit)

    def outcomes(self, flow: str) -> list[str]:
        return [window.outcome for window in self.windows(flow)]

    def executions(self, flow: str) -> list[datetime]:
        """The windows of its executions, newest first, seen without the library."""
        found = self.bench.collection("executions").find({"flow": flow})
        return sorted((one["scheduled_for"] for one in found), reverse=True)

    def until(self, timetable: Timetable, condition: Callable[[], object]) -> None:
        """Let a leader go on until something is so."""
        eventually(lambda: (timetable.fire_due(), condition())[1], within=20)


def runs(bench: Bench, entry: str = "entry") -> int:
    """How often an entry ran, as MongoDB knows it."""
    found = bench.collection("schedules").find_one({"_id": f"entry:{entry}"})
    return int(found["runs"]) if found else 0


def last_ran(bench: Bench, ago: timedelta, entry: str = "entry") -> None:
    """Make an entry's last run older."""
    change = {"last_run_at": datetime.now(UTC) - ago}
    bench.collection("schedules").update_one({"_id": f"entry:{entry}"}, {"$set": change})


def turn(one: Scheduler, times: int = 5) -> None:
    """Some turns of a beat's loop, without its pauses."""
    for _ in range(times):
        one.tick()


def at_once(timetables: Sequence[Timetable]) -> None:
    """Two leaders, though there should be one."""
    threads = [threading.Thread(target=one.fire_due) for one in timetables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def heard(signal: Signal, sender: object) -> Iterator[list[dict[str, Any]]]:
    """The keyword arguments of a signal, as its receivers get them."""
    calls: list[dict[str, Any]] = []

    def receive(**given: Any) -> None:
        del given["signal"]
        calls.append(given)

    signal.connect(receive, sender=sender, weak=False)
    try:
        yield calls
    finally:
        signal.disconnect(receive, sender=sender)
