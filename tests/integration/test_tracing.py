"""Spans: one trace from the send to the last step, whatever happens in between."""

from collections.abc import Iterator

import pytest
from celery import Celery
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from tests.integration.traced import Spans, exporting, id_of, outcome
from tests.support import Bench, bring_forward, deliver, die, revive, take
from worchflow_celery import AsyncStep, Event, Step, Worchflow

Child = tuple[str, str | None]


@pytest.fixture
def spans() -> Iterator[Spans]:
    with exporting() as exported:
        yield exported


@pytest.fixture(autouse=True)
def flows(worchflow: Worchflow) -> None:
    @worchflow.flow("pay", retries=1, retry_delay=3600)
    def pay(event: Event[int], step: Step) -> int:
        step.run("charge", abs, event.data)
        if event.attempt == 1:
            raise ConnectionError("the bank is closed")
        return step.run("mail", abs, event.data)

    @worchflow.flow("rest")
    def rest(event: Event[None], step: Step) -> None:
        step.wait_for_signal("approved")

    @worchflow.flow("order")
    def order(event: Event[None], step: Step) -> None:
        step.invoke("rest of it", "part")
        step.send("elsewhere", "part")

    @worchflow.flow("part")
    async def part(event: Event[None], step: AsyncStep) -> None:
        await step.run("cut", int)


def test_attempts_are_within_the_send_and_steps_within_their_attempt(
    worchflow: Worchflow, celery_app: Celery, spans: Spans
) -> None:
    handle = worchflow.send("pay", 1)
    deliver(celery_app)

    assert handle.status == "retrying"
    assert spans.tree == [
        ("send pay", None),
        ("attempt pay", "send pay"),
        ("step charge", "attempt pay"),
    ]
    assert len(spans.traces) == 1
    kinds = [one.kind for one in spans.all]
    assert kinds == [SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.INTERNAL]


def test_a_retry_goes_on_in_the_trace_and_a_replayed_step_has_no_span(
    bench: Bench, worchflow: Worchflow, celery_app: Celery, spans: Spans
) -> None:
    handle = worchflow.send("pay", 1)
    first = take(celery_app)
    assert first is not None
    first.execute()
    bring_forward(bench, handle.id)
    first.execute()

    assert handle.status == "completed"
    assert [name for name, _ in spans.tree].count("step charge") == 1
    assert spans.tree[3:] == [("attempt pay", "send pay"), ("step mail", "attempt pay")]
    assert len(spans.traces) == 1


def test_a_failed_attempt_ends_with_its_error(
    worchflow: Worchflow, celery_app: Celery, spans: Spans
) -> None:
    worchflow.send("pay", 1)
    deliver(celery_app)

    attempt = spans.one("attempt pay")
    assert attempt.status.status_code is StatusCode.ERROR
    assert attempt.status.description == "ConnectionError: the bank is closed"
    assert (attempt.attributes or {})["error.type"] == "ConnectionError"
    assert [event.name for event in attempt.events] == ["exception"]
    assert outcome(attempt) == "retrying"


def test_an_attempt_that_waits_ends_without_an_error_and_the_next_is_in_the_same_trace(
    worchflow: Worchflow, celery_app: Celery, spans: Spans
) -> None:
    handle = worchflow.send("rest")
    deliver(celery_app)
    worchflow.signal(handle.id, "approved")
    deliver(celery_app)

    stays = spans.named("attempt rest")
    assert [outcome(one) for one in stays] == ["waiting", "completed"]
    assert [outcome(one) for one in spans.named("step approved")] == ["waiting", "completed"]
    assert {one.status.status_code for one in spans.all} == {StatusCode.UNSET}
    assert [spans.parent(one) for one in stays] == ["send rest"] * 2
    assert len(spans.traces) == 1


def test_children_go_on_in_their_parent_s_trace(
    worchflow: Worchflow, celery_app: Celery, spans: Spans
) -> None:
    worchflow.send("order")
    deliver(celery_app)

    assert len(spans.traces) == 1
    sends = spans.named("send part")
    assert [spans.parent(one) for one in sends] == ["step rest of it", "step elsewhere"]
    attempts = spans.named("attempt part")
    assert {one.parent and one.parent.span_id for one in attempts} == set(map(id_of, sends))
    assert [spans.parent(one) for one in spans.named("step cut")] == ["attempt part"] * 2


