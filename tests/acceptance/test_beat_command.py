"""`celery beat` with this scheduler: its options, its ordinary entries, its refusals."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.acceptance.beats import Room, room
from tests.support import ROOT, eventually, workers
from worchflow_celery.servers import Servers


@pytest.fixture
def opened(running_servers: Servers, tmp_path: Path) -> Iterator[Room]:
    with room(
        tmp_path,
        redis_url=running_servers.redis_url,
        database_url=running_servers.database_url,
        TEST_ENTRIES="interval rare periodic",
    ) as place:
        yield place


def test_its_short_name_and_celery_s_options_are_taken(opened: Room, tmp_path: Path) -> None:
    beat = opened.beat(
        "one", "-S", "worchflow", "-s", str(tmp_path / "shelf"), "--max-interval", "1"
    )
    opened.grow("all", 1)

    assert beat.stop() == 0
    assert not list(tmp_path.glob("shelf*"))


def test_a_worker_may_hold_a_scheduler_which_ends_with_it(opened: Room, tmp_path: Path) -> None:
    with workers(opened.bench, tmp_path, "tests.acceptance.timed") as start:
        worker = start("-B", "--scheduler", "worchflow", "-P", "threads")
        opened.grow("all", 1)

        assert worker.stop() == 0
    with opened.bench.broker() as broker:
        assert not broker.exists(f"{opened.bench.prefix}:leader")


def test_without_election_there_is_no_lock(opened: Room) -> None:
    opened.beat("one", TEST_ELECTION="no")
    opened.grow("all", 1)

    with opened.bench.broker() as broker:
        assert not broker.exists(f"{opened.bench.prefix}:leader")
    assert not opened.told("leader_acquired")


def test_the_banner_names_the_servers_without_passwords(opened: Room) -> None:
    url = opened.bench.redis_url.replace("//", "//:geheim@")
    beat = opened.beat("one", TEST_SETTING=f"redis_backend={url}")
    opened.wait("scheduler_ready")

    beat.stop()

    assert "state -> MongoDB at 127.0.0.1:" in beat.text()
    assert "lock -> Redis at 127.0.0.1:" in beat.text()
    assert "geheim" not in beat.text()


@dataclass(frozen=True)
class Ran:
    """What became of the ordinary entries of two beats, the leader killed in between."""

    seconds: float
    #: By entry: recorded runs, and messages.
    runs: dict[str, int]
    messages: dict[str, int]
    #: Runs of the entry that was not due, and of the one that was overdue, after a restart.
    fresh: int
    overdue: int


ENTRIES = ("interval", "periodic")


@pytest.fixture(scope="module")
def entries(running_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    with room(
        tmp_path_factory.mktemp("entries"),
        redis_url=running_servers.redis_url,
        database_url=running_servers.database_url,
        TEST_ENTRIES="interval rare periodic",
    ) as opened:
        began = opened.beat("one") and datetime.now(UTC)
        opened.beat("two")
        for name in ("one", "two"):
            opened.wait("scheduler_ready", beat=name)
        eventually(lambda: all(opened.runs(one) >= 2 for one in ENTRIES), within=30)
        killed_at = opened.leader().signal(signal.SIGKILL)
        opened.wait("leader_acquired", since=killed_at)
        count = opened.runs("interval")
        eventually(lambda: opened.runs("interval") >= count + 2, within=30)
        for beat in opened.beats.values():
            beat.end()
        runs = {one: opened.runs(one) for one in ENTRIES}
        messages = {one: opened.messages(one) for one in ENTRIES}
        seconds = (datetime.now(UTC) - began).total_seconds()
        return Ran(seconds, runs, messages, *restarted(opened))


def restarted(opened: Room) -> tuple[int, int]:
    """New beats, once with an entry that ran a moment ago, once with one that is overdue."""
    third = opened.beat("three")
    opened.grow("all", 1)
    fresh = opened.messages("rare")
    third.stop()
    opened.bench.collection("schedules").update_one(
        {"_id": "entry:rare"},
        {"$set": {"last_run_at": datetime.now(UTC) - timedelta(hours=2)}},
    )
    for name in ("four", "five"):
        opened.beat(name)
    eventually(lambda: opened.runs("rare"), within=30, what=opened.log())
    opened.grow("all", 2)
    return fresh, opened.messages("rare")


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_ordinary_entry_runs_at_most_once_when_it_is_due(entries: Ran, entry: str) -> None:
    assert entries.messages[entry] <= entries.runs[entry] <= entries.seconds


@pytest.mark.parametrize("entry", ENTRIES)
def test_only_the_run_that_a_kill_interrupts_can_be_lost(entries: Ran, entry: str) -> None:
    assert entries.messages[entry] >= entries.runs[entry] - 2


def test_a_last_run_survives_a_restart(entries: Ran) -> None:
    assert entries.fresh == 0


def test_an_entry_that_is_overdue_after_a_restart_runs_once(entries: Ran) -> None:
    assert entries.overdue == 1


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"TEST_TTL": "0"}, "worchflow_leader_ttl: Input should be greater than or equal to 1"),
        ({"TEST_SETTING": "redis_backend=http://x"}, "worchflow_redis_backend: must be a redis://"),
        ({"TEST_REDIS_URL": "memory://"}, "worchflow_redis_backend: the broker is not Redis"),
        ({"TEST_SETTING": "retention=soon"}, "worchflow_retention: must be seconds"),
    ],
)
def test_a_setting_that_cannot_be_ends_beat_with_one_line(
    opened: Room, environment: dict[str, str], line: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tests.acceptance.timed", "beat", "-S", "worchflow"],
        cwd=ROOT,
        env={**os.environ, **opened.environment(), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"celery beat cannot start: {line}")
    assert ended.stderr.count("\n") == 1
