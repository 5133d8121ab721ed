"""Every page by axe: WCAG 2.0, 2.1 and 2.2, A and AA, in light and dark, on a desk and a phone."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.dashboard.browsing import browser
from tests.dashboard.furnished import bound, fill, serving
from tests.support import Bench
from worchflow_celery.servers import Servers

RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"],
    "rules": {"target-size": {"enabled": True}},  # 2.2, off by default
    "resultTypes": ["violations"],
}
#: All that a dark page can have besides what a light one has.
COLOURS = {**RULES, "runOnly": {"type": "rule", "values": ["color-contrast"]}}
LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 390)]
PAGES = ["/", "/flows", "/flows/pay", "/schedules", "/schedules/nightly", "/workers", "/audit"]
FORMS = ["/send", "/send?flow=pay", "/send?flow=pay&as=json", "/send?flow=plain"]
FULL = ["/?status=failed", "/?flow=nightly&status=failed", "/?status=cancelled&limit=1", "/nothing"]
FATES = "completed failed retrying waiting processing parent queued cancelled paused".split()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def place(running_servers: Servers) -> Iterator[Bench]:
    """A shop that all tests here look at, and none changes."""
    urls = {"redis_url": running_servers.redis_url, "database_url": running_servers.database_url}
    made = Bench(**urls, prefix=f"a{uuid.uuid4().hex[:10]}")
    yield made
    made.clean()


@pytest.fixture(scope="module")
def empty(running_servers: Servers, place: Bench) -> Iterator[str]:
    bare = Bench(place.redis_url, place.database_url, f"{place.prefix}0")
    with bound(bare) as (app, _), serving(app) as address:
        yield address
    bare.clean()


@pytest.fixture(scope="module")
def full(place: Bench) -> Iterator[tuple[str, dict[str, str]]]:
    """A dashboard with one execution for each way that they go, and their ids."""
    with bound(place) as (app, worchflow):
        ids = fill(place, app, worchflow)
        with serving(app) as address:
            yield address, ids


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    opened = chromium.new_page()
    yield opened
    opened.close()


def faults(page: Page) -> list[str]:
    """What axe finds, everything unfolded, in each look."""
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    axe, found = Axe(), []
    for scheme, width in LOOKS:
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        rules = RULES if scheme == "light" else COLOURS
        for rule in axe.run(page, options=rules).response["violations"]:
            found += [f"{scheme} {width}: {_told(rule, node)}" for node in rule["nodes"]]
    return found


def _told(rule: dict[str, Any], node: dict[str, Any]) -> str:
    return f"{rule['id']} at {node['target']}: {node['failureSummary']}"


@pytest.mark.parametrize("path", [*PAGES, *FORMS])
def test_an_empty_dashboard_can_be_used_by_everybody(page: Page, empty: str, path: str) -> None:
    page.goto(empty + path)

    assert faults(page) == []


@pytest.mark.parametrize("path", [*PAGES, *FULL])
def test_a_full_dashboard_can_be_used_by_everybody(
    page: Page, full: tuple[str, dict[str, str]], path: str
) -> None:
    page.goto(full[0] + path)

    assert faults(page) == []


@pytest.mark.parametrize("fate", FATES)
def test_every_execution_can_be_read_by_everybody(
    page: Page, full: tuple[str, dict[str, str]], fate: str
) -> None:
    page.goto(f"{full[0]}/executions/{full[1][fate]}")

    assert faults(page) == []


def test_the_list_of_keys_can_be_read_by_everybody(page: Page, empty: str) -> None:
    page.goto(empty)
    page.locator("#keys").click()

    assert faults(page) == []


def test_a_refused_form_tells_everybody_which_fields_do_not_fit(page: Page, empty: str) -> None:
    page.goto(f"{empty}/send?flow=pay")
    page.get_by_label("Amount").fill("-1")
    page.get_by_role("button", name="Send").click()

    assert page.locator("[aria-invalid]").count() > 0
    assert faults(page) == []


def test_what_is_asked_before_many_are_changed_can_be_read_by_everybody(
    page: Page, full: tuple[str, dict[str, str]]
) -> None:
    page.goto(f"{full[0]}/bulk/retry?status=failed")

    assert faults(page) == []


def test_how_far_many_are_changed_can_be_read_by_everybody(
    page: Page, full: tuple[str, dict[str, str]], place: Bench
) -> None:
    with bound(place) as (_, worchflow):
        stopped = worchflow.runtime.store.batches.insert("retry", "?status=failed", "ana", 3)
        worchflow.runtime.store.batches.stop(stopped.id, "by hand")

    page.goto(f"{full[0]}/batches/{stopped.id}")

    assert page.locator("progress").count() == 1
    assert faults(page) == []


def test_a_form_as_commands_can_be_read_by_everybody(
    page: Page, full: tuple[str, dict[str, str]]
) -> None:
    page.goto(f"{full[0]}/send?flow=plain")
    page.get_by_role("button", name="Show as command").click()

    assert page.locator("#ways").count() == 1
    assert faults(page) == []


def test_a_store_that_is_down_is_told_to_everybody(page: Page, place: Bench) -> None:
    with (
        bound(place, database_url="mongodb://127.0.0.1:9/worchflow") as (app, _),
        serving(app) as address,
    ):
        page.goto(address)

        assert page.locator(".banner[role=alert]:visible").count() == 1
        assert faults(page) == []


def test_a_dashboard_that_changes_nothing_can_be_used_by_everybody(
    page: Page, place: Bench
) -> None:
    with bound(place) as (app, _), serving(app, read_only=True) as address:
        page.goto(address)

        assert faults(page) == []
