"""Real beats whose clock is wrong, or whose zones change their clocks in this very moment."""

import json
import struct
import time
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.acceptance.beats import Room, room, without_holes
from tests.support import eventually
from worchflow_celery.models import Window
from worchflow_celery.servers import Servers

OFF = 90
HOUR = 3600


def clock(seconds: int) -> dict[str, str]:
    """The environment of a process whose wall clock is wrong; other clocks are right."""
    package = find_spec("libfaketime")
    assert package and package.origin, "libfaketime is missing: the group dev has it, for Linux"
    library = Path(package.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{seconds:+}s",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_CACHE_DURATION": "86400",  # it reads them again in any thread, and not safely
    }


@dataclass(frozen=True)
class Shifted:
    """What beats did whose clocks were 90 s ahead, and then 90 s behind."""

    #: How far ahead each was, by what it wrote itself.
    off: dict[str, float]
    #: Seconds from the newest window until somebody saw its execution; at each look.
    seen: list[float]
    windows: list[Window]
    executions: list[datetime]


@pytest.fixture(scope="module")
def shifted(running_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Shifted:
    urls = {
        "redis_url": running_servers.redis_url,
        "database_url": running_servers.database_url,
    }
    with room(tmp_path_factory.mktemp("clocks"), **urls) as opened:
        off, seen = {}, []
        for name, seconds in (("ahead", OFF), ("behind", -OFF)):
            beat = opened.beat(name, **clock(seconds))
            told = opened.wait("leader_acquired", beat=name)
            off[name] = told.at - time.time()
            count = len(opened.executions("all")) + 3
            eventually(lambda: look(opened, seen) >= count, within=30)  # noqa: B023
            beat.stop()
        return Shifted(off, seen, opened.windows("all"), opened.executions("all"))


def look(opened: Room, seen: list[float]) -> int:
    """See how old the newest window is whose execution is there; return how many there are."""
    executions = opened.executions("all")
    if executions:
        seen.append((datetime.now(UTC) - executions[-1]).total_seconds())
    return len(executions)


@pytest.mark.parametrize(("beat", "off"), [("ahead", OFF), ("behind", -OFF)])
def test_the_clock_of_such_a_beat_is_wrong(shifted: Shifted, beat: str, off: int) -> None:
    assert abs(shifted.off[beat] - off) < OFF / 3


def test_a_beat_whose_clock_is_ahead_fires_nothing_early(shifted: Shifted) -> None:
    assert min(shifted.seen) >= 0
    assert all(window.fired_at >= window.scheduled_for for window in shifted.windows)


def test_whatever_its_clock_says_each_window_runs_once(shifted: Shifted) -> None:
    assert without_holes(shifted.executions)
    assert shifted.executions == [window.scheduled_for for window in shifted.windows]


def write_zone(path: Path, change: int, before: int, after: int) -> None:
    """A zone whose offset from UTC changes once, at ``change``, in the format of the system's."""
    types = struct.pack(">lbb", before, 0, 0) + struct.pack(">lbb", after, 1, 4)
    names = b"OLD\0NEW\0"
    counts = (0, 0, 0, 1, 2, len(names))
    head = b"TZif2" + bytes(15) + struct.pack(">6l", *counts)
    old = struct.pack(">l", change) + b"\1" + types + names
    new = struct.pack(">q", change) + b"\1" + types + names
    path.write_bytes(head + old + head + new + b"\n\n")


@dataclass(frozen=True)
class Night:
    """A few seconds in which one zone skips an hour and another one repeats one."""

    change: datetime
    #: By flow.
    executions: dict[str, list[datetime]]
    outcomes: set[str]


@pytest.fixture
def change(tmp_path: Path) -> Iterator[datetime]:
    """When the clocks of ``Test/Skips`` will change: in a moment.

    Those of ``Test/Repeats`` changed half an hour earlier: what they show then comes again.
    """
    change = int(time.time()) + 7
    path = tmp_path / "zones/Test"
    path.mkdir(parents=True)
    write_zone(path / "Skips", change, HOUR, 2 * HOUR)
    write_zone(path / "Repeats", change - HOUR // 2, 2 * HOUR, HOUR)
    known = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=[str(path.parent), *known])
    yield datetime.fromtimestamp(change, UTC)
    zoneinfo.reset_tzpath(to=known)


@pytest.fixture
def night(change: datetime, running_servers: Servers, tmp_path: Path) -> Night:
    skipped = change + timedelta(hours=1, minutes=30)  # as its clock would have shown
    repeated = change.astimezone(ZoneInfo("Test/Repeats"))
    flows = {
        "skipped": {"cron": f"{skipped:%S %M %H} * * *", "timezone": "Test/Skips"},
        "repeated": {"cron": f"{repeated:%S %M %H} * * *", "timezone": "Test/Repeats"},
        "real-time-skips": {"cron": "* * * * * *", "timezone": "Test/Skips"},
        "real-time-repeats": {"cron": "* * * * * *", "timezone": "Test/Repeats"},
    }
    with room(
        tmp_path,
        redis_url=running_servers.redis_url,
        database_url=running_servers.database_url,
        TEST_POLICIES="",
        TEST_FLOWS=json.dumps(flows),
        PYTHONTZPATH=":".join(zoneinfo.TZPATH),
    ) as opened:
        beat = opened.beat("one")
        end = change + timedelta(seconds=2)
        eventually(
            lambda: max(opened.executions("real-time-skips"), default=change) >= end, within=30
        )
        assert beat.stop() == 0
        executions = {flow: opened.executions(flow) for flow in flows}
        outcomes = {window.outcome for flow in flows for window in opened.windows(flow)}
        return Night(change, executions, outcomes)


def test_where_clocks_change_a_beat_fires_each_window_once_and_in_time(night: Night) -> None:
    assert night.executions["skipped"] == [night.change]
    assert night.executions["repeated"] == []  # it ran an hour ago, the first time
    for flow in ("real-time-skips", "real-time-repeats"):
        assert night.executions[flow][0] < night.change
        assert without_holes(night.executions[flow])
    assert night.outcomes == {"fired"}
