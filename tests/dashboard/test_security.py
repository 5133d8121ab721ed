"""Who may see and do what, from where."""

import base64
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from starlette.requests import Request

from tests.dashboard.conftest import FAILING, PAYMENT, Visitor
from tests.support import Bench
from worchflow_celery import Worchflow, redaction
from worchflow_celery.dashboard import Access, auth_file, basic, token
from worchflow_celery.dashboard.serving import server
from worchflow_celery.errors import InvalidOption

Visit = Callable[..., Visitor]
Run = Callable[..., str]
USERS = basic({"ana": ("ana-password", "operator"), "vic": ("vic-password", "viewer")})
SECRET = "4111-1111-1111-1111"


def basic_header(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


# -- headers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/send?flow=pay", "/nothing", "/api/v1/flows", "/healthz"])
def test_every_answer_forbids_what_no_page_needs(visitor: Visitor, path: str) -> None:
    headers = visitor.get(path).headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


def test_no_page_has_a_script_or_a_style_of_its_own(visitor: Visitor, run: Run) -> None:
    found = run("pay", FAILING)

    for path in ("/", f"/executions/{found}", "/flows/pay", "/schedules", "/send?flow=pay"):
        page = visitor.get(path).text
        assert "<style" not in page and not re.search(r"\s(style|on\w+)=", page)
        assert page.count("<script") == page.count('<script src="/static/')


def test_pages_are_not_kept_and_static_files_are(visitor: Visitor) -> None:
    page = visitor.get("/")
    style = page.text.partition('rel="stylesheet" href="')[2].partition('"')[0]

    assert page.headers["cache-control"] == "no-store"
    assert "immutable" in visitor.get(style).headers["cache-control"]


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "%2e%2e/site.py", ""])
def test_a_static_path_reads_no_other_file(visitor: Visitor, name: str) -> None:
    assert visitor.get(f"/static/1/{name}").status_code == 404


