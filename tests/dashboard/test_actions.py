"""What an operator does with buttons and forms."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.dashboard.conftest import FAILING, PAYMENT, Visitor
from tests.support import deliver
from worchflow_celery import Worchflow

Run = Callable[..., str]


def hidden(page: str, name: str) -> str:
    """The value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None
    return found[1]


def test_a_failed_execution_is_retried_by_its_button(
    visitor: Visitor, run: Run, shop: Worchflow
) -> None:
    failed = run("pay", FAILING)
    token = hidden(visitor.get(f"/executions/{failed}").text, "token")

    answer = visitor.post("/act", {"action": "retry", "id": failed, "token": token})

    assert answer.status_code == 303
    assert answer.headers["location"] == f"/executions/{failed}"
    assert shop.get(failed).status == "queued"


def test_a_double_click_retries_once_and_shows_the_same_page(
    visitor: Visitor, run: Run, shop: Worchflow
) -> None:
    form = {"action": "retry", "id": run("pay", FAILING), "token": "t1"}

    first, second = visitor.post("/act", form), visitor.post("/act", form)

    assert (first.status_code, second.status_code) == (303, 303)
    assert second.headers["location"] == first.headers["location"]


def test_what_the_status_does_not_allow_is_a_conflict_that_names_it(
    visitor: Visitor, run: Run
) -> None:
    answer = visitor.post("/act", {"action": "retry", "id": run("pay", PAYMENT), "token": "t"})

    assert answer.status_code == 409
    assert "only a failed or cancelled one can be" in answer.text
    assert 'class="status completed"' in answer.text


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"action": "retry", "id": "nobody"}, 404),
        ({"action": "drop", "id": "x"}, 400),
        ({"id": "x"}, 400),
        ({"action": "retry", "id": "a b"}, 400),
        ({"action": "retry", "id[$ne]": "x"}, 400),
        ({"action": "pause-schedule", "flow": "pay"}, 404),
        ({"action": "trigger", "flow": "nobody"}, 404),
    ],
)
def test_an_action_that_cannot_be_is_refused(
    visitor: Visitor, form: dict[str, str], status: int
) -> None:
    assert visitor.post("/act", form).status_code == status


def test_only_what_is_legal_has_a_button(visitor: Visitor, run: Run, shop: Worchflow) -> None:
    done, failed = run("pay", PAYMENT), run("pay", FAILING)
    waiting = shop.send("plain", 1, delay=60).id

    def buttons(execution_id: str) -> set[str]:
        page = visitor.get(f"/executions/{execution_id}").text
        return set(re.findall(r'name="action" value="(\w+)"', page))

    assert buttons(done) == {"restart"}
    assert buttons(failed) == {"retry", "restart"}
    assert buttons(waiting) == {"cancel", "pause"}


def test_an_execution_is_paused_resumed_and_cancelled(visitor: Visitor, shop: Worchflow) -> None:
    waiting = shop.send("plain", 1, delay=60).id

    for action, seen in (("pause", True), ("resume", False)):
        visitor.post("/act", {"action": action, "id": waiting, "token": action})
        assert shop.get(waiting).paused is seen
    visitor.post("/act", {"action": "cancel", "id": waiting, "token": "c"})

    assert shop.get(waiting).status == "cancelled"


def test_a_restart_leads_to_the_new_execution(visitor: Visitor, run: Run, shop: Worchflow) -> None:
    done = run("pay", PAYMENT)

    answer = visitor.post("/act", {"action": "restart", "id": done, "token": "t", "from_step": ""})

    new = answer.headers["location"].removeprefix("/executions/")
    assert new != done
    assert shop.get(new).data == shop.get(done).data


def test_selected_executions_are_retried_and_the_others_named(
    visitor: Visitor, run: Run, shop: Worchflow
) -> None:
    failed, done = run("pay", FAILING), run("pay", PAYMENT)

    page = visitor.post("/bulk", {"action": "retry", "id": [failed, done], "back": "?"}).text

    assert "Retried 1 of 2" in page
    assert "is completed: only a failed or cancelled one" in page
    assert shop.get(failed).status == "queued"


@pytest.mark.parametrize("ids", [[], [f"x{number}" for number in range(201)]])
def test_a_selection_has_a_size(visitor: Visitor, ids: list[str]) -> None:
    assert visitor.post("/bulk", {"action": "retry", "id": ids}).status_code == 400


