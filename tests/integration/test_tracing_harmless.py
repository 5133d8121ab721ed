"""Tracing costs nothing where nobody traces, gives nothing away, and never fails an execution."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import NoOpTracerProvider

from tests.integration.commands import Commands
from tests.integration.traced import Spans, exporting, provided
from tests.support import ROOT, Bench, deliver, take
from worchflow_celery import Event, Step, Worchflow
from worchflow_celery.errors import ExecutionConflict


@pytest.fixture
def spans() -> Iterator[Spans]:
    with exporting() as exported:
        yield exported


@pytest.fixture(autouse=True)
def flow(worchflow: Worchflow) -> None:
    define(worchflow)


def define(worchflow: Worchflow) -> None:
    @worchflow.flow("pay")
    def pay(event: Event[Any], step: Step) -> Any:
        for _ in range(3):
            step.run("charge", lambda: event.data)
        return event.data


def test_no_payload_is_in_a_span(worchflow: Worchflow, celery_app: Celery, spans: Spans) -> None:
    worchflow.send("pay", {"card": "4929-1234"})
    deliver(celery_app)

    assert len(spans.all) == 5
    assert "4929" not in "".join(one.to_json() for one in spans.all)


def test_the_store_and_the_broker_get_no_more_commands(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, listener: Commands, spans: Spans
) -> None:
    worchflow.send("pay", 1)  # connections are open, indexes are made
    deliver(celery_app)

    with listener.watching(bench.prefix) as sent:
        worchflow.send("pay", 1)
    message = take(celery_app)
    assert message is not None
    with listener.watching(bench.prefix) as run:
        message.execute()

    assert sent == ["insert executions"]
    assert run == ["findAndModify executions", *["insert steps"] * 3, "update executions"]


def test_a_send_that_is_refused_ends_its_span_with_the_error(
    worchflow: Worchflow, spans: Spans
) -> None:
    worchflow.send("pay", 1, id="p-1")
    with pytest.raises(ExecutionConflict):
        worchflow.send("pay", 2, id="p-1")

    first, second = (one.attributes or {} for one in spans.named("send pay"))
    assert "error.type" not in first
    assert second["error.type"] == "ExecutionConflict"


class Broken(SpanProcessor):
    """A processor that fails where it is told to."""

    def __init__(self, where: str) -> None:
        self.calls = 0
        setattr(self, where, self._fail)

    def _fail(self, *args: Any, **options: Any) -> None:
        self.calls += 1
        raise RuntimeError("no room")


@pytest.mark.parametrize("where", ["on_start", "on_end"])
def test_a_processor_that_fails_fails_no_execution(
    worchflow: Worchflow, celery_app: Celery, where: str
) -> None:
    provider, broken = TracerProvider(), Broken(where)
    provider.add_span_processor(broken)

    with provided(provider):
        handle = worchflow.send("pay", 1)
        deliver(celery_app)

    assert handle.result(1) == 1
    assert broken.calls == 5


@pytest.mark.parametrize("stored", [5, "text", {"traceparent": 5}, {"traceparent": "00-zz-1-1"}])
def test_a_stored_trace_that_cannot_be_read_fails_no_execution(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, spans: Spans, stored: object
) -> None:
    handle = worchflow.send("pay", 1)
    bench.collection("executions").update_one({}, {"$set": {"trace": stored}})
    deliver(celery_app)

    assert handle.result(1) == 1


@pytest.mark.parametrize("nobody", ["no provider", "no-op provider", "worchflow_tracing=False"])
def test_where_nobody_traces_nothing_is_stored(
    bench: Bench, celery_app: Celery, nobody: str
) -> None:
    settings = {"tracing": False} if nobody.endswith("False") else {}
    worchflow = bench.bind(bench.celery(task_always_eager=True), **settings)
    define(worchflow)

    if nobody == "no provider":
        worchflow.send("pay", 1)
    else:
        provider = NoOpTracerProvider() if "no-op" in nobody else TracerProvider()
        with provided(provider):  # type: ignore[arg-type]
            worchflow.send("pay", 1)
    worchflow.close()

    (document,) = bench.collection("executions").find()
    assert document["status"] == "completed"
    assert "trace" not in document


@pytest.mark.parametrize("extra", ["installed", "not installed"])
def test_where_nobody_traces_nothing_is_imported(bench: Bench, extra: str) -> None:
    program = f"""
import sys
if {extra!r} == "not installed":
    sys.modules["opentelemetry"] = None
from celery import Celery
from worchflow_celery import Worchflow
app = Celery("x", broker={bench.redis_url!r})
app.conf.task_always_eager = True
worchflow = Worchflow(app, database_url={bench.database_url!r}, prefix={bench.prefix!r})
@worchflow.flow("pay")
def pay(event, step):
    return step.run("charge", int)
assert pay.send().result(1) == 0
print("worchflow_celery.tracing.door" in sys.modules)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert ended.stdout == "False\n", ended.stderr
