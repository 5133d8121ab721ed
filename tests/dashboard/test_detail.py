"""What the page of an execution tells beside its steps: log, tree, deeds, what was not reached."""

import re
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from tests.dashboard.conftest import FAILING, PAYMENT, Visitor
from tests.support import deliver, eventually
from worchflow_celery import Event, Step, Worchflow, redaction
from worchflow_celery.dashboard import Access, traces

Run = Callable[..., str]


@pytest.fixture
def chatty(shop: Worchflow, celery_app: Celery) -> str:
    """An execution with three lines in its log."""

    @shop.flow("chatty")
    def chatty(event: Event[Any], step: Step) -> None:
        event.logger.info("Begun")
        step.run("Ask", lambda: step.log("asked for 4111", secret="4111"))
        event.logger.error("it\nbroke \x1b[31mdown")

    sent = shop.send("chatty", id="chat/1").id
    deliver(celery_app)
    eventually(lambda: len(shop.logs(sent)) == 3, what="all lines are kept")
    return sent


def messages(page: str) -> list[str]:
    found = page.partition('data-part="lines"')[2].partition("</section>")[0]
    return re.findall(r'<td class="level-\w+">\w+</td><td>(\w+)', found)


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        ("", ["Begun", "asked", "it"]),
        ("level:error", ["it"]),
        ("level:info attempt:1", ["Begun", "asked", "it"]),
        ("attempt:2", []),
        ("step:ask", ["asked"]),
        ("BEGUN", ["Begun"]),
        ("4111", ["asked"]),
        ("level:error begun", []),
    ],
)
def test_the_log_is_filtered_by_level_attempt_step_and_text(
    visitor: Visitor, chatty: str, log: str, shown: list[str]
) -> None:
    page = visitor.get(f"/executions/{chatty}", params={"log": log}).text

    assert messages(page) == shown


@pytest.mark.parametrize("log", ["level:loud", "attempt:one", "attempt:-1", "x" * 201])
def test_a_filter_of_the_log_that_cannot_be_is_refused(
    visitor: Visitor, chatty: str, log: str
) -> None:
    assert visitor.get(f"/executions/{chatty}", params={"log": log}).status_code == 400
    assert visitor.get("/logs", params={"id": chatty, "log": log}).status_code == 400


def test_the_log_is_a_file_in_which_a_line_is_a_line(visitor: Visitor, chatty: str) -> None:
    answer = visitor.get("/logs", params={"id": chatty})
    errors = visitor.get("/logs", params={"id": chatty, "log": "level:error"})

    assert answer.headers["content-disposition"] == 'attachment; filename="chat_1.log"'
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert len(answer.text.splitlines()) == 3
    assert "\x1b" not in answer.text
    assert errors.text.count("\n") == 1 and "it\\nbroke" in errors.text


def test_what_is_hidden_is_neither_found_nor_downloaded(
    visit: Callable[..., Visitor], chatty: str
) -> None:
    def hide(flow: str, value: Any) -> Any:
        shown = redaction.fields("secret")(flow, value)
        return shown.replace("4111", "****") if isinstance(shown, str) else shown

    visitor = visit(redact=hide)

    assert "4111" not in visitor.get("/logs", params={"id": chatty}).text
    assert messages(visitor.get(f"/executions/{chatty}?log=4111").text) == []


def test_the_log_of_nobody_is_not_found(visitor: Visitor) -> None:
    assert visitor.get("/logs?id=nobody").status_code == 404
    assert visitor.get("/logs?id=a%20b").status_code == 400


def test_a_failure_is_told_with_the_step_in_which_it_happened(
    visitor: Visitor, shop: Worchflow, celery_app: Celery
) -> None:
    @shop.flow("brittle")
    def brittle(event: Event[Any], step: Step) -> None:
        step.run("Check", lambda: None)
        step.run("Charge <b>", lambda: 1 / 0)

    sent = shop.send("brittle").id
    deliver(celery_app)

    page = visitor.get(f"/executions/{sent}").text

    assert "Failed at step “Charge &lt;b&gt;”, attempt 1 of 1" in page


