"""What a beat costs while nothing is due, and how late a thousand schedules are that are due."""

import json
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles

import pymongo
import pytest
import redis

from tests.acceptance.beats import Room, room
from tests.acceptance.stage import own_mongod, own_redis
from tests.support import eventually
from worchflow_celery.servers import Servers

MANY, TIMES = 1000, 3
EVERY_FIVE_SECONDS = "*/5 * * * * *"


def lateness(opened: Room) -> dict[datetime, list[float]]:
    """By window, the seconds until each of its executions was stored."""
    found: dict[datetime, list[float]] = defaultdict(list)
    for one in opened.bench.collection("executions").find():
        window = one["scheduled_for"]
        found[window].append((one["created_at"] - window).total_seconds())
    return dict(sorted(found.items()))


def test_of_a_thousand_schedules_that_are_due_at_once_99_in_100_are_less_than_a_second_late(
    running_servers: Servers, tmp_path: Path
) -> None:
    flows = {f"many{number}": {"cron": EVERY_FIVE_SECONDS} for number in range(MANY)}
    with room(
        tmp_path,
        redis_url=running_servers.redis_url,
        database_url=running_servers.database_url,
        TEST_POLICIES="",
        TEST_FLOWS=json.dumps(flows),
    ) as opened:
        beat = opened.beat("one")
        executions = opened.bench.collection("executions")

        eventually(
            lambda: executions.count_documents({}) >= TIMES * MANY, within=60, what=beat.text()
        )
        beat.stop()

        found = lateness(opened)
        assert {len(seconds) for seconds in found.values()} == {MANY}
        # The middle one of several: another process may have had the machine meanwhile.
        assert median(quantiles(seconds, n=100)[98] for seconds in found.values()) < 1


@dataclass(frozen=True)
class Spent:
    """Commands in a second, as the servers count them: heartbeats of the driver, commands that
    a script calls, and the two of this test that ask for the numbers."""

    mongodb: float
    redis: float


#: Seconds, just less than four quarters of the default TTL, in which a leader renews four times.
IDLE = 14.5


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Spent:
    """A leader with a flow and an entry that are not due, and servers that nobody else uses."""
    directory = tmp_path_factory.mktemp("idle")
    with ExitStack() as stack:
        broker = stack.enter_context(own_redis(directory / "redis"))
        store = stack.enter_context(own_mongod(directory / "mongod"))
        opened = stack.enter_context(
            room(
                directory,
                redis_url=broker.url,
                database_url=store.url,
                TEST_POLICIES="",
                TEST_FLOWS=json.dumps({"report": {"cron": "@yearly"}}),
                TEST_ENTRIES="rare",
                TEST_TTL="15",
                TEST_INTERVAL="5",
            )
        )
        beat = opened.beat("one")
        schedules = opened.bench.collection("schedules")
        eventually(lambda: schedules.find_one({"_id": "entry:rare"}), within=30, what=opened.log())
        opened.bench.client.close()
        client = stack.enter_context(pymongo.MongoClient(store.url, heartbeatFrequencyMS=60_000))
        counter = stack.enter_context(redis.Redis.from_url(broker.url))

        def counts() -> tuple[int, int]:
            by_kind = client.admin.command("serverStatus")["opcounters"]
            return sum(by_kind.values()), counter.info("stats")["total_commands_processed"]

        # What it tells of its start, it tells once.
        eventually(lambda: counter.exists(f"{opened.bench.prefix}:live"), within=10)
        began, first = time.monotonic(), counts()
        eventually(lambda: time.monotonic() - began >= IDLE, within=2 * IDLE)
        last, seconds = counts(), time.monotonic() - began
        assert beat.process.poll() is None, opened.log()
        return Spent((last[0] - first[0]) / seconds, (last[1] - first[1]) / seconds)


def test_an_idle_beat_sends_mongodb_less_than_a_command_a_second(idle: Spent) -> None:
    assert idle.mongodb <= 1


def test_an_idle_beat_sends_redis_less_than_a_command_a_second(idle: Spent) -> None:
    assert 0.2 < idle.redis <= 1  # it leads, and renews
