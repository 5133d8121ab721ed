"""What the pages show."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.dashboard.conftest import FAILING, PAYMENT, Visitor
from worchflow_celery import Worchflow
from worchflow_celery.clock import utcnow
from worchflow_celery.models import Window
from worchflow_celery.windows import line_of

Run = Callable[..., str]

PAGES = ["/", "/flows", "/flows/pay", "/schedules", "/schedules/nightly", "/workers", "/audit"]
FORMS = ["/send", "/send?flow=pay", "/send?flow=plain", "/send?flow=pay&as=json"]
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "\"'><b>bold</b>",
    "{{ 7 * 7 }}",
    "a\x1b[31mred\x00\u202eback",
]


def ids(page: str) -> list[str]:
    """The executions of a list, in their order."""
    return re.findall(r'<tbody data-id="([^"]+)"', page)


@pytest.mark.parametrize("path", [*PAGES, *FORMS])
def test_every_page_is_there_before_anything_has_happened(visitor: Visitor, path: str) -> None:
    answer = visitor.get(path)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_the_list_shows_the_newest_first_with_their_input(visitor: Visitor, run: Run) -> None:
    first, second = run("pay", PAYMENT), run("pay", FAILING)

    page = visitor.get("/").text

    assert ids(page) == [second, first]
    assert "cust_7" in page
    assert "no answer for cust_13" in page


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("status=failed", ["bad"]),
        ("status=completed", ["good"]),
        ("status=failed&status=completed", ["bad", "good"]),
        ("flow=plain", []),
        ("q=customer:cust_7", ["good"]),
        ("q=customer%3Dcust_13", ["bad"]),
        ("q=goo", ["good"]),
        ("last=1h", ["bad", "good"]),
        ("before=2020-01-01T00:00:00Z", []),
        ("limit=1", ["bad"]),
    ],
)
def test_a_filter_shows_what_it_says(
    visitor: Visitor, run: Run, query: str, shown: list[str]
) -> None:
    run("pay", PAYMENT, id="good")
    run("pay", FAILING, id="bad")

    assert ids(visitor.get(f"/?{query}").text) == shown


def test_older_pages_go_on_where_the_one_before_ended(visitor: Visitor, run: Run) -> None:
    sent = [run("plain", number) for number in range(5)]

    found, path = [], "/?limit=2"
    while path:
        page = visitor.get(path).text
        found += ids(page)
        link = re.search(r'rel="next" href="([^"]+)"', page)
        path = link[1].replace("&amp;", "&") if link else ""

    assert found == sent[::-1]


def test_the_tabs_count_each_status(visitor: Visitor, run: Run) -> None:
    run("pay", PAYMENT)
    run("pay", FAILING)

    page = visitor.get("/").text

    counts = dict(re.findall(r"</span>(\w+) <span class=\"count\">([\d,k+]*)</span>", page))
    assert {"completed": "1", "failed": "1", "queued": "0"}.items() <= counts.items()


def test_an_empty_list_says_which_filter_found_nothing(visitor: Visitor, run: Run) -> None:
    run("pay", PAYMENT)

    page = visitor.get("/?status=failed&flow=pay").text

    assert "There are none failed, of the flow pay." in page


def test_an_execution_shows_steps_error_traceback_and_what_a_retry_keeps(
    visitor: Visitor, run: Run
) -> None:
    failed = run("pay", FAILING)

    page = visitor.get(f"/executions/{failed}").text

    assert "ConnectionError" in page
    assert "Traceback (most recent call last)" in page
    assert "A retry keeps the completed step" in page
    assert ">Check</a>" in page


def test_an_execution_names_its_children_and_they_their_parent(visitor: Visitor, run: Run) -> None:
    parent = run("parent")

    page = visitor.get(f"/executions/{parent}").text

    child = re.search(r"/executions/(child%3A[0-9a-f]+)", page)
    assert child is not None
    assert parent in visitor.get(f"/executions/{child[1]}").text


@pytest.mark.parametrize("execution_id", ["a/b", "a/../b", "x.y", "./x", "a//b", "a/"])
def test_every_id_that_can_be_leads_to_its_page(
    visitor: Visitor, run: Run, execution_id: str
) -> None:
    run("plain", 1, id=execution_id)

    link = re.search(r'class="mono" href="([^"]+)"', visitor.get("/").text)

    assert link is not None
    assert f'id="id">{execution_id}<' in visitor.get(link[1]).text


def test_an_unknown_execution_is_not_found(visitor: Visitor) -> None:
    answer = visitor.get("/executions/nobody")

    assert answer.status_code == 404
    assert "no execution has the id" in answer.text


@pytest.mark.parametrize("text", HOSTILE)
def test_a_payload_is_text_wherever_it_is_shown(visitor: Visitor, run: Run, text: str) -> None:
    found = run("pay", {"amount": 13, "customer": text, "tags": [text]})

    for path in ("/", f"/executions/{found}", "/flows/pay", f"/send?flow=pay&like={found}"):
        page = visitor.get(path).text
        assert "<img" not in page and "<b>" not in page and "<script>alert" not in page
        assert ">49<" not in page
        if not path.startswith("/send"):  # a form holds what is to be sent
            assert "\x1b" not in page and "\u202e" not in page


def test_large_data_is_not_read_for_a_list(visitor: Visitor, run: Run) -> None:
    run("plain", "x" * 100_000)

    assert "97.7 KiB of data" in visitor.get("/").text


def test_a_flow_shows_how_its_last_executions_went(visitor: Visitor, run: Run) -> None:
    run("pay", PAYMENT)
    run("pay", FAILING)

    page = visitor.get("/flows/pay").text

    assert "Charge a customer." in page
    assert re.search(r"50 % <span class=\"muted\">of 2", page)
    assert "no answer for cust_13" in page


@pytest.fixture
def windows(shop: Worchflow) -> list[Window]:
    """Three windows of the nightly flow; one was missed."""
    now = utcnow()
    shop.runtime.store.schedules.begin([line_of(shop.flows["nightly"].definition)])
    outcomes: list[dict[str, Any]] = [
        {"outcome": "fired", "execution_id": "cron:nightly@1"},
        {"outcome": "missed-skipped", "reason": "no leader fired it; 1 missed since 02:58"},
        {"outcome": "overlap-skipped", "reason": "the execution of an earlier window"},
    ]
    found = [
        Window(
            flow="nightly",
            scheduled_for=(now - timedelta(days=number)).replace(microsecond=0),
            fired_at=now,
            **more,
        )
        for number, more in enumerate(outcomes)
    ]
    return shop.runtime.store.schedules.decide(found)


def test_schedules_show_missed_windows_with_their_reason(
    visitor: Visitor, windows: list[Window]
) -> None:
    page = visitor.get("/schedules").text

    assert "3 windows, 1 missed" in page
    assert "no leader fired it; 1 missed since 02:58" in page


def test_a_schedule_shows_every_window_and_what_comes(
    visitor: Visitor, windows: list[Window]
) -> None:
    page = visitor.get("/schedules/nightly").text

    for one in windows:
        assert f"{one.scheduled_for:%Y-%m-%d %H:%M:%S}" in page
    assert page.count("03:00:00</span>") == 10


def test_a_document_that_cannot_be_read_does_not_hide_the_others(
    visitor: Visitor, run: Run, bench: Any
) -> None:
    sound, broken = run("plain", 1), run("plain", 2)
    bench.collection("executions").update_one({"_id": broken}, {"$set": {"attempt": "x"}})

    page = visitor.get("/").text

    assert ids(page) == [sound]
    assert f"{broken}</span> cannot be read" in page


def test_a_step_that_cannot_be_read_does_not_hide_its_execution(
    visitor: Visitor, run: Run, bench: Any
) -> None:
    found = run("pay", PAYMENT)
    bench.collection("steps").update_one({}, {"$unset": {"key": ""}})

    for path in ("/", f"/executions/{found}", "/flows/pay"):
        assert visitor.get(path).status_code == 200
    assert ids(visitor.get("/").text) == [found]


def test_a_page_under_a_path_links_to_pages_under_that_path(visitor: Visitor, run: Run) -> None:
    found = run("pay", PAYMENT)
    outer = Visitor(Starlette(routes=[Mount("/ops/flows", visitor.app)]))

    for path in ("/", f"/executions/{found}", "/flows", "/schedules", "/send?flow=pay"):
        page = outer.get(f"/ops/flows{path}")
        links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text)
        assert page.status_code == 200
        assert all(link.startswith("/ops/flows/") for link in links)