def test_steps_that_the_last_completed_one_had_are_not_reached(
    visitor: Visitor, shop: Worchflow, celery_app: Celery
) -> None:
    @shop.flow("long")
    def long(event: Event[Any], step: Step) -> None:
        step.run("One", lambda: None)
        step.run("Two", lambda: 1 / event.data)
        step.run("Three", lambda: None)

    def page_of(data: int) -> str:
        sent = shop.send("long", data).id
        deliver(celery_app)
        return visitor.get(f"/executions/{sent}").text

    alone, done, failed = page_of(0), page_of(1), page_of(0)

    assert "not reached</span>" not in alone + done
    assert failed.count("not reached</span>") == 1
    assert re.search(r'class="plain">Three</span></span><span class="unreached"', failed)


def test_the_tree_goes_from_the_oldest_ancestor_down(
    visitor: Visitor, shop: Worchflow, celery_app: Celery
) -> None:
    @shop.flow("leaf")
    def leaf(event: Event[Any]) -> None: ...

    @shop.flow("branch")
    def branch(event: Event[Any], step: Step) -> None:
        step.invoke_all("leaves", "leaf", [1, 2])

    @shop.flow("root")
    def root(event: Event[Any], step: Step) -> None:
        step.invoke("branch", "branch", None)

    sent = shop.send("root").id
    deliver(celery_app)
    eventually(lambda: (deliver(celery_app), shop.get(sent).status == "completed")[1])
    found = shop.find(flow="branch")[0].id
    tree = visitor.get(f"/executions/{found}").text.partition('class="rows plain tree"')[2]
    told = visitor.get(f"/api/v1/executions/{sent}/tree").json()

    rows = re.findall(r'<td class="deep-(\d)">.*?(root|branch|leaf)', tree)
    assert rows == [("0", "root"), ("1", "branch"), ("2", "leaf"), ("2", "leaf")]
    assert [one["depth"] for one in told["tree"]] == [0, 1, 2, 2]
    assert told["more"] is False


def test_what_people_did_to_an_execution_is_on_its_page(
    visit: Callable[..., Visitor], run: Run
) -> None:
    failed, other = run("pay", FAILING), run("pay", PAYMENT)
    ana = visit(auth=lambda request: Access("operator", "ana"))
    ana.post("/act", {"action": "retry", "id": failed, "token": "t"})

    page = ana.get(f"/executions/{failed}").text

    assert re.search(r"<td>ana</td><td>retry</td>", page)
    assert 'id="deeds"' not in ana.get(f"/executions/{other}").text


def test_frames_of_libraries_are_folded_and_nothing_is_lost() -> None:
    try:
        Celery("x", set_as_current=False).loader.import_from_cwd("no.such.module")
    except ImportError:
        text = traceback.format_exc()

    parts = traces.parts(text)

    assert "\n".join(part.text for part in parts) == text.rstrip("\n")
    assert [bool(part.frames) for part in parts] == [False, True, False]
    assert parts[1].frames > 1
    assert __file__ in parts[0].text and "ModuleNotFoundError" in parts[2].text


@pytest.mark.parametrize("text", ["", "no traceback", 'File "x", line y', "    \n\n  a\n"])
def test_what_is_no_traceback_stays_as_it_is(text: str) -> None:
    assert "\n".join(part.text for part in traces.parts(text)) == text.rstrip("\n")


def test_a_page_names_its_parts_and_how_much_is_in_them(visitor: Visitor, run: Run) -> None:
    page = visitor.get(f"/executions/{run('pay', FAILING)}").text

    assert 'href="#t-attempts">Attempts <span class="count">1</span>' in page
    assert 'href="#logs"' not in page
