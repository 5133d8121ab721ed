"""The election, on a Redis of its own that is frozen, emptied and restarted."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar
from uuid import uuid4

import pytest
import redis
from celery.exceptions import ImproperlyConfigured

from tests.support import eventually
from worchflow_celery.leader import Leadership, LockUnavailable
from worchflow_celery.servers import RedisServer
from worchflow_celery.servers.binaries import REDIS, locate
from worchflow_celery.servers.launch import Launch

T = TypeVar("T")
TTL = 2.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    directory = tmp_path_factory.mktemp("redis")
    with RedisServer(Launch(locate([REDIS])[REDIS], directory, temporary=True)) as running:
        yield running


@pytest.fixture
def broker(server: RedisServer) -> Iterator["redis.Redis"]:
    """The server, seen without the library."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        yield client


@pytest.fixture
def key() -> str:
    return f"{uuid4().hex}:leader"


@pytest.fixture
def candidate(
    server: RedisServer, broker: "redis.Redis", key: str
) -> Iterator[Callable[..., Leadership]]:
    """Makes candidates for one lock; what a test did to the server is over afterwards."""
    made: list[Leadership] = []

    def make(hangs: float = 60.0) -> Leadership:
        made.append(Leadership(server.url, key, TTL, hangs=hangs))
        return made[-1]

    yield make
    server.resume() if server.running else server.start()
    for leadership in made:
        leadership.close()


def stands(leadership: Leadership) -> bool:
    """One turn of a scheduler's loop, for which a Redis that is away is no end."""
    try:
        return leadership.leads() or leadership.stand()
    except LockUnavailable:
        return False


def leaders(candidates: list[Leadership]) -> list[Leadership]:
    return [one for one in candidates if stands(one)]


def throughout(seconds: float, look: Callable[[], T]) -> list[T]:
    """What was seen in that time, looked at ten times a second."""
    deadline, seen = time.monotonic() + seconds, [look()]
    while time.monotonic() < deadline:
        time.sleep(0.1)
        seen.append(look())
    return seen


def test_of_five_candidates_one_leads(candidate: Callable[..., Leadership]) -> None:
    five = [candidate() for _ in range(5)]

    assert len(leaders(five)) == 1


def test_a_leader_stays_one_while_others_stand(candidate: Callable[..., Leadership]) -> None:
    first, second = candidate(), candidate()
    assert first.stand()

    seen = throughout(2 * TTL, lambda: (first.leads(), second.stand()))

    assert set(seen) == {(True, False)}


def test_a_leader_that_cannot_renew_steps_down_before_the_lock_can_expire(
    candidate: Callable[..., Leadership], server: RedisServer, broker: "redis.Redis", key: str
) -> None:
    leader = candidate()
    assert leader.stand()

    expires_at = time.monotonic() + broker.pttl(key) / 1000
    server.pause()
    eventually(lambda: not leader.leads(), within=2 * TTL)

    assert time.monotonic() < expires_at


def test_an_outage_that_is_shorter_than_the_term_does_not_end_it(
    candidate: Callable[..., Leadership], server: RedisServer, broker: "redis.Redis", key: str
) -> None:
    leader = candidate()
    assert leader.stand()
    token = leader.token

    server.pause()
    eventually(lambda: leader.outages, within=TTL)
    server.resume()
    before = broker.get(key)
    eventually(lambda: broker.get(key) != before, within=TTL)

    assert leader.leads()
    assert leader.token == token


def test_a_leader_whose_lock_another_one_has_steps_down_and_leaves_it_alone(
    candidate: Callable[..., Leadership], broker: "redis.Redis", key: str
) -> None:
    leader = candidate()
    assert leader.stand()

    broker.set(key, "another.term:0")
    eventually(lambda: not leader.leads(), within=TTL)
    leader.resign()

    assert broker.get(key) == "another.term:0"


def test_each_term_has_a_token_of_its_own(candidate: Callable[..., Leadership]) -> None:
    leader = candidate()
    assert leader.stand()
    first = leader.token

    leader.resign()
    assert leader.stand()

    assert leader.token not in ("", first)


def test_a_leader_that_resigns_frees_the_lock(
    candidate: Callable[..., Leadership], broker: "redis.Redis", key: str
) -> None:
    first, second = candidate(), candidate()
    assert first.stand()

    first.close()

    assert broker.get(key) is None
    assert second.stand()


