"""What is done to all executions that a filter finds."""

import base64
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.dashboard.conftest import FAILING, PAYMENT, Visitor
from tests.dashboard.test_actions import hidden
from tests.support import Bench, eventually
from worchflow_celery import Worchflow, redaction
from worchflow_celery.dashboard import basic
from worchflow_celery.observed import Batch

Run = Callable[..., str]
BULK = "/api/v1/executions:bulk"
USERS = basic(
    {
        "ana": ("the admin's word", "admin"),
        "oli": ("the operator's word", "operator"),
        "vic": ("the viewer's word", "viewer"),
    }
)


def ended(shop: Worchflow, batch_id: str) -> Batch:
    """A batch, when it is over."""

    def over() -> Batch | None:
        found = shop.runtime.store.batches.get(batch_id)
        return found if found and found.status in ("completed", "stopped") else None

    batch = eventually(over, what="the batch ends")
    assert batch is not None
    return batch


def begin(visitor: Visitor, path: str, **form: str) -> str:
    """Answer the question of a page with yes; the id of the batch."""
    answer = visitor.post(path, {"token": path, **form})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].rpartition("/")[2]


def many(bench: Bench, one: str, count: int) -> list[str]:
    """Copies of an execution."""
    document = bench.collection("executions").find_one({"_id": one})
    ids = [f"copy-{number}" for number in range(count)]
    bench.collection("executions").insert_many([{**(document or {}), "_id": id} for id in ids])
    return ids


def test_all_that_match_are_retried_after_a_question(
    visitor: Visitor, run: Run, shop: Worchflow
) -> None:
    failed, done = [run("pay", FAILING) for _ in range(3)], run("pay", PAYMENT)

    asked = visitor.get("/bulk/retry?status=failed&flow=pay").text
    batch = ended(shop, begin(visitor, "/bulk/retry?status=failed&flow=pay"))

    assert "Retry 3 executions?" in asked
    assert "failed, of the flow pay, before " in asked
    assert (batch.total, batch.changed, batch.skipped) == (3, 3, 0)
    assert {shop.get(one).status for one in failed} == {"queued"}
    assert shop.get(done).status == "completed"


def test_all_that_match_are_cancelled(visitor: Visitor, shop: Worchflow) -> None:
    waiting = [shop.send("plain", number, delay=60).id for number in range(3)]

    batch = ended(shop, begin(visitor, "/bulk/cancel?flow=plain"))

    assert batch.changed == 3
    assert {shop.get(one).status for one in waiting} == {"cancelled"}


def test_what_is_sent_after_the_question_is_not_meant(
    visitor: Visitor, run: Run, shop: Worchflow
) -> None:
    run("pay", FAILING)
    page = visitor.get("/bulk/retry?status=failed").text
    later = run("pay", FAILING)

    action = re.search(r'action="(/bulk/retry[^"]+)"', page)
    assert action is not None
    ended(shop, begin(visitor, action[1].replace("&amp;", "&")))

    assert shop.get(later).status == "failed"


def test_a_batch_takes_more_than_one_look(
    visitor: Visitor, run: Run, shop: Worchflow, bench: Bench
) -> None:
    ids = many(bench, run("pay", FAILING), 450)

    batch = ended(shop, begin(visitor, "/bulk/retry?status=failed", typed="451"))

    assert (batch.changed, batch.skipped) == (451, 0)
    assert {shop.get(one).status for one in ids[::50]} == {"queued"}


def test_more_than_a_hundred_must_be_typed(visitor: Visitor, run: Run, bench: Bench) -> None:
    many(bench, run("pay", FAILING), 120)

    page = visitor.get("/bulk/retry?status=failed").text
    refused = visitor.post("/bulk/retry?status=failed", {"typed": "120"})

    assert "Type <strong" in page
    assert refused.status_code == 409
    assert "121 executions match now" in refused.text


