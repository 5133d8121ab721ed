"""What waits in the broker."""

import json
from typing import Any

from celery import Celery

from tests.dashboard.conftest import Visitor
from tests.support import Bench, deliver
from worchflow_celery import Worchflow, queues
from worchflow_celery.dashboard import create_app
from worchflow_celery.observed import QueueInfo, WorkerInfo

API = "/api/v1/queues"


def the_queue(visitor: Visitor, bench: Bench) -> dict[str, Any]:
    found = {one["name"]: one for one in visitor.get(API).json()["items"]}
    return found[bench.prefix]


def test_a_queue_says_how_much_waits_and_since_when(
    visitor: Visitor, shop: Worchflow, bench: Bench
) -> None:
    first = shop.send("plain", 1)
    shop.send("plain", 2)

    told = the_queue(visitor, bench)

    assert (told["ready"], told["unacked"], told["consumers"]) == (2, 0, 0)
    assert told["oldest_at"] == shop.get(first.id).model_dump(mode="json")["created_at"]


def test_an_empty_queue_has_no_oldest(
    visitor: Visitor, shop: Worchflow, bench: Bench, celery_app: Celery
) -> None:
    shop.send("plain", 1)
    deliver(celery_app)

    told = the_queue(visitor, bench)

    assert (told["ready"], told["oldest_at"]) == (0, None)


def test_queues_that_flows_name_are_among_them(
    shop: Worchflow, visitor: Visitor, bench: Bench
) -> None:
    @shop.flow("elsewhere", queue=f"{bench.prefix}-slow")
    def elsewhere(event: Any) -> None: ...

    names = [one["name"] for one in visitor.get(API).json()["items"]]

    assert names == [bench.prefix, f"{bench.prefix}-slow"]


def test_what_a_worker_holds_is_counted_by_queue(
    visitor: Visitor, shop: Worchflow, bench: Bench
) -> None:
    held = [f"{bench.prefix}.worchflow", bench.prefix, "another", bench.prefix]
    with bench.broker() as broker:
        for number, queue in enumerate(held):
            broker.hset("unacked", f"{bench.prefix}-{number}", json.dumps([{}, "", queue]))
        broker.hset("unacked", f"{bench.prefix}-9", "not JSON")

        try:
            assert the_queue(visitor, bench)["unacked"] == 3
        finally:
            broker.hdel("unacked", *(f"{bench.prefix}-{number}" for number in (*range(4), 9)))


def test_a_message_of_somebody_else_is_no_reason_to_fail(
    visitor: Visitor, shop: Worchflow, bench: Bench
) -> None:
    with bench.broker() as broker:
        for text in ("not JSON", '["a"]', '{"headers": {"id": {"$gt": ""}}}', "[" * 100_000):
            broker.lpush(bench.prefix, text)
            told = the_queue(visitor, bench)
            broker.delete(bench.prefix)

            assert (told["ready"], told["oldest_at"]) == (1, None)


def test_workers_that_take_from_a_queue_are_counted(
    shop: Worchflow, bench: Bench, visitor: Visitor
) -> None:
    facts = {"name": "w@h", "host": "h", "pid": 1, "pool": "solo", "concurrency": 1, "busy": 0}
    more = {"queues": [bench.prefix], "flows": [], "version": "1"}
    shop.runtime.store.workers.seen("w", {**facts, **more})

    found = queues.queues(shop.runtime, shop.workers())

    assert [one.consumers for one in found] == [1]


def test_a_queue_from_which_nobody_takes_is_said_to_be_one(visitor: Visitor) -> None:
    assert "none takes from it" in visitor.get("/workers").text


def test_with_the_broker_away_the_page_says_so_without_its_password(
    bench: Bench,
) -> None:
    app = Celery(bench.prefix, broker="redis://:secret@127.0.0.1:9/0", set_as_current=False)
    bound = bench.bind(app)

    @bound.flow("plain")
    def plain(event: Any) -> None: ...

    visitor = Visitor(create_app(app))
    page, told = visitor.get("/workers"), visitor.get(API)
    bound.close()
    app.close()

    assert page.status_code == told.status_code == 200
    assert "The broker does not answer" in page.text
    assert told.json()["items"] == [] and "127.0.0.1:9" in told.json()["broker"]
    assert "secret" not in page.text + told.text


def test_a_queue_of_another_broker_has_no_more_than_it_can_tell(bench: Bench) -> None:
    app = Celery(bench.prefix, broker="memory://", set_as_current=False)
    bound = bench.bind(app)

    @bound.flow("plain")
    def plain(event: Any) -> None: ...

    found = queues.queues(bound.runtime, [])
    bound.close()
    app.close()

    assert found == [QueueInfo(name="celery", ready=0, unacked=None, oldest_at=None, consumers=0)]


def test_a_worker_that_is_gone_takes_from_nothing(shop: Worchflow, bench: Bench) -> None:
    gone = WorkerInfo.model_construct(alive=False, queues=["elsewhere"])

    assert [one.name for one in queues.queues(shop.runtime, [gone])] == [bench.prefix]


def test_more_than_can_be_told_apart_are_not_read(
    visitor: Visitor, shop: Worchflow, bench: Bench
) -> None:
    key = f"{bench.prefix}-unacked"
    shop.app.conf.broker_transport_options = {"unacked_key": key}
    with bench.broker() as broker:
        broker.hset(key, mapping={str(number): "x" for number in range(1001)})

        try:
            assert the_queue(visitor, bench)["unacked"] is None
        finally:
            broker.delete(key)
