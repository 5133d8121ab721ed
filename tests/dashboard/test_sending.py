"""What the form offers beside its fields: data that was sent before, and the same as a command."""

import html
import json
import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from tests.dashboard.conftest import PAYMENT, Visitor
from worchflow_celery import Worchflow, redaction
from worchflow_celery.dashboard import Access
from worchflow_celery.dashboard.commands import same

Run = Callable[..., str]
FORM = {
    "flow": "pay",
    "as": "fields",
    "key": "form-1",
    "show": "1",
    "data.amount": "100",
    "data.customer": "O'Brien <b>",
}


def ways(page: str) -> dict[str, str]:
    """The commands of a page by their names."""
    found = re.findall(r'<strong>(\w+)</strong>.*?<code id="way-\d">(.*?)</code>', page, re.S)
    return {name: html.unescape(text) for name, text in found}


def test_the_last_five_data_can_be_sent_again(visitor: Visitor, run: Run) -> None:
    for number in range(1, 8):
        run("pay", {**PAYMENT, "amount": 100 + number}, id=f"p{number}")
    run("plain", 1)

    page = visitor.get("/send?flow=pay").text

    links = re.findall(r'href="(/send\?flow=pay&amp;like=[^"]+)"', page)
    assert [link.rpartition("=")[2] for link in links] == ["p7", "p6", "p5", "p4", "p3"]
    assert 'value="107"' in visitor.get(html.unescape(links[0])).text


def test_what_is_hidden_is_not_offered(visit: Callable[..., Visitor], run: Run) -> None:
    run("pay", PAYMENT)
    hidden = visit(redact=redaction.fields("customer"))
    unseen = visit(auth=lambda request: Access("operator", "oli", payloads=False))

    for visitor in (hidden, unseen):
        page = visitor.get("/send?flow=pay").text
        assert "like=" not in page
        assert "cust_7" not in page


def test_the_data_of_any_execution_is_copied_by_its_id(visitor: Visitor, run: Run) -> None:
    sent = run("pay", PAYMENT)

    page = visitor.get("/send", params={"flow": "pay", "like": sent}).text

    assert 'value="cust_7"' in page
    assert visitor.get("/send?flow=pay&like=nobody").status_code == 404


def test_the_same_is_shown_as_commands_and_nothing_is_sent(
    visitor: Visitor, shop: Worchflow
) -> None:
    answer = visitor.post("/send", FORM)

    assert answer.status_code == 200
    assert set(ways(answer.text)) == {"Command", "Python", "curl"}
    assert "<b>" not in answer.text
    assert 'value="100"' in answer.text
    assert shop.find() == []


def test_each_command_says_what_the_form_says(visitor: Visitor, shop: Worchflow) -> None:
    found = ways(visitor.post("/send", {**FORM, "id": "order-1", "delay": "1.5"}).text)

    data = {"amount": 100, "customer": "O'Brien <b>"}
    command, request = shlex.split(found["Command"]), shlex.split(found["curl"])
    assert command[3:6] == ["worchflow", "send", "pay"]
    assert json.loads(command[command.index("--data") + 1]) == data
    assert command[-4:] == ["--key", "order-1", "--delay", "1.5"]
    assert request[3] == "http://localhost/api/v1/executions"
    assert json.loads(request[-1]) == {"flow": "pay", "data": data, "id": "order-1", "delay": 1.5}
    assert found["Python"] == f"worchflow.send('pay', {data!r}, id='order-1', delay=1.5)"


def test_the_request_that_is_shown_does_what_the_form_does(
    visitor: Visitor, shop: Worchflow
) -> None:
    request = shlex.split(ways(visitor.post("/send", FORM).text)["curl"])

    body = json.loads(request[-1])
    answer = visitor.ask("POST", "/api/v1/executions", json=body)

    assert answer.status_code == 202
    sent = shop.get(answer.json()["id"]).data
    assert {name: sent[name] for name in body["data"]} == body["data"]


def test_what_may_be_left_out_is_left_out_where_nothing_is_filled_in(
    visitor: Visitor, shop: Worchflow
) -> None:
    nothing = {"data.ship_to.city": "", "data.ship_to.zip": " ", "data.tags": ""}

    answer = visitor.post("/send", {**FORM, "show": "", **nothing})

    sent = shop.get(answer.headers["location"].rpartition("/")[2])
    assert sent.data["ship_to"] is None


@pytest.mark.parametrize("change", [{"data.amount": "-1"}, {"id": "a b"}, {"delay": "soon"}])
def test_what_does_not_fit_is_told_instead(visitor: Visitor, change: dict[str, str]) -> None:
    answer = visitor.post("/send", {**FORM, **change})

    assert answer.status_code == 422
    assert 'class="fault"' in answer.text
    assert ways(answer.text) == {}


@pytest.mark.parametrize("data", [None, "$(rm -rf x); `id`", {"a": [1, None, True, "ü\u202e"]}])
def test_no_data_breaks_out_of_a_command(data: Any) -> None:
    command, call, request = same("f", data, key="", delay=None, app="shop", address="http://h/x")

    words = shlex.split(command.text)
    assert words[:6] == ["celery", "-A", "shop", "worchflow", "send", "f"]
    assert len(words) == (6 if data is None else 8)
    assert data is None or json.loads(words[-1]) == data
    assert json.loads(shlex.split(request.text)[-1])["data"] == data
    assert "--delay" not in command.text and "id=" not in call.text