def test_what_is_no_longer_failed_when_its_turn_comes_is_skipped(
    visitor: Visitor, run: Run, shop: Worchflow, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = run("pay", FAILING), run("pay", FAILING)
    begun = shop.runtime.store.bulk.batch

    def after_a_while(*args: Any) -> Any:
        found = begun(*args)
        shop.retry(other)  # somebody else is faster
        return found

    monkeypatch.setattr(shop.runtime.store.bulk, "batch", after_a_while)
    batch = ended(shop, begin(visitor, "/bulk/retry?status=failed"))

    assert (batch.changed, batch.skipped) == (1, 1)
    assert shop.get(one).status == "queued"
    assert "no longer failed or cancelled" in visitor.get(f"/batches/{batch.id}").text


def test_the_same_form_begins_one_batch(visitor: Visitor, run: Run, bench: Bench) -> None:
    run("pay", FAILING)

    first, second = (begin(visitor, "/bulk/retry?status=failed") for _ in range(2))

    assert first == second
    assert bench.collection("batches").count_documents({}) == 1


def test_a_batch_is_in_the_audit_trail_with_a_way_to_its_page(
    visit: Callable[..., Visitor], run: Run, shop: Worchflow
) -> None:
    run("pay", FAILING)
    ana = visit(auth=USERS, headers={"authorization": _basic("ana", "the admin's word")})

    batch = ended(shop, begin(ana, "/bulk/retry?status=failed&q=customer:cust_13"))

    records = eventually(lambda: len(found := shop.audit.list()) == 2 and found)
    assert [(one.who, one.action, one.n) for one in records] == [
        ("ana", "retry-all ended", 1),
        ("ana", "retry-all", 1),
    ]
    assert all("cust_13" not in one.target for one in records)
    assert f'href="/batches/{batch.id}"' in ana.get("/audit").text


def _basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_a_viewer_sees_how_far_it_is_and_not_what_was_searched_for(
    visit: Callable[..., Visitor], run: Run, shop: Worchflow
) -> None:
    run("pay", FAILING)
    ana = visit(auth=USERS, headers={"authorization": _basic("ana", "the admin's word")})
    vic = visit(auth=USERS, headers={"authorization": _basic("vic", "the viewer's word")})
    batch = ended(shop, begin(ana, "/bulk/retry?q=customer:cust_13"))

    seen = [vic.get(f"{path}/{batch.id}").text for path in ("/batches", "/api/v1/batches")]

    assert all("cust_13" not in text for text in seen)
    assert "customer = [hidden]" in seen[0]
    assert "customer = cust_13" in ana.get(f"/batches/{batch.id}").text


def test_the_hook_hides_what_was_searched_for(
    visit: Callable[..., Visitor], run: Run, shop: Worchflow
) -> None:
    run("pay", FAILING)
    visitor = visit(redact=redaction.fields("customer"))
    batch = ended(shop, begin(visitor, "/bulk/retry?q=customer:cust_13"))

    for path in ("/batches", "/api/v1/batches"):
        assert "cust_13" not in visitor.get(f"{path}/{batch.id}").text


@pytest.mark.parametrize(
    ("name", "password", "options"),
    [
        ("oli", "the operator's word", {}),
        ("vic", "the viewer's word", {}),
        ("ana", "the admin's word", {"read_only": True}),
    ],
)
def test_only_an_admin_acts_on_all_that_match(
    visit: Callable[..., Visitor], run: Run, name: str, password: str, options: dict[str, Any]
) -> None:
    run("pay", FAILING)
    visitor = visit(auth=USERS, headers={"authorization": _basic(name, password)}, **options)

    asked = visitor.get("/bulk/retry?status=failed")
    done = visitor.post("/bulk/retry?status=failed", {})
    by_api = visitor.ask("POST", BULK, json=ALL_FAILED)
    steered = visitor.post("/batches/x", {"action": "stop"})

    assert {one.status_code for one in (asked, done, by_api, steered)} == {403}
    assert "/bulk/retry" not in visitor.get("/?status=failed").text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/bulk/retry", 400),
        ("/bulk/retry?status=completed", 400),
        ("/bulk/cancel?status=failed", 400),
        ("/bulk/retry?q=abc", 400),
        ("/bulk/retry?status[$ne]=x", 400),
        ("/bulk/restart?status=failed", 404),
        ("/bulk/drop?status=failed", 404),
    ],
)
def test_what_cannot_be_meant_is_refused(visitor: Visitor, path: str, status: int) -> None:
    assert visitor.get(path).status_code == status
    assert visitor.post(path, {"token": "t"}).status_code == status


