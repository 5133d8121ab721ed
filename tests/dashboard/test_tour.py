"""The first minute: the demo and its cards, which only development mode gives an app."""

import re
from collections.abc import Callable, Iterator

import pytest
from celery import Celery

from tests.dashboard.conftest import Visitor
from tests.support import Bench, deliver
from worchflow_celery import Worchflow, demo
from worchflow_celery.dashboard import create_app

HEADING = "The first minute"


@pytest.fixture
def toured(shop: Worchflow, celery_app: Celery) -> Worchflow:
    """The shop in development mode."""
    demo.add(celery_app)
    return shop


def cards(page: str) -> dict[str, dict[str, str]]:
    """What the form of each card sends, by its button."""
    forms = re.findall(r'<form method="post" action="/send">(.*?)</form>', page, re.S)
    found = {}
    for form in forms:
        fields = re.findall(r'name="(\w+)" value="([^"]*)"', form)
        title = re.search(r"<button[^>]*>([^<]+)<", form)
        assert title is not None
        found[title[1]] = {name: value.replace("&#34;", '"') for name, value in fields}
    return found


def test_an_app_that_development_mode_did_not_start_has_no_tour(visitor: Visitor) -> None:
    assert HEADING not in visitor.get("/").text


def test_the_demo_is_added_once_and_only_to_an_app_that_is_bound(
    toured: Worchflow, celery_app: Celery
) -> None:
    unbound = Celery("unbound", set_as_current=False)

    demo.add(celery_app)
    demo.add(unbound)

    assert demo.DEMO in toured.flows
    assert demo.DEMO not in unbound.tasks


@pytest.mark.parametrize("path", ["/?status=failed", "/?flow=pay", "/flows"])
def test_the_tour_is_on_the_first_page_only(toured: Worchflow, visitor: Visitor, path: str) -> None:
    assert HEADING in visitor.get("/").text
    assert HEADING not in visitor.get(path).text


def test_who_may_not_send_is_not_asked_to(toured: Worchflow, visit: Callable[..., Visitor]) -> None:
    assert HEADING not in visit(read_only=True).get("/").text


def test_the_first_run_is_drawn(toured: Worchflow, celery_app: Celery, visitor: Visitor) -> None:
    assert "begins as soon as the worker is there" in visitor.get("/").text

    toured.send(demo.DEMO, demo.Order(), id=demo.FIRST)
    deliver(celery_app)

    page = visitor.get("/").text
    assert f'class="thumb" href="/executions/{demo.FIRST}"' in page
    assert 'class="bar completed"' in page.partition("cards")[0]


def test_each_card_sends_what_it_says_and_shows_what_became_of_it(
    toured: Worchflow, celery_app: Celery, visitor: Visitor
) -> None:
    for title in [trial.title for trial in demo.TRIALS]:
        answer = visitor.post("/send", cards(visitor.get("/").text)[title])
        assert answer.status_code == 303
        assert answer.headers["location"] in visitor.get("/").text

    page = visitor.get("/").text
    assert '<details class="card tour" id="tour" data-keep="tour">' in page


def test_a_failed_step_is_tried_again_and_those_before_it_are_not(
    bench: Bench, toured: Worchflow, celery_app: Celery
) -> None:
    handle = toured.send(demo.DEMO, demo.TRIALS[1].order)

    deliver(celery_app)

    found = handle.get()
    assert (found.status, found.attempt) == ("completed", 2)
    reserve, charge, _ = toured.steps(handle.id)
    assert (reserve.attempt, charge.attempt) == (1, 2)


def test_where_no_process_can_be_killed_the_demo_says_so(
    toured: Worchflow, celery_app: Celery
) -> None:
    handle = toured.send(demo.DEMO, demo.TRIALS[2].order)

    deliver(celery_app)

    error = handle.get().error
    assert error is not None and "press k in the terminal" in error.message


@pytest.fixture
def bare(bench: Bench, celery_app: Celery) -> Iterator[Visitor]:
    """A visitor of an app with no flow of its own, in development mode."""
    bound = bench.bind(celery_app)
    demo.add(celery_app)
    yield Visitor(create_app(celery_app))
    bound.close()


def test_an_app_without_a_flow_of_its_own_is_told_how_to_write_one(bare: Visitor) -> None:
    assert "Your app has no flow of its own yet" in bare.get("/").text


def test_an_app_with_flows_is_not_taught_to_write_one(toured: Worchflow, visitor: Visitor) -> None:
    assert "Your app has no flow of its own yet" not in visitor.get("/").text