# -- where from --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", ""]
)
def test_without_auth_another_host_name_is_refused(visit: Visit, host: str) -> None:
    assert visit().get("/", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8733", "[::1]:8733", "app.localhost"])
def test_without_auth_this_machine_is_answered(visit: Visit, host: str) -> None:
    assert visit().get("/", headers={"host": host}).status_code == 200


def test_hosts_can_be_named(visit: Visit) -> None:
    visitor = visit(
        auth=USERS, allowed_hosts=["flows.example"], headers=basic_header("ana:ana-password")
    )

    assert visitor.get("/", headers={"host": "flows.example"}).status_code == 200
    assert visitor.get("/", headers={"host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 303),
        ({"sec-fetch-site": "same-origin", "origin": "http://localhost"}, 303),
        ({"origin": "http://localhost"}, 303),  # plain HTTP: no Sec-Fetch-Site
        ({"sec-fetch-site": "cross-site", "origin": "http://localhost"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost.evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({}, 403),
    ],
)
def test_a_form_of_another_site_changes_nothing(
    visitor: Visitor, run: Run, shop: Worchflow, headers: dict[str, str], status: int
) -> None:
    failed = run("pay", FAILING)

    answer = visitor.ask("POST", "/act", data={"action": "retry", "id": failed}, headers=headers)

    assert answer.status_code == status
    assert shop.get(failed).status == ("queued" if status == 303 else "failed")


def test_a_trusted_origin_may_act_through_a_proxy(visit: Visit, run: Run) -> None:
    visitor = visit(trusted_origins=["https://flows.example"])
    headers = {"origin": "https://flows.example", "sec-fetch-site": "same-origin"}

    data = {"action": "retry", "id": run("pay", FAILING)}

    assert visitor.ask("POST", "/act", data=data, headers=headers).status_code == 303


# -- who ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [{}, basic_header("ana:wrong-password"), basic_header("ana"), {"authorization": "Basic %"},
     {"authorization": "Bearer ana-password"}, basic_header("vic:ana-password")],
)  # fmt: skip
def test_whoever_is_not_known_sees_nothing(visit: Visit, run: Run, header: dict[str, str]) -> None:
    found = run("pay", PAYMENT)

    for path in ("/", f"/executions/{found}", "/api/v1/executions", "/metrics", "/api/v1/events"):
        answer = visit(auth=USERS).get(path, headers=header)
        assert answer.status_code == 401
        assert "Basic" in answer.headers["www-authenticate"]
        assert "cust_7" not in answer.text and found not in answer.text.replace(path, "")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_load_balancer_needs_no_name(visit: Visit, path: str) -> None:
    assert visit(auth=USERS).get(path).text == "ok\n"


def test_a_viewer_reads_and_changes_nothing(visit: Visit, run: Run, shop: Worchflow) -> None:
    failed = run("pay", FAILING)
    viewer = visit(auth=USERS, headers=basic_header("vic:vic-password"))

    page, answer = viewer.get("/"), viewer.post("/act", {"action": "retry", "id": failed})

    assert page.status_code == 200 and '<button class="button" name="action"' not in page.text
    assert answer.status_code == 403
    assert viewer.get("/send?flow=pay").status_code == 403
    assert shop.get(failed).status == "failed"


def test_a_viewer_sees_no_payload_unless_it_is_said(visit: Visit, run: Run) -> None:
    found = run("pay", PAYMENT)
    shown = {"auth": lambda request: Access("viewer", payloads=True)}
    hidden = {"auth": lambda request: Access("viewer")}

    for path in ("/", f"/executions/{found}", f"/api/v1/executions/{found}"):
        assert "cust_7" in visit(**shown).get(path).text
        assert "cust_7" not in visit(**hidden).get(path).text


def test_a_token_is_sent_as_bearer_or_as_a_browsers_password(visit: Visit) -> None:
    visitor = visit(auth=token({"secret-token": "admin"}))

    assert visitor.get("/", headers={"authorization": "Bearer secret-token"}).status_code == 200
    assert visitor.get("/", headers=basic_header("anyone:secret-token")).status_code == 200
    assert visitor.get("/", headers={"authorization": "Bearer secret"}).status_code == 401


async def _async_auth(request: Request) -> Access | None:
    return Access("operator", "ana") if request.headers.get("x-user") == "ana" else None


def _auth(request: Request) -> Access | None:
    return Access("operator", "ana") if request.headers.get("x-user") == "ana" else None


@pytest.mark.parametrize("auth", [_auth, _async_auth])
def test_a_function_of_the_request_says_who_it_is(visit: Visit, auth: Any) -> None:
    assert visit(auth=auth).get("/", headers={"x-user": "ana"}).status_code == 200
    assert visit(auth=auth).get("/").status_code == 403


def test_what_somebody_does_is_in_the_audit_trail(visit: Visit, run: Run) -> None:
    failed = run("pay", FAILING)
    operator = visit(auth=USERS, headers=basic_header("ana:ana-password"))

    operator.post("/act", {"action": "retry", "id": failed})

    record = operator.get("/api/v1/audit").json()["items"][0]
    assert (record["who"], record["action"], record["target"]) == ("ana", "retry", failed)


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_read_only_is_kept_by_the_server(
    visit: Visit, run: Run, shop: Worchflow, role: Any
) -> None:
    failed = run("pay", FAILING)
    visitor = visit(auth=lambda request: Access(role), read_only=True)

    answers = [
        visitor.post("/act", {"action": "retry", "id": failed}),
        visitor.post("/act", {"action": "pause-schedule", "flow": "nightly"}),
        visitor.post("/bulk", {"action": "retry", "id": failed}),
        visitor.post("/send", {"flow": "plain", "json": "1", "key": "k"}),
        visitor.ask("POST", f"/api/v1/executions/{failed}/retry", json={}),
        visitor.ask("POST", "/api/v1/executions", json={"flow": "plain"}),
        visitor.ask("POST", "/api/v1/schedules/nightly/pause", json={}),
    ]

    assert {answer.status_code for answer in answers} == {403}
    assert shop.get(failed).status == "failed"
    assert '<form method="post" action="/act"' not in visitor.get(f"/executions/{failed}").text


@pytest.mark.parametrize("secret", ["", "short"])
def test_a_secret_that_is_too_short_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="at least 8"):
        basic({"ana": secret})
    with pytest.raises(ValueError, match="at least 8"):
        token(secret)


