"""The door to OpenTelemetry: what is begun and ended there. What fails there is felt by nobody."""

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from celery.exceptions import SoftTimeLimitExceeded
from opentelemetry import context, trace
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worchflow_celery.outcome import cut, message_of
from worchflow_celery.store.records import Claim, NewExecution
from worchflow_celery.version import VERSION

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

#: The name of our spans' instrumentation scope.
SCOPE = "worchflow_celery"
_PROPAGATOR = TraceContextTextMapPropagator()
_complained = False


def _quietly(fn: Callable[P, T]) -> Callable[P, T | None]:
    """Processors, samplers and exporters are the user's, and may raise anything."""

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return fn(*args, **kwargs)
        except SoftTimeLimitExceeded:
            raise  # Celery's, and meant for the flow
        except Exception as error:
            _complain(error)
            return None

    return call


def _complain(error: Exception) -> None:
    global _complained
    level = logging.DEBUG if _complained else logging.WARNING
    _complained = True
    logger.log(level, "Spans are lost: OpenTelemetry raised %s", error, exc_info=error)


class Span:
    """A span that has begun."""

    def __init__(self, begun: trace.Span) -> None:
        self._span = begun
        self._tokens: list[Any] = []
        self._ended = False

    @property
    def trace(self) -> dict[str, str]:
        """What is stored of it, so that others can begin within it."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, trace.set_span_in_context(self._span))
        return carrier

    @_quietly
    def enter(self) -> None:
        self._tokens.append(context.attach(trace.set_span_in_context(self._span)))

    @_quietly
    def leave(self) -> None:
        context.detach(self._tokens.pop())

    @_quietly
    def end(self, outcome: str | None = None, error: BaseException | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        try:
            if outcome is not None:
                self._span.set_attribute("worchflow.outcome", outcome)
            if error is not None:
                self._fail(error)
        finally:
            self._span.end()

    def _fail(self, error: BaseException) -> None:
        kind = type(error).__name__
        self._span.set_attribute("error.type", kind)
        self._span.set_status(Status(StatusCode.ERROR, cut(f"{kind}: {message_of(error)}")))
        self._span.record_exception(error)


class _Attempt:
    """The span of an attempt, and what it will end with."""

    def __init__(self, span: Span | None, trace: dict[str, str] | None) -> None:
        self.span = span
        self.trace = trace
        self.outcome: str | None = None
        self.error: BaseException | None = None

    def ends(self, outcome: str, error: BaseException | None) -> None:
        self.outcome, self.error = outcome, error


class Spans:
    """What begins spans, of one provider."""

    def __init__(self, provider: trace.TracerProvider) -> None:
        self.provider = provider
        self._tracer = provider.get_tracer(SCOPE, VERSION)

    @contextmanager
    def sending(self, many: list[NewExecution]) -> Iterator[list[NewExecution]]:
        begun = [self._send(new) for new in many]
        alone = begun[0] if len(begun) == 1 else None
        if alone is not None:
            alone.enter()
        failure = None
        try:
            yield [_with_trace(new, span) for new, span in zip(many, begun, strict=True)]
        except BaseException as error:
            failure = error
            raise
        finally:
            if alone is not None:
                alone.leave()
            for span in begun:
                if span is not None:
                    span.end(error=failure)

    @contextmanager
    def attempting(self, claim: Claim, worker: str) -> Iterator[_Attempt]:
        span = self._attempt(claim, worker)
        attempt = _Attempt(span, None if claim.trace or not span else _trace_of(span))
        if span is None:
            yield attempt
            return
        span.enter()
        try:
            yield attempt
        except BaseException as error:
            attempt.ends("lost", error)
            raise
        finally:
            span.leave()
            span.end(attempt.outcome, attempt.error)

    @_quietly
    def step(self, name: str, key: str, kind: str, run: int) -> Span:
        verb = "compensate" if kind == "compensate" else "step"
        attributes: dict[str, str | int] = {
            "worchflow.step.name": name,
            "worchflow.step.key": key,
            "worchflow.step.kind": kind,
            "worchflow.step.run": run,
        }
        return Span(self._tracer.start_span(f"{verb} {name}", attributes=attributes))

    @_quietly
    def _send(self, new: NewExecution) -> Span:
        attributes = _attributes("send", new.id, new.flow, new.queue)
        name, kind = f"send {new.flow}", SpanKind.PRODUCER
        return Span(self._tracer.start_span(name, kind=kind, attributes=attributes))

    @_quietly
    def _attempt(self, claim: Claim, worker: str) -> Span:
        attributes = _attributes("process", claim.id, claim.flow, claim.queue)
        parent, links = _origin(claim.trace)
        return Span(
            self._tracer.start_span(
                f"attempt {claim.flow}",
                context=parent,
                kind=SpanKind.CONSUMER,
                links=links,
                attributes={
                    **attributes,
                    "worchflow.attempt": claim.attempt,
                    "worchflow.epoch": claim.epoch,
                    "worchflow.worker": worker,
                },
            )
        )


_known: Spans | None = None


def spans_of(provider: trace.TracerProvider) -> Spans:
    """What begins spans of this provider."""
    global _known
    if _known is None or _known.provider is not provider:
        _known = Spans(provider)
    return _known


def _attributes(operation: str, id: str, flow: str, queue: str) -> dict[str, Any]:
    return {
        "messaging.system": "celery",
        "messaging.operation.name": "send" if operation == "send" else "attempt",
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "messaging.message.id": id,
        "worchflow.execution": id,
        "worchflow.flow": flow,
    }


@_quietly
def _trace_of(span: Span) -> dict[str, str]:
    return span.trace


def _with_trace(new: NewExecution, span: Span | None) -> NewExecution:
    carrier = span and _trace_of(span)
    return replace(new, trace=carrier) if carrier else new


def _origin(stored: Mapping[str, str] | None) -> tuple[context.Context | None, list[Link]]:
    """Within what an attempt begins, and what else led to it.

    That is where its execution was sent. Within the same trace it may be what an instrumentation
    of Celery has begun for the message; the span of a message of another trace is a link.
    """
    here = trace.get_current_span()
    sent_in = _PROPAGATOR.extract(stored or {}, context.Context())
    sent, current = trace.get_current_span(sent_in).get_span_context(), here.get_span_context()
    if not sent.is_valid:
        return None, []
    if not current.is_valid:
        return sent_in, []
    if current.trace_id != sent.trace_id:
        return sent_in, [Link(current)]
    return (None, [Link(sent)]) if _is_of_message(here, sent) else (sent_in, [])


def _is_of_message(span: trace.Span, sent: SpanContext) -> bool:
    """Whether somebody else has begun a span for the message that brought an execution here."""
    scope = getattr(getattr(span, "instrumentation_scope", None), "name", SCOPE)
    return getattr(span, "kind", None) is SpanKind.CONSUMER and scope != SCOPE
