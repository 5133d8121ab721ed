"""The JSON API."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.dashboard.conftest import FAILING, PAYMENT, Visitor
from worchflow_celery import Worchflow

Run = Callable[..., str]
API = "/api/v1"


def post(visitor: Visitor, path: str, body: Any = (), **headers: str) -> Any:
    return visitor.ask("POST", API + path, json=body or {}, headers=headers)


def test_a_list_has_what_a_list_needs(visitor: Visitor, run: Run) -> None:
    found = run("pay", PAYMENT)

    item = visitor.get(f"{API}/executions").json()["items"][0]

    assert item["id"] == found
    assert item["data"]["customer"] == "cust_7"
    assert item["status"] == "completed"
    assert not {"result", "attempts"} & set(item)


def test_large_data_is_left_out_of_a_list(visitor: Visitor, run: Run) -> None:
    run("plain", "x" * 100_000)

    item = visitor.get(f"{API}/executions").json()["items"][0]

    assert item["data_bytes"] == 100_002
    assert "data" not in item


def test_a_cursor_leads_to_the_next_page(visitor: Visitor, run: Run) -> None:
    first, second = run("plain", 1), run("plain", 2)

    page = visitor.get(f"{API}/executions?limit=1").json()
    rest = visitor.get(f"{API}/executions", params={"limit": 1, "cursor": page["cursor"]}).json()

    assert [one["id"] for one in page["items"] + rest["items"]] == [second, first]
    assert rest["cursor"] is None


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("status[$ne]=failed", "status[$ne]"),
        ("status=nothing", "status"),
        ("status={%22$gt%22:%22%22}", "status"),
        ("limit=-1", "limit"),
        ("limit=1000000000000", "limit"),
        ("limit=abc", "limit"),
        ("limit=٣", "limit"),
        ("after=yesterday", "after"),
        ("before=99999-01-01", "before"),
        ("last=forever", "last"),
        ("cursor=x", "cursor"),
        ("cursor=W10=", "cursor"),
        ("flow=a b", "flow"),
        ("flow=$where", "flow"),
        ("q=$where:1", "q"),
        ("q=amount:$5", "q"),
        ("limit=1&limit=2", "limit"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(visitor: Visitor, query: str, named: str) -> None:
    answer = visitor.get(f"{API}/executions?{query}")

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].replace("'", "").startswith(named)


@pytest.mark.parametrize("value", ["$gt", '{"$gt": ""}', "[$ne]", "$status", "'; return 1"])
def test_a_searched_value_is_a_value(visitor: Visitor, run: Run, value: str) -> None:
    run("pay", PAYMENT)
    found = run("pay", {**PAYMENT, "customer": value})

    items = visitor.get(f"{API}/executions", params={"q": f"customer:{value}"}).json()["items"]

    assert [one["id"] for one in items] == [found]


def test_an_execution_its_steps_and_attempts_can_be_read(visitor: Visitor, run: Run) -> None:
    failed = run("pay", FAILING)

    execution = visitor.get(f"{API}/executions/{failed}").json()
    steps = visitor.get(f"{API}/executions/{failed}/steps").json()["items"]
    attempts = visitor.get(f"{API}/executions/{failed}/attempts").json()["items"]

    assert execution["error"]["type"] == "ConnectionError"
    assert [(one["key"], one["result"]) for one in steps] == [("Check", "checked")]
    assert [one["outcome"] for one in attempts] == ["failed"]


def test_a_tree_names_parent_and_children(visitor: Visitor, run: Run) -> None:
    parent = run("parent")

    tree = visitor.get(f"{API}/executions/{parent}/tree").json()
    child = tree["children"][0]

    assert child["flow"] == "plain"
    above = visitor.get(f"{API}/executions/{child['id']}/tree").json()["parent"]
    assert above["id"] == parent


@pytest.mark.parametrize("path", ["", "/steps", "/attempts", "/tree"])
def test_an_unknown_execution_is_a_problem(visitor: Visitor, path: str) -> None:
    answer = visitor.get(f"{API}/executions/nobody{path}")

    assert answer.status_code == 404
    assert answer.json()["title"] == "Not Found"


def test_an_execution_is_started(visitor: Visitor, shop: Worchflow) -> None:
    answer = post(visitor, "/executions", {"flow": "pay", "data": PAYMENT, "id": "order-1"})

    assert answer.status_code == 202
    assert answer.json() == {"id": "order-1", "status": "queued"}
    assert answer.headers["location"] == f"{API}/executions/order-1"
    assert shop.get("order-1").data["amount"] == 100


def test_an_idempotency_key_starts_one_execution(visitor: Visitor, shop: Worchflow) -> None:
    body, key = {"flow": "plain", "data": 1}, {"idempotency-key": "key-1"}

    answers = [post(visitor, "/executions", body, **key) for _ in range(2)]
    other = post(visitor, "/executions", {**body, "data": 2}, **key)

    assert [one.json()["id"] for one in answers] == ["key-1", "key-1"]
    assert other.status_code == 409
    assert len(shop.find()) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"flow": "pay", "data": {"amount": "x", "customer": "c"}}, 422),
        ({"flow": "pay", "data": None}, 422),
        ({"flow": "pay"}, 422),
        ({"flow": {"$ne": ""}}, 400),
        ({"flow": "a b"}, 400),
        ({}, 400),
        ({"flow": "plain", "delay": "5"}, 400),
        ({"flow": "plain", "delay": -1}, 400),
        ({"flow": "plain", "id": {"$gt": ""}}, 400),
        ({"flow": "plain", "id": "cron:x"}, 400),
        ({"flow": "plain", "queue": "other"}, 400),
    ],
)
def test_what_cannot_be_started_is_a_problem_and_nothing_is_stored(
    visitor: Visitor, shop: Worchflow, body: Any, status: int
) -> None:
    answer = post(visitor, "/executions", body)

    assert answer.status_code == status
    assert answer.json()["status"] == status
    assert shop.find() == []


def test_each_fault_of_the_data_has_its_field(visitor: Visitor) -> None:
    data = {"amount": "x", "ship_to": {"zip": 5}}

    errors = post(visitor, "/executions", {"flow": "pay", "data": data}).json()["errors"]

    assert {one["field"] for one in errors} == {"amount", "customer", "ship_to.city", "ship_to.zip"}


@pytest.mark.parametrize("content", [b"{", b'{"flow": NaN}', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_is_a_problem(visitor: Visitor, content: bytes) -> None:
    headers = {"content-type": "application/json"}

    answer = visitor.ask("POST", f"{API}/executions", content=content, headers=headers)

    assert answer.status_code == 400


def test_a_body_of_another_kind_is_refused(visitor: Visitor) -> None:
    headers = {"content-type": "text/plain", "origin": "http://localhost"}

    answer = visitor.ask("POST", f"{API}/executions", content=b"{}", headers=headers)

    assert answer.status_code == 415


def test_a_retry_is_accepted_once(visitor: Visitor, run: Run) -> None:
    failed = run("pay", FAILING)

    first, second = (post(visitor, f"/executions/{failed}/retry") for _ in range(2))

    assert (first.status_code, first.json()) == (202, {"id": failed, "status": "queued"})
    assert (second.status_code, second.json()["current_status"]) == (409, "queued")


def test_the_same_key_is_answered_the_same(visitor: Visitor, run: Run) -> None:
    path, key = f"/executions/{run('pay', FAILING)}/retry", {"idempotency-key": "k"}

    answers = [post(visitor, path, {}, **key) for _ in range(2)]

    assert [one.status_code for one in answers] == [202, 202]


@pytest.mark.parametrize("action", ["retry", "cancel", "pause", "resume"])
def test_an_action_on_a_completed_execution_is_a_conflict(
    visitor: Visitor, run: Run, action: str
) -> None:
    done = run("pay", PAYMENT)

    answer = post(visitor, f"/executions/{done}/{action}")

    assert answer.status_code == 409
    assert answer.json()["current_status"] == "completed"


def test_an_execution_is_restarted_from_a_step(visitor: Visitor, run: Run, shop: Worchflow) -> None:
    done = run("pay", PAYMENT)

    answer = post(visitor, f"/executions/{done}/restart", {"from_step": "Check"})
    wrong = post(visitor, f"/executions/{done}/restart", {"from_step": "Nothing"})

    assert answer.status_code == 202 and answer.json()["id"] != done
    assert wrong.status_code == 400


@pytest.mark.parametrize("action", ["drop", "act", "__class__"])
def test_an_unknown_action_is_not_found(visitor: Visitor, action: str) -> None:
    assert post(visitor, f"/executions/x/{action}").status_code == 404
    assert post(visitor, f"/schedules/nightly/{action}").status_code == 404


def test_flows_are_described_with_the_schema_of_their_data(visitor: Visitor) -> None:
    flows = visitor.get(f"{API}/flows").json()["items"]
    schema = visitor.get(f"{API}/flows/pay/schema").json()

    assert [one["id"] for one in flows] == ["nightly", "parent", "pay", "plain"]
    assert schema["required"] == ["amount", "customer"]
    assert visitor.get(f"{API}/flows/nobody").status_code == 404


def test_a_schedule_is_steered(visitor: Visitor, shop: Worchflow) -> None:
    post(visitor, "/schedules/nightly/pause")
    paused = visitor.get(f"{API}/schedules").json()["items"][0]["paused"]
    post(visitor, "/schedules/nightly/resume")
    started = post(visitor, "/schedules/nightly/trigger").json()["see"]

    assert paused is True
    assert shop.schedules()[0].paused is False
    assert visitor.get(API + started).json()["flow"] == "nightly"
    assert len(visitor.get(f"{API}/schedules/nightly/windows").json()["coming"]) == 10


def test_the_description_names_every_route(visitor: Visitor) -> None:
    routes = {route.path for route in visitor.app.routes if route.path.startswith(API)}

    described = visitor.get(f"{API}/openapi.json").json()

    named = {API + path for path in described["paths"]}
    plain = {route.replace(":path", "") for route in routes}
    assert plain - named == {f"{API}/openapi.json"}
    assert {"Execution", "StepRecord", "Problem"} <= set(described["components"]["schemas"])


def test_metrics_are_in_the_text_format(visitor: Visitor, run: Run) -> None:
    run("pay", FAILING)

    text = visitor.get("/metrics").text

    assert "worchflow_up 1\n" in text
    assert 'worchflow_executions{status="failed"} 1\n' in text


QUERIES = """limit=50 status=failed status=queued flow=pay flow=pay&status=failed q=customer:cust_7
q=abc last=1h&status=completed""".split()


def test_many_executions_are_listed_without_reading_the_collection(
    visitor: Visitor, run: Run, bench: Any
) -> None:
    run("pay", FAILING)
    run("pay", PAYMENT)
    bench.database.command("profile", 2)
    try:
        for query in QUERIES:
            assert visitor.get(f"/?{query}").status_code == 200
        visitor.get("/flows/pay")
        visitor.get("/metrics")
    finally:
        bench.database.command("profile", 0)

    seen = list(bench.database["system.profile"].find({"ns": {"$regex": f"{bench.prefix}_exec"}}))
    assert len(seen) > 20
    assert [one for one in seen if "COLLSCAN" in one.get("planSummary", "")] == []
    assert [one for one in seen if one["op"] == "query" and not one["command"].get("limit")] == []
