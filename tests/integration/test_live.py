"""What all processes tell of themselves, seen from one of them."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import ImproperlyConfigured

from tests.support import Bench, deliver
from worchflow_celery import Event, Step, Worchflow, errors, signals
from worchflow_celery.live import KEPT, TOGETHER, Watch
from worchflow_celery.observed import Update


@pytest.fixture(autouse=True)
def flows(worchflow: Worchflow) -> None:
    add_flows(worchflow)


def add_flows(worchflow: Worchflow) -> None:
    @worchflow.flow("pay", retries=1, retry_delay=0)
    def pay(event: Event[Any], step: Step) -> str:
        step.run("check", lambda: "secret result")
        if event.attempt == 1:
            step.run("charge", lambda: [].pop())
        return "secret result"


@pytest.fixture
def watch(worchflow: Worchflow) -> Iterator[Watch]:
    with worchflow.watch() as watching:
        yield watching


def tell(worchflow: Worchflow, name: str) -> None:
    signals.execution_updated.send(worchflow, execution_id=name, flow="pay", status="queued")


def gather(watch: Watch, last: Callable[[Update], bool]) -> list[Update]:
    """Updates up to the last one that is wanted."""
    seen: list[Update] = []
    deadline = time.monotonic() + 10
    while not (seen and last(seen[-1])):
        assert time.monotonic() < deadline, seen
        seen += watch.poll()
    return seen


def is_completed(update: Update) -> bool:
    return update.event == "execution_updated" and update.status == "completed"


def test_a_watch_sees_what_signals_tell_in_their_order(
    worchflow: Worchflow, celery_app: Celery, watch: Watch
) -> None:
    id = worchflow.send("pay", "secret data").id
    deliver(celery_app)

    seen = gather(watch, is_completed)
    assert {(one.execution_id, one.flow) for one in seen} == {(id, "pay")}
    assert [f"{one.event} {one.status or one.key or ''}".strip() for one in seen] == [
        "execution_updated queued",
        "execution_started",
        "execution_updated processing",
        "step_started check",
        "step_completed check",
        "step_started charge",
        "step_failed charge",
        "execution_failed",
        "execution_updated retrying",
        "execution_started",
        "execution_updated processing",
        "execution_completed completed",
        "execution_updated completed",
    ]


def test_an_update_says_what_happened_where_and_when(
    worchflow: Worchflow, celery_app: Celery, watch: Watch
) -> None:
    worchflow.send("pay")
    deliver(celery_app)

    failed = next(one for one in gather(watch, is_completed) if one.event == "execution_failed")
    assert (failed.attempt, failed.will_retry) == (1, True)
    assert failed.error is not None
    assert (failed.error.type, failed.error.message) == ("IndexError", "pop from empty list")
    assert failed.error.traceback is None
    assert failed.worker == worchflow.get(str(failed.execution_id)).attempts[0].worker
    assert failed.at.utcoffset() is not None


def test_no_payload_is_in_the_stream(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, watch: Watch
) -> None:
    worchflow.send("pay", "secret data")
    deliver(celery_app)
    gather(watch, is_completed)

    with bench.broker() as redis:
        entries = redis.xrange(f"{bench.prefix}:live")
    assert str(entries).count("execution_id") == 13
    assert "secret" not in str(entries)


def test_a_watch_of_one_execution_sees_no_other(worchflow: Worchflow, celery_app: Celery) -> None:
    with worchflow.watch("mine") as mine:
        for id in ("other", "mine"):
            worchflow.flows["pay"].send(id=id)
        deliver(celery_app)

        assert {one.execution_id for one in gather(mine, is_completed)} == {"mine"}


def test_a_watch_goes_on_after_the_update_that_it_is_given(
    worchflow: Worchflow, celery_app: Celery, watch: Watch
) -> None:
    worchflow.send("pay")
    deliver(celery_app)
    seen = gather(watch, is_completed)

    with worchflow.watch(since=seen[4].id) as later:
        assert gather(later, is_completed) == seen[5:]


def test_a_watch_goes_on_within_what_was_told_at_once(
    bench: Bench, worchflow: Worchflow, watch: Watch
) -> None:
    for number in range(3):
        tell(worchflow, str(number))
    worchflow.close()
    with bench.broker() as redis:
        assert redis.xlen(f"{bench.prefix}:live") == 1
    first, second, third = gather(watch, lambda one: one.execution_id == "2")

    with worchflow.watch(since=first.id) as later:
        assert later.poll() == [second, third]
        assert later.poll(0.01) == []

    with worchflow.watch(since=third.id) as later:
        assert later.poll(0.01) == []


def test_a_watch_from_zero_begins_with_what_is_kept(
    worchflow: Worchflow, celery_app: Celery, watch: Watch
) -> None:
    worchflow.send("pay")
    deliver(celery_app)
    seen = gather(watch, is_completed)

    with worchflow.watch(since="0") as again:
        assert gather(again, is_completed) == seen


@pytest.mark.parametrize("since", ["", "$", "yesterday", "1-2-3-4", "-1", 5, "1" * 40])
def test_a_place_that_cannot_be_is_refused(worchflow: Worchflow, since: Any) -> None:
    with pytest.raises(errors.InvalidOption, match="since"):
        worchflow.watch(since=since)


def test_a_watch_that_waits_ends_when_it_is_closed(worchflow: Worchflow) -> None:
    watch = worchflow.watch()
    seen: list[Update] = []
    waiting = threading.Thread(target=lambda: seen.extend(watch))
    waiting.start()

    watch.close()
    waiting.join(5)

    assert not waiting.is_alive()
    assert seen == []


def test_ctrl_c_ends_a_watch_that_waits(watch: Watch) -> None:
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()

    with pytest.raises(KeyboardInterrupt):
        next(watch)

    timer.join()


def test_what_is_none_of_ours_in_the_stream_is_passed_over(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, watch: Watch
) -> None:
    with bench.broker() as redis:
        for fields in (
            {"a": "b"},
            {"events": "not json"},
            {"events": "[[], {}]"},
            {"events": "{}"},
        ):
            redis.xadd(f"{bench.prefix}:live", fields)
    worchflow.send("pay")
    deliver(celery_app)

    assert gather(watch, is_completed)[0].event == "execution_updated"


def test_the_stream_is_capped_and_does_not_outlive_its_app_for_long(
    bench: Bench, worchflow: Worchflow
) -> None:
    key = f"{bench.prefix}:live"
    with bench.broker() as redis, redis.pipeline(transaction=False) as pipeline:
        for number in range(3 * KEPT):
            pipeline.xadd(key, {"events": str(number)})
        pipeline.execute()

        tell(worchflow, "1")
        worchflow.close()

        assert KEPT <= redis.xlen(key) <= KEPT + 100
        assert 0 < redis.ttl(key) <= 86_400


def test_many_events_are_some_entries(bench: Bench, worchflow: Worchflow) -> None:
    for number in range(2 * TOGETHER + 1):
        tell(worchflow, str(number))
    worchflow.close()

    with bench.broker() as redis:
        entries = redis.xrange(f"{bench.prefix}:live")
    sizes = [len(json.loads(fields[b"events"])) for _, fields in entries]
    assert sum(sizes) == 2 * TOGETHER + 1
    assert max(sizes) <= TOGETHER


def test_without_live_events_nothing_is_written(bench: Bench) -> None:
    with bench.celery() as app:
        silent = bench.bind(app, live_events=False)
        add_flows(silent)

        silent.flows["pay"].apply()
        silent.close()

    with bench.broker() as redis:
        assert redis.exists(f"{bench.prefix}:live") == 0


def test_a_broker_that_is_no_redis_has_no_live_events(bench: Bench) -> None:
    with bench.celery() as app:
        app.conf.broker_url = "memory://"
        worchflow = bench.bind(app)
        add_flows(worchflow)

        worchflow.flows["pay"].apply()

        with pytest.raises(ImproperlyConfigured, match="worchflow_redis_backend"):
            worchflow.watch()
        worchflow.close()


def test_live_events_can_go_to_another_redis_than_the_broker(bench: Bench) -> None:
    with bench.celery() as app:
        app.conf.broker_url = "memory://"
        worchflow = bench.bind(app, redis_backend=bench.redis_url)
        add_flows(worchflow)

        with worchflow.watch() as watch:
            worchflow.flows["pay"].apply()

            assert is_completed(gather(watch, is_completed)[-1])
        worchflow.close()


def test_a_process_that_ends_tells_what_it_has_not_told_yet(
    bench: Bench, worchflow: Worchflow
) -> None:
    with worchflow.watch() as watch:
        worchflow.send("pay")
        worchflow.close()

        assert watch.poll()[0].status == "queued"
