"""Live events over forks, and while Redis is away."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.test_live import add_flows, gather, is_completed, tell
from tests.support import Bench, deliver, eventually, take
from worchflow_celery import Worchflow, errors, servers, signals
from worchflow_celery.live import Watch
from worchflow_celery.observed import Update
from worchflow_celery.servers import Servers


@pytest.fixture
def watch(worchflow: Worchflow) -> Iterator[Watch]:
    with worchflow.watch() as watching:
        yield watching


# -- forks -------------------------------------------------------------------------------------


def in_a_fork(work: Callable[[], None]) -> int:
    """Run something in a forked process; its exit code, or -9 when it hangs."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(pid, 9)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_process_tells_its_own_events_and_none_of_its_parent_s(
    worchflow: Worchflow, watch: Watch
) -> None:
    tell(worchflow, "parent")

    def child() -> None:
        tell(worchflow, "child")
        worchflow.close()

    assert in_a_fork(child) == 0
    worchflow.close()

    seen: list[Update] = []
    eventually(lambda: seen.extend(watch.poll()) or len(seen) >= 2)
    assert sorted(str(one.execution_id) for one in seen) == ["child", "parent"]
    assert len({one.worker for one in seen}) == 2


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_fork_while_a_signal_is_being_sent_leaves_no_lock_behind(worchflow: Worchflow) -> None:
    def receiver(**_: Any) -> None: ...

    signals.execution_updated.connect(receiver, sender=worchflow)
    lock: Any = signals.execution_updated.lock  # type: ignore[attr-defined]

    with lock:
        code = in_a_fork(lambda: tell(worchflow, "child"))

    assert code == 0


# -- a Redis that goes away --------------------------------------------------------------------


@pytest.fixture
def own_redis(bench: Bench) -> Iterator[Servers]:
    """A Redis of the test's own, which it may end, beside the broker."""
    with servers.start() as running:
        yield running


@pytest.fixture
def apart(bench: Bench, own_redis: Servers) -> Iterator[Worchflow]:
    """The binding of an app whose live events go there."""
    with bench.celery() as app:
        bound = bench.bind(app, redis_backend=own_redis.redis_url)
        add_flows(bound)
        yield bound
        bound.close()


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_executions_neither_fail_nor_slow_down_while_redis_is_away(
    apart: Worchflow, own_redis: Servers, how: str
) -> None:
    apart.send("pay")
    deliver(apart.app)
    server: Any = own_redis.redis
    server.kill() if how == "killed" else server.pause()
    handles = [apart.send("pay") for _ in range(20)]
    began = time.monotonic()

    while (request := take(apart.app)) is not None:
        request.execute()

    assert time.monotonic() - began < 10
    assert {handle.status for handle in handles} == {"completed"}
    if how == "frozen":
        server.resume()


def test_a_watch_goes_on_when_redis_is_back(apart: Worchflow, own_redis: Servers) -> None:
    server: Any = own_redis.redis
    with apart.watch() as watch:
        apart.send("pay", id="before")
        deliver(apart.app)
        gather(watch, is_completed)
        server.kill()
        eventually(lambda: watch.poll() == [] and not watch.connected)
        apart.send("pay", id="meanwhile")
        deliver(apart.app)
        server.start()

        seen = gather(watch, lambda one: is_completed(one) and one.execution_id == "meanwhile")

    assert watch.connected
    # Those of the one before may come again: whether they had arrived was not known any more.
    assert sum(one.execution_id == "meanwhile" for one in seen) == 13


def test_a_watch_that_begins_while_redis_is_away_says_so(
    apart: Worchflow, own_redis: Servers
) -> None:
    server: Any = own_redis.redis
    server.kill()

    with pytest.raises(errors.LiveUnavailable, match="does not answer"):
        apart.watch()
