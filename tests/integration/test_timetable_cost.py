"""What a turn costs that has a thousand schedules, as MongoDB counts it itself."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from tests.integration.schedules import Clockwork
from tests.support import Bench

HOUR = timedelta(hours=1)

Profile = list[dict[str, Any]]


@contextmanager
def profiled(bench: Bench) -> Iterator[Profile]:
    """What MongoDB does for this test, in order, once the block is over."""
    done: Profile = []
    of_this_test = {"ns": {"$regex": f"\\.{bench.prefix}_"}}
    bench.database.command("profile", 2, filter=of_this_test)
    try:
        yield done
    finally:
        bench.database.command("profile", 0, filter="unset")
        done += bench.database["system.profile"].find(of_this_test).sort("ts")
        bench.database.drop_collection("system.profile")


def looked_at(profile: Profile) -> dict[str, int]:
    """How many documents each kind of operation looked at."""
    found: Counter[str] = Counter()
    for one in profile:
        found[f"{one['op']} {one['ns'].rpartition('_')[2]}"] += one.get("docsExamined", 0)
    return dict(found)


def commands(bench: Bench) -> Counter[str]:
    """How many commands of each kind the server has run."""
    counts = bench.database.command("serverStatus")["metrics"]["commands"]
    kinds = ("find", "getMore", "aggregate", "insert", "update", "delete", "findAndModify")
    return Counter({kind: int(counts[kind]["total"]) for kind in kinds})


def schedules(clockwork: Clockwork, *, due: int, idle: int) -> None:
    """Schedules that are known, and of which ``due`` have a window since."""
    for number in range(idle):
        clockwork.flow(f"idle{number}", cron="@yearly")
    for number in range(due):
        clockwork.flow(f"due{number}", cron="@hourly")
    clockwork.open()
    clockwork.windows("due0")  # makes the index
    ago = [{"$set": {"seen": {"$subtract": ["$$NOW", HOUR // timedelta(milliseconds=1)]}}}]
    clockwork.bench.collection("schedules").update_many({"flow": {"$regex": "^due"}}, ago)


def test_a_turn_with_nothing_due_asks_mongodb_nothing(clockwork: Clockwork, bench: Bench) -> None:
    schedules(clockwork, due=0, idle=1000)
    timetable = clockwork.open()
    before = commands(bench)

    timetable.fire_due()

    assert commands(bench) - before == {}


def test_a_turn_is_four_commands_however_many_schedules_are_due(
    clockwork: Clockwork, bench: Bench
) -> None:
    schedules(clockwork, due=100, idle=0)
    timetable = clockwork.open()
    before = commands(bench)

    timetable.fire_due()

    assert commands(bench) - before == {"find": 1, "insert": 2, "update": 1}
    assert bench.messages() == 100


@pytest.mark.parametrize("idle", [0, 900])
def test_a_turn_looks_at_what_is_due_however_many_schedules_are_not(
    clockwork: Clockwork, bench: Bench, idle: int
) -> None:
    schedules(clockwork, due=100, idle=idle)
    timetable = clockwork.open()

    with profiled(bench) as profile:
        timetable.fire_due()

    assert looked_at(profile) == {
        "query schedules": 100,
        "insert windows": 0,
        "insert executions": 0,
        "update schedules": 100,
    }