def test_users_come_from_a_file(visit: Visit, tmp_path: Any) -> None:
    file = tmp_path / "users"
    file.write_text("# people\nana:admin:pass:word-1\n\nvic:viewer:vic-password\n")

    visitor = visit(auth=auth_file(file))

    assert visitor.get("/", headers=basic_header("ana:pass:word-1")).status_code == 200
    assert visitor.get("/", headers=basic_header("vic:pass:word-1")).status_code == 401


@pytest.mark.parametrize("text", ["", "ana\n", "ana:boss:long-password\n", "ana:admin:short\n"])
def test_a_file_without_users_or_with_a_bad_line_is_refused(tmp_path: Any, text: str) -> None:
    file = tmp_path / "users"
    file.write_text(text)

    with pytest.raises(InvalidOption, match="name:role:password") as refusal:
        auth_file(file)
    assert "long-password" not in str(refusal.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "flows.example"])
def test_an_address_for_others_needs_authentication(
    celery_app: Celery, worchflow: Any, host: str
) -> None:
    with pytest.raises(InvalidOption, match="this machine only"):
        server(celery_app, host, 0)

    assert server(celery_app, host, 0, auth=USERS)
    assert server(celery_app, host, 0, insecure_no_auth=True)
    assert server(celery_app, "127.0.0.1", 0)


# -- what is hidden ----------------------------------------------------------------------------


def test_what_the_hook_hides_is_hidden_everywhere(visit: Visit, run: Run) -> None:
    def hide(flow: str, value: Any) -> Any:
        return str(value).replace(SECRET, "####") if isinstance(value, str) else _deep(value)

    def _deep(value: Any) -> Any:
        return {key: hide("", one) if isinstance(one, str) else one for key, one in value.items()}

    failed = run("pay", {"amount": 13, "customer": SECRET})
    visitor = visit(redact=hide)

    for path in (
        "/", f"/executions/{failed}", "/flows/pay", "/api/v1/executions",
        f"/api/v1/executions/{failed}", f"/api/v1/executions/{failed}/steps",
        f"/api/v1/executions/{failed}/attempts",
    ):  # fmt: skip
        assert SECRET not in visitor.get(path).text
    assert visitor.get(f"/send?flow=pay&like={failed}").status_code == 403


def test_a_hook_that_fails_shows_nothing(visit: Visit, run: Run) -> None:
    def fails(flow: str, value: Any) -> Any:
        raise KeyError("card")

    found = run("pay", PAYMENT)

    page = visit(redact=fails).get(f"/executions/{found}").text

    assert "cust_7" not in page
    assert "the redact hook failed" in page


def test_fields_are_hidden_by_their_names(visit: Visit, run: Run) -> None:
    found = run("plain", {"card": SECRET, "deep": [{"CARD": SECRET}], "amount": 5})

    data = visit(redact=redaction.fields("card")).get(f"/api/v1/executions/{found}").json()["data"]

    assert data == {"card": "[hidden]", "deep": [{"CARD": "[hidden]"}], "amount": 5}


def test_the_setting_hides_where_no_argument_does(bench: Bench) -> None:
    app = bench.celery(worchflow_redact="tests.dashboard.test_security:_nothing")
    bound = bench.bind(app)

    assert bound.settings.redact is _nothing


def _nothing(flow: str, value: Any) -> Any:
    return None


# -- a store that is down ----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/executions/x", "/flows", "/schedules", "/workers"])
def test_a_page_says_within_two_seconds_that_the_store_is_down(down: Visitor, path: str) -> None:
    begun = time.monotonic()

    answer = down.get(path)

    assert time.monotonic() - begun < 2
    assert answer.status_code == 503
    assert "MongoDB is not available since" in answer.text
    assert 'href="/flows"' in answer.text  # the shell is there


def test_the_api_says_so_too(down: Visitor) -> None:
    answer = down.get("/api/v1/executions")

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "2"


def test_readyz_and_metrics_tell_and_healthz_lives(down: Visitor) -> None:
    assert down.get("/readyz").status_code == 503
    assert "worchflow_up 0" in down.get("/metrics").text
    assert down.get("/healthz").status_code == 200
