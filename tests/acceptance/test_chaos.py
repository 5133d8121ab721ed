"""Kill after kill under load, and all at once: each execution still ends, and ends right."""

import random
from contextlib import ExitStack

import pytest

from tests.acceptance.stage import SetUp, Stage, Story, own_mongod, own_redis
from tests.support import Worker, eventually
from worchflow_celery import ExecutionHandle
from worchflow_celery.servers import MongoServer, RedisServer

COUNT = 60
STEPS = 5
#: Of the workers, which come one after the other while those before them are killed.
POOLS = ("prefork", "threads", "prefork", "solo", "threads", "prefork")


@pytest.fixture(scope="module", params=["workers", "everything"])
def stories(
    request: pytest.FixtureRequest, set_up: SetUp, tmp_path_factory: pytest.TempPathFactory
) -> list[Story]:
    if request.param == "workers":
        with set_up(TEST_LEASE="1.5") as stage:
            return kill_one_after_the_other(stage)
    with ExitStack() as opened:
        redis = opened.enter_context(own_redis(tmp_path_factory.mktemp("redis")))
        mongod = opened.enter_context(own_mongod(tmp_path_factory.mktemp("mongod")))
        urls = {"redis_url": redis.url, "database_url": mongod.url}
        stage = opened.enter_context(set_up(TEST_LEASE="1.5", **urls))
        return cut_the_power(stage, redis, mongod)


def kill_one_after_the_other(stage: Stage) -> list[Story]:
    moments = random.Random(COUNT)
    workers, handles = begin(stage)
    for number in range(len(POOLS) - 2):
        wait_for_effects(stage, 80 * (number + 1) + moments.randrange(40))
        workers[number].kill()
        workers.append(start(stage, number + 2))
    return [stage.finished(handle, within=60) for handle in handles]


def cut_the_power(stage: Stage, redis: RedisServer, mongod: MongoServer) -> list[Story]:
    workers, handles = begin(stage)
    wait_for_effects(stage, 100)
    for victim in (*workers, mongod, redis):
        victim.kill()
    redis.start()
    mongod.start()
    start(stage, 2)
    return [stage.finished(handle, within=60) for handle in handles]


def begin(stage: Stage) -> tuple[list[Worker], list[ExecutionHandle[int]]]:
    workers = [start(stage, number) for number in range(2)]
    data = {"count": STEPS, "pace": 0.05}
    return workers, [stage.send("steps", data) for _ in range(COUNT)]


def start(stage: Stage, number: int) -> Worker:
    return stage.worker(f"worker-{number}", "-P", POOLS[number], "-c", "2")


def wait_for_effects(stage: Stage, count: int) -> None:
    eventually(lambda: len(stage.diary.lines()) >= count, within=60, what=f"{count} effects")


def test_every_execution_completes(stories: list[Story]) -> None:
    assert [story.execution.result for story in stories] == [STEPS] * COUNT


def test_only_a_lost_worker_costs_an_execution_another_stay(stories: list[Story]) -> None:
    assert sum(story.execution.crashes for story in stories) > 0
    for story in stories:
        assert story.outcomes == ["lost"] * story.execution.crashes + ["completed"]
        assert story.execution.attempt == 1


def test_a_step_runs_again_only_when_its_worker_was_lost_in_it(stories: list[Story]) -> None:
    for story in stories:
        assert sum(story.begun) - STEPS <= story.execution.crashes


def test_a_step_that_another_one_has_followed_never_runs_again(stories: list[Story]) -> None:
    for story in stories:
        assert story.order == sorted(story.order)
