"""Two beats whose Redis or MongoDB is emptied, restarted, frozen or away for a while."""

import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
import redis

from tests.acceptance.beats import TTL, Room, Told, room, without_holes
from tests.acceptance.stage import own_mongod, own_redis
from tests.support import eventually
from worchflow_celery.models import Window
from worchflow_celery.servers import Servers


@dataclass(frozen=True)
class Played:
    windows: list[Window]
    executions: list[datetime]
    told: list[Told]
    #: When the last outage began and ended.
    began: float
    ended: float

    def during(self, signal_name: str) -> Counter[str]:
        """How often each beat told something in the last outage."""
        return Counter(
            one.beat
            for one in self.told
            if one.signal == signal_name and self.began < one.at < self.ended
        )


def start_two(opened: Room) -> None:
    for name in ("one", "two"):
        opened.beat(name)
        opened.wait("scheduler_ready", beat=name)
    opened.grow("all", 2)


def let_pass(since: float, seconds: float) -> None:
    eventually(lambda: time.time() - since >= seconds, within=seconds + 10)


def collect(opened: Room, began: float) -> Played:
    """An outage is over: let them go on for a little, and end them."""
    ended = time.time()
    opened.grow("all", 3)
    for beat in opened.beats.values():
        assert beat.stop() == 0, beat.text()
    return Played(opened.windows("all"), opened.executions("all"), opened.told(), began, ended)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("beats")


@pytest.fixture(scope="module")
def without_redis(running_servers: Servers, directory: Path) -> Played:
    """Redis is emptied, restarted, and at last frozen for longer than a term."""
    place = directory / "redis"
    with (
        own_redis(place / "server") as server,
        room(place, redis_url=server.url, database_url=running_servers.database_url) as opened,
    ):
        start_two(opened)
        with redis.Redis.from_url(server.url) as client:
            client.flushall()
        opened.grow("all", 2)
        server.restart()
        opened.grow("all", 2)
        began = time.time()
        server.pause()
        let_pass(began, TTL + 2)
        server.resume()
        return collect(opened, began)


@pytest.fixture(scope="module")
def without_mongodb(running_servers: Servers, directory: Path) -> Played:
    """MongoDB is away for twenty seconds."""
    place = directory / "mongod"
    with (
        own_mongod(place / "server") as server,
        room(place, redis_url=running_servers.redis_url, database_url=server.url) as opened,
    ):
        start_two(opened)
        began = time.time()
        server.stop()
        let_pass(began, 20)
        server.start()
        return collect(opened, began)


@pytest.fixture(scope="module", params=["without_redis", "without_mongodb"])
def played(request: pytest.FixtureRequest) -> Played:
    outage: Played = request.getfixturevalue(request.param)
    return outage


def test_no_window_is_lost_in_an_outage_and_none_runs_twice(played: Played) -> None:
    assert without_holes(played.executions)
    assert played.executions == [window.scheduled_for for window in played.windows]


def test_no_beat_ends_in_an_outage(played: Played) -> None:
    stopped = [one.beat for one in played.told if one.signal == "scheduler_stopped"]

    assert sorted(stopped) == ["one", "two"]


def test_while_redis_is_away_nobody_leads(without_redis: Played) -> None:
    assert sum(without_redis.during("leader_lost").values()) == 1
    assert sum(without_redis.during("leader_acquired").values()) == 0


def test_an_outage_of_redis_is_told_once_by_each_beat(without_redis: Played) -> None:
    assert without_redis.during("scheduler_error") == {"one": 1, "two": 1}


def test_what_was_missed_without_redis_is_caught_up(without_redis: Played) -> None:
    caught_up = {
        window.outcome
        for window in without_redis.windows
        if without_redis.began + TTL < window.scheduled_for.timestamp() < without_redis.ended
    }

    assert caught_up == {"missed-ran"}


def test_an_outage_of_mongodb_is_told_once_by_the_leader(without_mongodb: Played) -> None:
    assert sorted(without_mongodb.during("scheduler_error").values()) == [1]


def test_an_outage_of_mongodb_does_not_change_the_leader(without_mongodb: Played) -> None:
    assert not without_mongodb.during("leader_lost")
    assert not without_mongodb.during("leader_acquired")