def test_an_attempt_after_a_crash_goes_on_in_the_trace(
    worchflow: Worchflow, celery_app: Celery, spans: Spans
) -> None:
    @worchflow.flow("dies")
    def dies(event: Event[None], step: Step) -> None:
        step.run("deadly", die if not worchflow.get(event.id).crashes else int)

    handle = worchflow.send("dies")
    deliver(celery_app)
    revive(worchflow, handle.id)
    deliver(celery_app)

    attempts = spans.named("attempt dies")
    assert [outcome(one) for one in attempts] == ["lost", "completed"]
    assert [outcome(one) for one in spans.named("step deadly")] == ["interrupted", "completed"]
    assert [spans.parent(one) for one in attempts] == ["send dies"] * 2
    assert len(spans.traces) == 1


def test_an_execution_whose_sender_does_not_trace_has_one_trace_all_the_same(
    bench: Bench, worchflow: Worchflow, celery_app: Celery
) -> None:
    handle = worchflow.send("pay", 1)
    message = take(celery_app)
    assert message is not None

    with exporting() as spans:
        message.execute()
        bring_forward(bench, handle.id)
        message.execute()

    assert handle.status == "completed"
    assert [spans.parent(one) for one in spans.named("attempt pay")] == [None, "attempt pay"]
    assert len(spans.traces) == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_spans_of_the_user_s_are_within_the_step_and_the_step_within_theirs(
    worchflow: Worchflow, celery_app: Celery, spans: Spans, is_async: bool
) -> None:
    def work() -> int:
        with spans.within("query"):
            return 1

    @worchflow.flow("sync")
    def sync(event: Event[None], step: Step) -> None:
        with spans.within("phase"):
            step.run("work", work)
            step.map("each", lambda item: work(), [1])

    @worchflow.flow("async")
    async def asynchronous(event: Event[None], step: AsyncStep) -> None:
        with spans.within("phase"):
            await step.run("work", work)
            await step.map("each", lambda item: work(), [1])

    flow = "async" if is_async else "sync"
    with spans.within("request"):
        worchflow.send(flow)
    deliver(celery_app)

    assert spans.tree == [
        ("request", None),
        (f"send {flow}", "request"),
        (f"attempt {flow}", f"send {flow}"),
        ("phase", f"attempt {flow}"),
        ("step work", "phase"),
        ("query", "step work"),
        ("step each", "phase"),
        ("query", "step each"),
    ]
    assert not trace.get_current_span().get_span_context().is_valid


def test_what_undoes_and_on_failure_have_spans(
    worchflow: Worchflow, celery_app: Celery, spans: Spans
) -> None:
    def tell(event: Event[None], error: object, step: Step) -> None:
        step.run("tell", int)

    @worchflow.flow("saga", on_failure=tell)
    def saga(event: Event[None], step: Step) -> None:
        step.run("book", int, compensate=lambda result: abs("x"))  # type: ignore[arg-type]
        raise ConnectionError

    worchflow.send("saga")
    deliver(celery_app)

    assert spans.tree[2:] == [
        ("step book", "attempt saga"),
        ("compensate book", "attempt saga"),
        ("step on_failure", "attempt saga"),
        ("step tell", "step on_failure"),
    ]
    assert outcome(spans.one("step on_failure")) == "completed"
    assert (spans.one("compensate book").attributes or {})["error.type"] == "TypeError"


def test_a_span_of_celery_s_instrumentation_in_the_same_trace_has_the_attempt_within_it(
    worchflow: Worchflow, celery_app: Celery, spans: Spans
) -> None:
    with spans.within("request"):
        worchflow.send("part")
        with spans.within("run/part", SpanKind.CONSUMER):
            deliver(celery_app)

    attempt, send = spans.one("attempt part"), spans.one("send part")
    assert spans.parent(attempt) == "run/part"
    assert [link.context.span_id for link in attempt.links] == [id_of(send)]


def test_a_span_of_celery_s_instrumentation_in_another_trace_is_a_link(
    worchflow: Worchflow, celery_app: Celery, spans: Spans
) -> None:
    worchflow.send("part")
    with spans.within("run/part", SpanKind.CONSUMER):
        deliver(celery_app)

    attempt, run = spans.one("attempt part"), spans.one("run/part")
    assert spans.parent(attempt) == "send part"
    assert [link.context.span_id for link in attempt.links] == [id_of(run)]
