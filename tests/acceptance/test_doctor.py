"""`doctor` finds what is wrong, and says so with its exit code."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.console import Console
from worchflow_celery.servers import RedisServer
from worchflow_celery.servers.binaries import REDIS, locate
from worchflow_celery.servers.launch import Launch

pytestmark = pytest.mark.slow


def found(desk: Console, *words: str, **place: Any) -> tuple[int, list[dict[str, Any]]]:
    answer = desk.run("doctor", "--json", *words, **place)
    return answer.code, [json.loads(line) for line in answer.out.splitlines()]


def of(findings: list[dict[str, Any]], check: str) -> list[dict[str, Any]]:
    return [one for one in findings if one["check"] == check]


@pytest.fixture
def alien(desk: Console) -> Iterator[None]:
    """Documents that nobody of this app has written."""
    executions = desk.bench.collection("executions")
    model = executions.find_one({"_id": desk.done["waiting"].id})
    assert model is not None
    executions.insert_one({**model, "_id": "stranded", "flow": "gone", "queue": "nowhere"})
    executions.insert_one({"_id": "corrupt\x1b[31m", "created_at": model["created_at"]})
    yield
    executions.delete_many({"_id": {"$in": ["stranded", "corrupt\x1b[31m"]}})


def test_a_sound_place_has_no_errors(desk: Console) -> None:
    code, findings = found(desk)

    assert code == 0
    assert {one["level"] for one in findings} <= {"ok", "warning"}
    assert "replica set" in of(findings, "mongodb")[0]["message"]
    assert {"clock", "indexes", "documents", "redis"} <= {one["check"] for one in findings}


def test_a_schedule_without_a_leader_is_named_with_the_command_that_helps(desk: Console) -> None:
    _, findings = found(desk)

    (beat,) = of(findings, "beat")
    assert "daily" in beat["message"]
    assert "beat -S worchflow_celery.Scheduler" in beat["fix"]


def test_an_index_that_is_different_is_an_error_until_it_is_fixed(desk: Console) -> None:
    executions = desk.bench.collection("executions")
    executions.drop_index("newest")
    executions.create_index([("created_at", 1)], name="newest")

    before = found(desk)
    fixed = found(desk, "--fix-indexes")
    after = found(desk)

    assert (before[0], fixed[0], after[0]) == (1, 0, 0)
    assert "newest" in of(before[1], "indexes")[0]["message"]
    assert list(executions.index_information()["newest"]["key"]) == [
        ("created_at", -1),
        ("_id", -1),
    ]


def test_indexes_of_other_collections_are_looked_at_too(desk: Console) -> None:
    desk.worchflow.audit.record("look", "nothing", who="ann")
    records = desk.bench.collection("audit")
    records.drop_index("of_target")

    before = found(desk)
    fixed = found(desk, "--fix-indexes")

    assert (before[0], fixed[0]) == (1, 0)
    assert "audit.of_target" in of(before[1], "indexes")[0]["message"]
    assert "of_target" in records.index_information()


@pytest.mark.usefixtures("alien")
def test_stranded_and_corrupt_executions_are_named(desk: Console) -> None:
    answer = desk.run("doctor")

    assert answer.code == 1
    assert "unfinished executions of 'gone'" in answer.out
    assert "corrupt" in answer.out and "\x1b" not in answer.out


def test_a_server_that_is_away_is_an_error_and_the_others_are_looked_at(desk: Console) -> None:
    code, findings = found(desk, redis_url="redis://:s3cret@127.0.0.1:1/0")

    (redis,) = of(findings, "redis")
    assert (code, redis["level"]) == (1, "error")
    assert "127.0.0.1:1" in redis["message"] and "s3cret" not in json.dumps(findings)
    assert of(findings, "mongodb")[0]["level"] == "ok"


def test_a_broker_that_evicts_is_an_error(desk: Console, tmp_path: Any) -> None:
    options = ["--maxmemory-policy", "allkeys-lru"]
    launch = Launch(locate([REDIS])[REDIS], tmp_path, options)

    with RedisServer(launch) as evicting:
        code, findings = found(desk, redis_url=evicting.url)

    assert code == 1
    assert any("allkeys-lru" in one["message"] for one in of(findings, "redis"))
