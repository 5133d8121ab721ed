"""Redis is killed, frozen and emptied under workers with a backlog; MongoDB knows it all."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime

import pytest
import redis

from tests.acceptance.stage import SetUp, Stage, Story, own_redis, seconds_until_end
from worchflow_celery import ExecutionHandle
from worchflow_celery.clock import utcnow
from worchflow_celery.servers import RedisServer

STORE_TIMEOUT = 2.0
BACKLOG = 100


def flush(server: RedisServer) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()


#: How each broker is hurt, and how it comes back.
MISHAPS: dict[str, tuple[Callable[[RedisServer], None], Callable[[RedisServer], None]]] = {
    "killed": (RedisServer.kill, RedisServer.start),
    "frozen": (RedisServer.pause, RedisServer.resume),
    "emptied": (flush, lambda server: None),
}


@dataclass
class Outage:
    """What happened on one stage."""

    stage: Stage
    server: RedisServer
    #: In their second step of three, on both processes of the worker.
    running: list[ExecutionHandle[int]] = field(default_factory=list)
    #: Sent before, and waiting for their turn.
    queued: list[ExecutionHandle[int]] = field(default_factory=list)
    #: Sent while the broker was away.
    sent: list[ExecutionHandle[int]] = field(default_factory=list)
    #: The longest that one of these sends took.
    longest_send: float = 0.0
    back_at: datetime | None = None
    stories: dict[str, list[Story]] = field(default_factory=dict)
    effects: list[int] = field(default_factory=list)

    def fill(self) -> None:
        self.running = [self.stage.send("steps", {"count": 3, "hold": 1}) for _ in range(2)]
        for handle in self.running:
            self.stage.wait_for("begin", handle.id, 1)
        self.queued = [self.stage.send("quick", number) for number in range(BACKLOG)]

    def send(self) -> None:
        for number in range(3):
            began = time.monotonic()
            self.sent.append(self.stage.send("quick", number))
            self.longest_send = max(self.longest_send, time.monotonic() - began)

    def end(self) -> None:
        for name in ("running", "queued", "sent"):
            handles: list[ExecutionHandle[int]] = getattr(self, name)
            self.stories[name] = [self.stage.finished(handle, within=60) for handle in handles]
        counts = self.stage.diary.counts()
        self.effects = [counts[f"quick {handle.id}"] for handle in self.queued + self.sent]


@pytest.fixture(scope="module")
def outages(set_up: SetUp, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outage]:
    with ExitStack() as opened:
        played = {}
        for name in MISHAPS:
            server = opened.enter_context(own_redis(tmp_path_factory.mktemp("redis")))
            stage = opened.enter_context(
                set_up(redis_url=server.url, TEST_STORE_TIMEOUT=str(STORE_TIMEOUT))
            )
            stage.worker(name, "-P", "prefork", "-c", "2")
            played[name] = Outage(stage, server)
        for outage in played.values():
            outage.fill()

        for name, (strike, heal) in MISHAPS.items():
            outage = played[name]
            strike(outage.server)
            outage.send()
            heal(outage.server)
            outage.back_at = utcnow()
            outage.stage.open()
        for outage in played.values():
            outage.end()
        return played


each_mishap = pytest.mark.parametrize("mishap", MISHAPS)


@each_mishap
def test_send_returns_within_the_store_timeout(outages: dict[str, Outage], mishap: str) -> None:
    assert outages[mishap].longest_send <= STORE_TIMEOUT


@each_mishap
@pytest.mark.parametrize("which", ["queued", "sent"])
def test_no_execution_is_lost_with_its_message(
    outages: dict[str, Outage], mishap: str, which: str
) -> None:
    stories = outages[mishap].stories[which]

    assert {story.execution.status for story in stories} == {"completed"}


@each_mishap
def test_lost_messages_are_published_within_thirty_seconds(
    outages: dict[str, Outage], mishap: str
) -> None:
    outage = outages[mishap]
    assert outage.back_at is not None

    ends = [
        seconds_until_end(story, outage.back_at)
        for story in outage.stories["queued"] + outage.stories["sent"]
    ]

    assert max(ends) <= 30


@each_mishap
def test_messages_that_double_in_an_outage_double_no_step(
    outages: dict[str, Outage], mishap: str
) -> None:
    assert outages[mishap].effects == [1] * (BACKLOG + 3)


@each_mishap
def test_running_executions_do_not_notice(outages: dict[str, Outage], mishap: str) -> None:
    for story in outages[mishap].stories["running"]:
        assert story.begun == [1, 1, 1]
        assert story.outcomes == ["completed"]
