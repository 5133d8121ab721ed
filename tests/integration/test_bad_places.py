"""Servers that are not there, or refuse us: said within seconds, in one line, without a secret."""

import logging
import re
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import Celery

from tests.support import Bench, deliver, eventually, workers
from worchflow_celery import Event, ExecutionStatus, Worchflow
from worchflow_celery.errors import ExecutionNotFound, StoreUnavailable

PASSWORD = "sesame-open"
#: The setting, and what a busy machine may take longer.
TIMEOUT, SLACK = 1.0, 2.0


@pytest.fixture
def deaf() -> Iterator[str]:
    """A port where somebody listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def place(request: pytest.FixtureRequest, bench: Bench) -> str:
    """Where MongoDB is not to be had: a host, or one that does not know our user."""
    if request.param == "refused":
        return urlsplit(bench.database_url).netloc
    return str(request.getfixturevalue(request.param))


CAUSES = {
    "closed": r"no answer in time \(.*Connection refused",
    "deaf": "no answer in time",
    "refused": "access refused; check user, password, authSource and the rights",
}
each_place = pytest.mark.parametrize("place", CAUSES, indirect=True)

CALLS: dict[str, Callable[[Worchflow], object]] = {
    "send": lambda worchflow: worchflow.send("pay", 1, id="e1"),
    "get": lambda worchflow: worchflow.get("e1"),
    "find": lambda worchflow: worchflow.find(),
    "steps": lambda worchflow: worchflow.steps("e1"),
    "retry": lambda worchflow: worchflow.retry("e1"),
    "ping": lambda worchflow: worchflow.ping(),
}


def with_password(place: str) -> str:
    return f"mongodb://shop:{PASSWORD}@{place}/worchflow?authSource=admin"


def raised(bench: Bench, app: Celery, place: str, call: Callable[[Worchflow], object]) -> Any:
    worchflow = bench.bind(app, database_url=with_password(place), store_timeout=TIMEOUT)
    started = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        call(worchflow)
    assert time.monotonic() - started < TIMEOUT + SLACK
    worchflow.close()
    return caught.value


@pytest.mark.parametrize(("place", "cause"), CAUSES.items(), indirect=["place"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_store_that_cannot_be_had_is_told_in_time_with_its_host_and_the_cause(
    bench: Bench,
    celery_app: Celery,
    place: str,
    cause: str,
    call: Callable[[Worchflow], object],
) -> None:
    text = str(raised(bench, celery_app, place, call))

    assert re.match(f"MongoDB at {place} is not available: {cause}", text)
    assert text.isprintable()
    assert len(text) < 400


@each_place
def test_no_password_is_in_the_error_nor_in_what_it_is_chained_to(
    bench: Bench, celery_app: Celery, place: str
) -> None:
    error = raised(bench, celery_app, place, CALLS["send"])

    shown = [str(error), repr(error), *traceback.format_exception(error)]
    chained = error
    while chained is not None:
        shown += [repr(chained), repr(chained.args), repr(vars(chained))]
        chained = chained.__cause__ or chained.__context__
    assert PASSWORD not in "\n".join(shown)


def test_a_send_that_failed_may_be_repeated_when_the_store_is_back(
    bench: Bench, celery_app: Celery, closed: str
) -> None:
    raised(bench, celery_app, closed, CALLS["send"])
    worchflow = bench.bind(celery_app)

    handle = worchflow.send("pay", 1, id="e1")

    assert handle.status == ExecutionStatus.QUEUED
    worchflow.close()


def test_a_worker_that_the_store_refuses_says_so_and_waits(bench: Bench, tmp_path: Path) -> None:
    url = with_password(urlsplit(bench.database_url).netloc)
    with workers(bench, tmp_path, "tests.integration.unruly", TEST_DATABASE_URL=url) as start:
        worker = start("-c", "1").ready()
        eventually(lambda: "Nothing is recovered for now" in worker.text())
        app = bench.celery()
        app.send_task("quick", args=[1], task_id="e1")
        eventually(lambda: "Execution e1 waits for MongoDB" in worker.text(), within=20)

        assert worker.process.poll() is None
        assert PASSWORD not in worker.text()
        assert "Traceback" not in worker.text()
        app.close()


CONFLICTS = [
    ([("due_at", 1)], {"name": "due"}),
    ([("created_at", -1), ("_id", -1)], {"name": "mine"}),
    ([("expires_at", 1)], {"name": "expired", "unique": True}),
]


@pytest.mark.parametrize(("keys", "options"), CONFLICTS, ids=lambda value: str(value)[:30])
def test_an_index_that_exists_with_other_options_is_named(
    bench: Bench, worchflow: Worchflow, keys: list[tuple[str, int]], options: dict[str, Any]
) -> None:
    executions = bench.collection("executions")
    executions.create_index(keys, **options)

    with pytest.raises(StoreUnavailable, match=r"index of .*_executions exists.*drop that") as told:
        worchflow.send("pay", 1)

    assert str(options["name"]) in str(told.value)


BROKERS = {
    "closed": lambda bench, closed, deaf: f"redis://:{PASSWORD}@{closed}/0",
    "deaf": lambda bench, closed, deaf: f"redis://:{PASSWORD}@{deaf}/0",
    "wrong password": lambda bench, closed, deaf: f"redis://shop:{PASSWORD}@{host_of(bench)}/0",
    "no rights": lambda bench, closed, deaf: f"redis://guest:{PASSWORD}@{host_of(bench)}/0",
    "wrong database": lambda bench, closed, deaf: f"redis://{host_of(bench)}/9999",
    "TLS to a plain port": lambda bench, closed, deaf: (
        f"rediss://:{PASSWORD}@{host_of(bench)}/0?ssl_cert_reqs=required"
    ),
}


def host_of(bench: Bench) -> str:
    return urlsplit(bench.redis_url).netloc


@pytest.fixture
def users(bench: Bench) -> Iterator[None]:
    """Two users that Redis knows: one by another password, one that may do nothing."""
    with bench.broker() as broker:
        broker.acl_setuser("shop", enabled=True, passwords=["+other"], keys=["*"])
        broker.acl_setuser("guest", enabled=True, passwords=[f"+{PASSWORD}"])
        yield
        broker.acl_deluser("shop", "guest")


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize("name", BROKERS)
def test_a_send_does_not_wait_for_a_broker_that_cannot_be_had(
    bench: Bench, closed: str, deaf: str, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    app = bench.celery()
    app.conf.broker_url = BROKERS[name](bench, closed, deaf)
    worchflow = bench.bind(app, store_timeout=TIMEOUT)
    worchflow.ping()

    started = time.monotonic()
    with caplog.at_level(logging.INFO, logger="worchflow_celery"):
        handle = worchflow.send("pay", 1)

    assert time.monotonic() - started < TIMEOUT + SLACK
    assert handle.status == ExecutionStatus.QUEUED
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("The broker does not answer")
    assert PASSWORD not in caplog.text
    worchflow.close()
    app.close()


def test_apps_with_other_prefixes_do_not_see_each_other_s_executions(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    def pay(event: Event[Any]) -> Any:
        return event.data

    worchflow.flow("pay")(pay)
    other = Bench(bench.redis_url, bench.database_url, f"{bench.prefix}x")
    other_app = other.celery()
    theirs = other.bind(other_app)
    handle = theirs.flow("pay")(pay).send("theirs", id="e1")
    with bench.broker() as broker:  # their message comes into our queue
        broker.lmove(other.prefix, bench.prefix, "RIGHT", "LEFT")

    deliver(celery_app)

    with pytest.raises(ExecutionNotFound):
        worchflow.get("e1")
    assert worchflow.find() == []
    assert handle.status == ExecutionStatus.QUEUED
    assert handle.get().attempts == []
    theirs.close()
    other_app.close()
    other.clean()