def test_a_lock_whose_answer_was_lost_is_its_candidate_s_own(
    candidate: Callable[..., Leadership], server: RedisServer, broker: "redis.Redis", key: str
) -> None:
    leader = candidate()
    assert leader.stand()
    leader.resign()  # its connection stays open

    server.pause()
    with pytest.raises(LockUnavailable):
        leader.stand()
    server.resume()
    eventually(lambda: broker.get(key), within=TTL / 2)

    assert leader.stand()


def test_a_lock_that_redis_has_lost_is_made_anew_by_its_leader(
    candidate: Callable[..., Leadership], broker: "redis.Redis", key: str
) -> None:
    leader = candidate()
    assert leader.stand()

    broker.flushall()
    held = eventually(lambda: broker.get(key), within=TTL)

    assert held.startswith(leader.token)
    assert leader.leads()


def test_after_a_flush_there_is_one_leader(
    candidate: Callable[..., Leadership], broker: "redis.Redis"
) -> None:
    both = [candidate(), candidate()]
    assert len(leaders(both)) == 1

    broker.flushall()
    follower = next(one for one in both if not one.leads())
    assert follower.stand()  # the first to ask

    eventually(lambda: leaders(both) == [follower], within=TTL)


def test_while_redis_is_away_nobody_leads_and_afterwards_one_does(
    candidate: Callable[..., Leadership], server: RedisServer
) -> None:
    both = [candidate(), candidate()]
    assert len(leaders(both)) == 1

    server.stop()
    eventually(lambda: not leaders(both), within=2 * TTL)
    server.start()

    eventually(lambda: len(leaders(both)) == 1, within=2 * TTL)


def test_a_restart_of_redis_leaves_one_leader(
    candidate: Callable[..., Leadership], server: RedisServer
) -> None:
    both = [candidate(), candidate()]
    assert len(leaders(both)) == 1

    server.restart()

    eventually(lambda: len(leaders(both)) == 1, within=3 * TTL)


def test_a_lock_that_stands_still_for_a_term_is_taken_over_though_redis_keeps_it(
    candidate: Callable[..., Leadership], broker: "redis.Redis", key: str
) -> None:
    follower = candidate()
    broker.set(key, "dead.term:7")  # as after Redis's clock was set back: it does not expire

    began = time.monotonic()
    eventually(follower.stand, within=2 * TTL)

    assert time.monotonic() - began >= TTL


def test_a_lock_that_moves_is_not_taken_over(
    candidate: Callable[..., Leadership], broker: "redis.Redis", key: str
) -> None:
    follower = candidate()

    def renewed() -> bool:
        broker.set(key, f"living.term:{time.monotonic_ns()}")
        return follower.stand()

    assert not any(throughout(1.5 * TTL, renewed))


def test_a_leader_whose_loop_hangs_is_followed_by_another(
    candidate: Callable[..., Leadership],
) -> None:
    hanging, other = candidate(hangs=0.5), candidate()
    assert hanging.stand()

    eventually(other.stand, within=3 * TTL)

    assert not hanging.leads()


def test_each_outage_is_told_once(
    candidate: Callable[..., Leadership], server: RedisServer
) -> None:
    leader = candidate()
    assert leader.stand()

    server.stop()
    eventually(lambda: not stands(leader), within=2 * TTL)
    server.start()
    eventually(lambda: stands(leader), within=2 * TTL)
    server.stop()
    eventually(lambda: len(leader.outages) == 2, within=TTL)

    assert len(leader.outages) == 2


def test_an_error_holds_no_password(server: RedisServer, key: str) -> None:
    url = server.url.replace("redis://", "redis://user:geheim@")
    leader = Leadership(url, key, TTL, hangs=60)

    with pytest.raises(LockUnavailable) as refused:
        leader.stand()

    assert "refuses" in str(refused.value) or "does not answer" in str(refused.value)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:geh/eim@localhost/0",
        "redis://:geheim@localhost/0?no_such_option=1",
        "rediss://:geheim@localhost/0?ssl_cert_reqs=CERT_REQUIRED",
    ],
)
def test_a_url_that_cannot_be_is_refused_before_it_is_used(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="worchflow_redis_backend") as refused:
        Leadership(url, "leader", TTL, hangs=60)

    assert "eim" not in str(refused.value)
