"""Spans for OpenTelemetry, where the app has set a tracer provider; else not even its import.

Whoever has set one has imported ``opentelemetry.trace``: so that is looked for, not imported.
"""

import sys
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any, Protocol

from worchflow_celery.store.records import Claim, NewExecution

Many = list[NewExecution]


class Span(Protocol):
    """A span that has begun. Nothing that it does raises anything."""

    def enter(self) -> None:
        """What begins from here on, in this thread or task, begins within it."""

    def leave(self) -> None:
        """No more."""

    def end(self, outcome: str | None = None, error: BaseException | None = None) -> None:
        """It is over; only the first end counts."""


class Attempting(Protocol):
    """The span of an attempt."""

    #: Where later attempts go on, when whoever sent the execution has not traced it.
    trace: dict[str, str] | None

    def ends(self, outcome: str, error: BaseException | None) -> None:
        """What it will end with."""


class Spans(Protocol):
    """What begins spans."""

    def sending(self, many: Many) -> AbstractContextManager[Many]:
        """Executions are stored and published: one span each, stored with it, in the block."""

    def attempting(self, claim: Claim, worker: str) -> AbstractContextManager[Attempting]:
        """An attempt is made in the block."""

    def step(self, name: str, key: str, kind: str, run: int) -> Span | None:
        """A step begins."""


def spans() -> Spans | None:
    """What begins spans; ``None``: nobody traces."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    try:
        provider = trace.get_tracer_provider()
        if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
            return None
        door: Any = import_module("worchflow_celery.tracing.door")
    except Exception:  # it is half imported, or its configuration is wrong: others say so
        return None
    made: Spans = door.spans_of(provider)
    return made


def sending(spans: Spans | None, many: Many) -> AbstractContextManager[Many]:
    """As ``Spans.sending``, or nothing."""
    return nullcontext(many) if spans is None else spans.sending(many)


class _Untraced:
    trace: dict[str, str] | None = None

    def ends(self, outcome: str, error: BaseException | None) -> None:
        """Nobody asks."""


_UNTRACED = _Untraced()


def attempting(
    spans: Spans | None, claim: Claim, worker: str
) -> AbstractContextManager[Attempting]:
    """As ``Spans.attempting``, or nothing."""
    return nullcontext(_UNTRACED) if spans is None else spans.attempting(claim, worker)


class Steps:
    """The spans of one attempt's steps: whatever has begun will have ended."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans
        self._open: set[Span] = set()

    def begin(self, name: str, key: str, kind: str, run: int) -> Span | None:
        """A run of a step begins."""
        span = self._spans.step(name, key, kind, run)
        if span is not None:
            self._open.add(span)
        return span

    def end(self, span: Span | None, error: BaseException | None = None) -> None:
        """A run has ended, and that is recorded."""
        if span is not None:
            self._open.discard(span)
            span.end("completed" if error is None else "failed", error)

    def end_all(self) -> None:
        """The attempt goes no further: what has not ended was interrupted."""
        while self._open:
            self._open.pop().end("interrupted")


def steps(spans: Spans | None) -> Steps | None:
    """The spans of an attempt's steps; ``None``: nobody traces."""
    return None if spans is None else Steps(spans)
