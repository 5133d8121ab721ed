"""What a dashboard says while MongoDB or Redis is away, and that it finds back by itself."""

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.browsing import browser
from tests.dashboard.conftest import FAILING, PAYMENT, Visitor
from tests.dashboard.furnished import bound, serving
from tests.support import Bench, deliver
from worchflow_celery import Worchflow, servers
from worchflow_celery.dashboard import create_app
from worchflow_celery.servers import Servers


@pytest.fixture
def own() -> Iterator[Servers]:
    """Servers of the test's own, which it may end."""
    with servers.start() as running:
        yield running


@pytest.fixture
def shop(own: Servers) -> Iterator[Worchflow]:
    """A shop on them, with one execution that ended well and one that failed."""
    bench = Bench(own.redis_url, own.database_url, prefix="outage")
    with bound(bench) as (app, worchflow):
        worchflow.send("pay", PAYMENT, id="good")
        worchflow.send("pay", FAILING, id="bad")
        deliver(app)
        yield worchflow


@pytest.fixture
def visitor(shop: Worchflow) -> Visitor:
    visitor = Visitor(create_app(shop.app))
    assert visitor.get("/").status_code == 200  # it is connected
    return visitor


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_store_that_goes_away_is_told_within_two_seconds(
    own: Servers, shop: Worchflow, visitor: Visitor, how: str
) -> None:
    mongod: Any = own.mongod
    mongod.kill() if how == "killed" else mongod.pause()
    another = Visitor(create_app(shop.app))  # the first one takes its last answer for fresh
    begun = time.monotonic()

    answer = another.get("/")

    assert time.monotonic() - begun < 2
    assert answer.status_code == 503
    assert "MongoDB is not available since" in answer.text
    if how == "frozen":
        mongod.resume()


def test_without_redis_everything_can_be_read(own: Servers, visitor: Visitor) -> None:
    own.redis.kill()

    for path in ("/", "/executions/bad", "/flows/pay", "/schedules", "/workers", "/send?flow=pay"):
        assert visitor.get(path).status_code == 200, path


def test_without_redis_what_is_sent_is_stored(
    own: Servers, shop: Worchflow, visitor: Visitor
) -> None:
    own.redis.kill()
    form = visitor.get("/send?flow=plain").text
    key = re.search(r'name="key" value="([^"]+)"', form)
    assert key is not None

    answer = visitor.post("/send", {"flow": "plain", "key": key[1], "as": "json", "json": "1"})

    assert answer.status_code == 303
    assert shop.get(key[1]).status == "queued"


def test_without_redis_what_failed_is_put_back_in_line(
    own: Servers, shop: Worchflow, visitor: Visitor
) -> None:
    own.redis.kill()

    answer = visitor.post("/act", {"action": "retry", "id": "bad", "token": "t"})

    assert answer.status_code == 303
    assert shop.get("bad").status == "queued"


@pytest.fixture
def page(shop: Worchflow) -> Iterator[Page]:
    with serving(shop.app) as address, browser() as launched:
        opened = launched.new_page(base_url=address)
        yield opened
        opened.close()


def test_an_open_page_keeps_its_rows_greyed_and_comes_back_by_itself(
    own: Servers, page: Page
) -> None:
    mongod: Any = own.mongod
    page.goto("/")
    row = page.locator('input[value="bad"]')
    row.check()

    mongod.pause()

    expect(page.locator("#lost")).to_contain_text("MongoDB is not available", timeout=15_000)
    expect(page.locator("main")).to_have_class("stale")
    expect(row).to_be_checked()
    expect(page.locator(".bulk button").first).to_be_disabled()

    mongod.resume()

    expect(page.locator("#lost")).to_be_hidden(timeout=15_000)
    expect(page.locator(".bulk button").first).to_be_enabled()