def test_a_batch_is_stopped_and_goes_on(
    visitor: Visitor, run: Run, shop: Worchflow, bench: Bench
) -> None:
    run("pay", FAILING)
    waiting = shop.runtime.store.batches.insert("retry", "?status=failed", "-", 1)

    visitor.post(f"/batches/{waiting.id}", {"action": "stop"})
    stopped = ended(shop, waiting.id)
    page = visitor.get(f"/batches/{waiting.id}").text
    visitor.post(f"/batches/{waiting.id}", {"action": "go-on"})

    assert (stopped.status, stopped.changed) == ("stopped", 0)
    assert 'value="go-on"' in page
    eventually(lambda: ended(shop, waiting.id).changed == 1)


def test_a_batch_whose_dashboard_is_gone_says_so_and_goes_on(
    visitor: Visitor, run: Run, shop: Worchflow, bench: Bench
) -> None:
    run("pay", FAILING)
    left = shop.runtime.store.batches.insert("retry", "?status=failed", "-", 1)
    shop.runtime.store.batches.take(left.id, "one that is gone")
    long_ago = [{"$set": {"seen_at": {"$subtract": ["$seen_at", 60_000]}}}]
    bench.collection("batches").update_one({"_id": left.id}, long_ago)

    page = visitor.get(f"/batches/{left.id}").text
    visitor.post(f"/batches/{left.id}", {"action": "go-on"})

    assert "is gone" in page
    assert ended(shop, left.id).changed == 1


def test_a_batch_that_runs_elsewhere_is_not_run_twice(visitor: Visitor, shop: Worchflow) -> None:
    running = shop.runtime.store.batches.insert("retry", "?status=failed", "-", 1)
    shop.runtime.store.batches.take(running.id, "another dashboard")

    assert shop.runtime.store.batches.take(running.id, "this one") is None
    assert shop.runtime.store.batches.wait_again(running.id) is None


def test_an_unknown_batch_is_not_found(visitor: Visitor) -> None:
    assert visitor.get("/batches/nobody").status_code == 404
    assert visitor.get("/api/v1/batches/nobody").status_code == 404
    assert visitor.post("/batches/nobody", {"action": "stop"}).status_code == 404


def test_the_list_offers_what_fits_the_filter(visitor: Visitor, run: Run) -> None:
    run("pay", FAILING)

    def offered(query: str) -> set[str]:
        return set(re.findall(r'href="/bulk/(\w+)', visitor.get(f"/{query}").text))

    assert offered("?status=failed") == {"retry"}
    assert offered("?flow=pay") == {"retry", "cancel"}
    assert offered("") == set()


# -- by the API --------------------------------------------------------------------------------

ALL_FAILED = {"action": "retry", "filter": {"status": ["failed"]}, "expect_count": 5}


def test_a_filter_begins_a_batch_by_the_api(visitor: Visitor, run: Run, shop: Worchflow) -> None:
    failed = run("pay", FAILING)

    answer = visitor.ask("POST", BULK, json=ALL_FAILED)

    assert answer.status_code == 202
    batch = ended(shop, answer.json()["id"])
    told = visitor.get(answer.headers["location"]).json()
    assert (told["changed"], told["skipped"], told["done"], told["status"]) == (
        1, 0, 1, "completed",
    )  # fmt: skip
    assert batch.changed == 1
    assert shop.get(failed).status == "queued"