def test_a_schedule_is_paused_resumed_and_run_now(visitor: Visitor, shop: Worchflow) -> None:
    visitor.post("/act", {"action": "pause-schedule", "flow": "nightly", "token": "1"})
    paused = shop.schedules()[0].paused
    visitor.post("/act", {"action": "resume-schedule", "flow": "nightly", "token": "2"})

    answer = visitor.post("/act", {"action": "trigger", "flow": "nightly", "token": "3"})

    started = shop.get(answer.headers["location"].removeprefix("/executions/"))
    assert (paused, shop.schedules()[0].paused) == (True, False)
    assert started.flow == "nightly"


# -- send --------------------------------------------------------------------------------------

FIELDS = {
    "flow": "pay",
    "as": "fields",
    "key": "form-1",
    "data.amount": "100",
    "data.customer": "cust_7",
    "data.currency": "USD",
    "data.ship_to.city": "Berlin",
    "data.tags": "new\nvip",
}


def test_the_form_has_the_fields_of_the_event(visitor: Visitor) -> None:
    page = visitor.get("/send?flow=pay").text

    names = set(re.findall(r'name="(data\.[^"]+)"', page))
    assert names == {*FIELDS, "data.ship_to.zip"} - {"flow", "as", "key"}
    assert "In cents." in page


def test_a_filled_form_starts_an_execution(
    visitor: Visitor, shop: Worchflow, celery_app: Any
) -> None:
    answer = visitor.post("/send", FIELDS)
    deliver(celery_app)

    assert answer.headers["location"] == "/executions/form-1"
    found = shop.get("form-1")
    assert found.status == "completed"
    assert found.data == {
        "amount": 100, "customer": "cust_7", "currency": "USD",
        "ship_to": {"city": "Berlin", "zip": None}, "tags": ["new", "vip"],
    }  # fmt: skip


def test_a_form_that_is_sent_twice_starts_one_execution(visitor: Visitor, shop: Worchflow) -> None:
    first, second = visitor.post("/send", FIELDS), visitor.post("/send", FIELDS)

    assert first.headers["location"] == second.headers["location"]
    assert len(shop.find()) == 1


def test_a_form_that_is_changed_and_sent_again_says_so(visitor: Visitor) -> None:
    visitor.post("/send", FIELDS)

    answer = visitor.post("/send", {**FIELDS, "data.amount": "200"})

    assert answer.status_code == 409
    assert hidden(answer.text, "key") != "form-1"
    assert 'value="200"' in answer.text


@pytest.mark.parametrize(
    ("changes", "field", "why"),
    [
        ({"data.amount": "x"}, "data.amount", "valid integer"),
        ({"data.amount": "-5"}, "data.amount", "greater than 0"),
        ({"data.amount": ""}, "data.amount", "Field required"),
        ({"data.currency": "GBP"}, "data.currency", "EUR"),
        ({"id": "a b"}, "id", "id is"),
        ({"id": "cron:x"}, "id", "cron:"),
        ({"delay": "-5"}, "delay", "delay is"),
        ({"delay": "soon"}, "delay", "must be seconds"),
        ({"delay": "nan"}, "delay", "delay is"),
        ({"as": "json", "json": "{"}, "json", "not JSON"),
        ({"as": "json", "json": '{"amount": NaN}'}, "json", "not JSON"),
    ],
)
def test_what_does_not_fit_is_said_beside_its_field_and_nothing_is_sent(
    visitor: Visitor, shop: Worchflow, changes: dict[str, str], field: str, why: str
) -> None:
    answer = visitor.post("/send", {**FIELDS, **changes})

    assert answer.status_code == 422
    fault = re.search(rf'id="fault-{re.escape(field)}">([^<]*)<', answer.text)
    assert fault is not None and why in fault[1]
    assert shop.find() == []


def test_json_that_does_not_fit_names_the_place(visitor: Visitor) -> None:
    form = {"flow": "pay", "as": "json", "json": '{"amount": 1}', "key": "k"}

    answer = visitor.post("/send", form)

    assert answer.status_code == 422
    assert "customer: Field required" in answer.text


def test_another_one_like_an_execution_is_filled_in(visitor: Visitor, run: Run) -> None:
    found = run("pay", {**PAYMENT, "tags": ["a", "b"], "ship_to": {"city": "Rome"}})

    page = visitor.get(f"/send?flow=pay&like={found}").text

    assert 'value="cust_7"' in page and 'value="Rome"' in page and ">a\nb</textarea>" in page


def test_a_body_that_is_too_large_is_refused(visitor: Visitor) -> None:
    answer = visitor.post("/send", {"flow": "plain", "json": "x" * 13_000_000})

    assert answer.status_code == 413


def test_a_form_of_another_kind_is_refused(visitor: Visitor) -> None:
    files = {"file": ("x", b"1")}
    headers = {"origin": "http://localhost"}

    assert visitor.ask("POST", "/send", files=files, headers=headers).status_code == 415
