"""Kill after kill under load, and everything at once: each execution still ends, exactly right."""

import random
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.acceptance.stage import SetUp, Stage, Story, own_mongod, own_redis
from tests.support import Worker, eventually
from worchflow_celery.clock import elapsed

COUNT = 60
STEPS = 5
KILLS = 5
POOLS = ("prefork", "threads", "prefork", "solo", "threads")


@dataclass(frozen=True)
class Played:
    stories: list[Story]
    #: Of each step, how often it was recorded.
    checkpoints: Counter[str]


@pytest.fixture(scope="module", params=["killed workers", "a power cut"])
def played(
    request: pytest.FixtureRequest, set_up: SetUp, tmp_path_factory: pytest.TempPathFactory
) -> Played:
    play = kill_workers if request.param == "killed workers" else cut_power
    return play(set_up, tmp_path_factory)


def kill_workers(set_up: SetUp, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Workers are killed one after the other, at any moment, and replaced by others."""
    moments = random.Random(KILLS)
    with set_up(TEST_LEASE="1.5") as stage:
        workers = [start(stage, number) for number in range(2)]
        workers[-1].ready()
        handles = [
            stage.send("steps", {"count": STEPS, "pace": 0.05}) for _ in range(COUNT)
        ]
        for number in range(KILLS):
            workers.append(start(stage, 2 + number).ready())
            pause(moments.uniform(0, 1))
            workers[number].kill()
        return told(stage, handles)


def cut_power(set_up: SetUp, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Workers, broker and store are killed at once, and started again."""
    with ExitStack() as opened:
        redis = opened.enter_context(own_redis(tmp_path_factory.mktemp("redis")))
        mongod = opened.enter_context(own_mongod(tmp_path_factory.mktemp("mongod")))
        stage = opened.enter_context(
            set_up(redis_url=redis.url, database_url=mongod.url, TEST_LEASE="1.5")
        )
        workers = [start(stage, number).ready() for number in range(2)]
        handles = [
            stage.send("steps", {"count": STEPS, "pace": 0.05}) for _ in range(COUNT)
        ]
        stage.wait_for("end", handles[COUNT // 2].id, 1)
        for victim in (*workers, mongod, redis):
            victim.kill()
        redis.start()
        mongod.start()
        start(stage, 2)
        return told(stage, handles)