def test_a_dry_run_counts_and_changes_nothing(visitor: Visitor, run: Run, shop: Worchflow) -> None:
    failed = run("pay", FAILING)

    counted = visitor.ask("POST", BULK, json={**ALL_FAILED, "dry_run": True})
    chosen = visitor.ask("POST", BULK, json={"action": "retry", "ids": [failed], "dry_run": True})

    assert counted.json() == chosen.json() == {"dry_run": True, "count": 1}
    assert shop.get(failed).status == "failed"


def test_more_than_expected_are_not_changed(visitor: Visitor, run: Run, shop: Worchflow) -> None:
    failed = [run("pay", FAILING) for _ in range(2)]

    answer = visitor.ask("POST", BULK, json={**ALL_FAILED, "expect_count": 1})

    assert answer.status_code == 409
    assert answer.json()["count"] == 2
    assert {shop.get(one).status for one in failed} == {"failed"}


def test_ids_are_acted_on_at_once_and_the_others_named(
    visitor: Visitor, run: Run, shop: Worchflow
) -> None:
    failed, done = run("pay", FAILING), run("pay", PAYMENT)

    body = {"action": "retry", "ids": [failed, done, failed, "nobody"]}
    told = visitor.ask("POST", BULK, json=body).json()

    assert (told["changed"], told["skipped"], told["ids"]) == (1, 2, [failed])
    assert [one["id"] for one in told["refused"]] == [done, "nobody"]
    assert shop.get(failed).status == "queued"


def test_selected_ones_are_restarted_once_however_often_it_is_sent(
    visitor: Visitor, run: Run, shop: Worchflow
) -> None:
    body = {"action": "restart", "ids": [run("pay", PAYMENT)]}

    first, second = (
        visitor.ask("POST", BULK, json=body, headers={"idempotency-key": "k"}).json()
        for _ in range(2)
    )

    assert first["ids"] == second["ids"]
    assert len(shop.find()) == 2


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "retry"},
        {"action": "retry", "ids": ["a"], "filter": {}},
        {"action": "retry", "ids": []},
        {"action": "retry", "ids": [f"x{n}" for n in range(201)]},
        {"action": "retry", "ids": [{"$gt": ""}]},
        {"action": "retry", "ids": "a"},
        {"action": "drop", "ids": ["a"]},
        {"action": "restart", "filter": {"status": "failed"}, "expect_count": 1},
        {"action": "retry", "filter": {}, "expect_count": 1},
        {"action": "retry", "filter": {"status": {"$ne": "x"}}, "expect_count": 1},
        {"action": "retry", "filter": {"status": "failed", "$where": "1"}, "expect_count": 1},
        {"action": "retry", "filter": {"status": "failed", "limit": "1"}, "expect_count": 1},
        {"action": "retry", "filter": {"status": "failed"}},
        {"action": "retry", "filter": {"status": "failed"}, "expect_count": -1},
        {"action": "retry", "filter": {"status": "failed"}, "expect_count": True},
        {"action": "retry", "filter": {"status": "failed"}, "dry_run": "yes"},
        {"action": "retry", "filter": [], "expect_count": 1},
        {"action": "retry", "filter": {"status": "failed"}, "expect_count": 1, "force": True},
    ],
)
def test_a_body_that_cannot_be_is_refused(visitor: Visitor, body: dict[str, Any]) -> None:
    answer = visitor.ask("POST", BULK, json=body)

    assert answer.status_code == 400
    assert answer.json()["detail"]


def test_the_question_has_a_token(visitor: Visitor, run: Run) -> None:
    run("pay", FAILING)

    assert hidden(visitor.get("/bulk/retry?status=failed").text, "token")


def test_a_filter_that_finds_none_begins_a_batch_that_is_over(
    visitor: Visitor, shop: Worchflow
) -> None:
    begun = visitor.ask("POST", BULK, json=ALL_FAILED).json()

    assert ended(shop, begun["id"]).status == "completed"
