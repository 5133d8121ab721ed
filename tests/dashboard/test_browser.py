"""The dashboard in a real browser, with a real worker behind it."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.dashboard.browsing import browser as open_browser
from tests.dashboard.browsing import dashboard
from tests.support import Bench, workers
from worchflow_celery import Worchflow
from worchflow_celery.clock import utcnow

PATHS = ["/", "/flows", "/flows/pay", "/schedules", "/workers", "/audit", "/send?flow=pay"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_browser() as launched:
        yield launched


@pytest.fixture
def served(bench: Bench, tmp_path: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    with dashboard(bench, tmp_path / "dashboard.log") as running:
        yield running


@pytest.fixture
def address(served: tuple[str, Any]) -> str:
    return served[0]


@pytest.fixture
def worker(bench: Bench, tmp_path: Path) -> Iterator[Any]:
    with workers(bench, tmp_path, "tests.dashboard.stall") as start:
        yield start("-P", "threads", "-c", "2").ready()


@pytest.fixture
def stall(bench: Bench) -> Iterator[Worchflow]:
    """Sends to the stall, without its flows."""
    bound = bench.bind(bench.celery())
    yield bound
    bound.close()


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
    """A page on which nothing may go wrong."""
    context = chromium.new_context(base_url=address)
    opened = context.new_page()
    opened.set_default_timeout(8000)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    yield opened
    context.close()
    assert [one for one in faults if "503" not in one and "net::ERR" not in one] == []


def test_a_form_is_sent_and_the_execution_ends_before_ones_eyes(page: Page, worker: Any) -> None:
    page.goto("/send?flow=pay")
    page.get_by_label("Amount").fill("100")
    page.get_by_label("Customer").fill("cust_7")
    page.get_by_role("button", name="Send").click()

    expect(page.locator("h1 .status")).to_have_text(re.compile("completed"), timeout=10_000)
    expect(page.locator("[data-part=output]")).to_contain_text("100")


def test_a_change_is_seen_within_a_second(page: Page, worker: Any, stall: Worchflow) -> None:
    handle = stall.send("approve", {"order": 1})
    page.goto(f"/executions/{handle.id}")
    expect(page.locator("h1 .status")).to_have_text(re.compile("waiting"), timeout=10_000)
    expect(page.locator("#live-word")).to_have_text("live")

    handle.signal("answer", "yes")
    handle.result(timeout=10)

    expect(page.locator("h1 .status")).to_have_text(re.compile("completed"), timeout=1000)


def test_new_executions_wait_and_move_nothing(page: Page, stall: Worchflow) -> None:
    first = stall.send("pay", {"amount": 1, "customer": "a"}, delay=600).id
    page.goto("/")
    box = page.locator(f'input[value="{first}"]')
    box.check()

    stall.send("pay", {"amount": 2, "customer": "b"}, delay=600)

    expect(page.locator("#fresh")).to_have_text("1 new ↑", timeout=5000)
    expect(page.locator("tbody[data-id]")).to_have_count(1)
    expect(box).to_be_checked()
    page.locator("#fresh").click()
    expect(page.locator("tbody[data-id]")).to_have_count(2)


def test_the_seventh_tab_is_answered(chromium: Browser, address: str) -> None:
    context = chromium.new_context(base_url=address)
    for _ in range(6):
        tab = context.new_page()
        tab.goto("/")
        expect(tab.locator("#live-word")).to_have_text("live", timeout=10_000)

    seventh = context.new_page()
    seventh.goto("/flows", timeout=3000)

    expect(seventh.locator("h1")).to_have_text("Flows")
    context.close()


def test_it_ends_soon_while_a_page_listens(
    served: tuple[str, "subprocess.Popen[bytes]"], page: Page
) -> None:
    page.goto("/")
    expect(page.locator("#live-word")).to_have_text("live", timeout=10_000)

    begun = time.monotonic()
    served[1].send_signal(signal.SIGTERM)
    served[1].wait(5)

    assert time.monotonic() - begun < 4
    expect(page.locator("#lost")).to_be_visible(timeout=15_000)
    expect(page.locator("h1")).to_have_text("Executions")


def test_without_javascript_one_reads_sends_and_retries(
    chromium: Browser, address: str, worker: Any, stall: Worchflow
) -> None:
    context = chromium.new_context(base_url=address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    page.get_by_role("link", name="Send").first.click()
    page.get_by_label("Flow").select_option("pay")
    page.get_by_role("button", name="Next").click()
    page.get_by_label("Amount").fill("13")
    page.get_by_label("Customer").fill("cust_13")
    page.get_by_role("button", name="Send").click()
    found = page.url.rpartition("/")[2]
    _failed(stall, found)

    page.reload()
    page.get_by_role("button", name="Retry").click()

    assert page.url.endswith(found)
    assert stall.get(found).trigger.kind == "retry"
    context.close()


def _failed(stall: Worchflow, execution_id: str) -> None:
    with pytest.raises(Exception, match="no answer"):
        stall.handle(execution_id).result(timeout=10)


def test_a_double_click_does_it_once(page: Page, worker: Any, stall: Worchflow) -> None:
    failed = stall.send("pay", {"amount": 13, "customer": "c"}).id
    _failed(stall, failed)
    page.goto(f"/executions/{failed}")

    page.get_by_role("button", name="Retry").dblclick()

    expect(page.locator("h1")).to_contain_text("pay")
    _failed(stall, failed)
    assert len(stall.get(failed).attempts) == 2


def test_a_hostile_payload_runs_nothing(page: Page, worker: Any, stall: Worchflow) -> None:
    text = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    found = stall.send("pay", {"amount": 13, "customer": text}).id
    _failed(stall, found)

    for path in ("/", f"/executions/{found}", "/flows/pay"):
        page.goto(path)
        assert page.locator("main img, main script").count() == 0
        assert "owned" not in page.title()


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_wider_than_a_phone(chromium: Browser, address: str, path: str) -> None:
    context = chromium.new_context(base_url=address, viewport={"width": 390, "height": 844})
    page = context.new_page()

    page.goto(path)

    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_the_theme_is_chosen_without_a_cookie_and_kept(page: Page) -> None:
    page.goto("/")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")

    page.locator("#theme").click()
    page.goto("/flows")

    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert page.context.cookies() == []


def test_keys_lead_to_rows_and_pages(page: Page, stall: Worchflow) -> None:
    found = stall.send("pay", {"amount": 1, "customer": "a"}, delay=600).id
    page.goto("/")

    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/executions/{found}")
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.wait_for_url("**/schedules")


def test_a_view_is_a_filter_with_a_name_that_stays(page: Page, stall: Worchflow) -> None:
    stall.send("pay", {"amount": 1, "customer": "a"}, delay=600)
    name = "<img src=x onerror=\"document.title='owned'\"> mine"
    page.goto("/?status=failed&flow=pay")
    page.get_by_text("Views", exact=True).click()
    page.locator("#views-name").fill(name)
    page.get_by_role("button", name="Save").click()

    page.goto("/")
    page.get_by_text("Views", exact=True).click()
    page.get_by_role("link", name=name).click()
    page.wait_for_url("**/?status=failed&flow=pay")
    page.go_back()

    expect(page).to_have_url(re.compile(r"/$"))
    assert "owned" not in page.title()
    page.get_by_text("Views", exact=True).click()
    page.get_by_role("button", name="Forget the view").click()
    expect(page.locator("#views-list li")).to_have_count(0)
    page.reload()
    expect(page.locator("#views-list li")).to_have_count(0)


def test_a_click_on_a_bar_sets_the_time_and_back_undoes_it(
    page: Page, bench: Bench, stall: Worchflow
) -> None:
    stall.send("pay", {"amount": 1, "customer": "a"}, delay=600)
    minute = (utcnow() - timedelta(minutes=5)).replace(second=0, microsecond=0)
    took = {"buckets": {"3": 1}, "total": 10, "longest": 6}
    ended = {"flow": "pay", "completed": 1, "failed": 0, "cancelled": 0}
    flows = [{**ended, "duration": took, "wait": took}]
    bench.collection("rollups").insert_one({"_id": minute, "flows": flows})
    page.goto("/?flow=pay")

    page.locator(".chart a", has_text=f"{minute:%H:%M} –").click()
    page.wait_for_url("**/?flow=pay&after=*")
    expect(page.get_by_label("From")).to_have_value(re.compile(f"{minute:%Y-%m-%dT%H:%M}"))
    page.go_back()

    page.wait_for_url("**/?flow=pay")


def test_it_works_under_a_path(
    chromium: Browser, bench: Bench, tmp_path: Path, stall: Worchflow
) -> None:
    found = stall.send("pay", {"amount": 1, "customer": "a"}, delay=600).id
    with dashboard(bench, tmp_path / "below.log", root_path="/ops/flows") as (address, _):
        page = chromium.new_page(base_url=address)

        page.goto("/ops/flows/")
        page.locator(".c-id a").click()

        expect(page.locator("#id")).to_have_text(found)
        assert page.url == f"{address}/ops/flows/executions/{found}"
        page.close()


def test_every_page_has_one_heading(page: Page) -> None:
    for path in PATHS:
        page.goto(path)
        assert page.locator("h1").count() == 1


def test_what_a_page_loads_is_small(page: Page) -> None:
    sizes: list[int] = []
    page.on("requestfinished", lambda request: sizes.append(request.sizes()["responseBodySize"]))

    page.goto("/flows", wait_until="load")
    expect(page.locator("#live")).to_be_visible()

    assert 0 < sum(sizes) < 120 * 1024
