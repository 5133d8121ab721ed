"""A tracer provider for one test, and the spans that it has got."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind


@contextmanager
def provided(provider: TracerProvider) -> Iterator[None]:
    """The app's provider is this one; OpenTelemetry itself lets nobody set a second one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "_TRACER_PROVIDER", provider)
        yield


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


@dataclass(frozen=True)
class Spans:
    """What has been exported."""

    provider: TracerProvider
    _exporter: InMemorySpanExporter

    @property
    def all(self) -> list[ReadableSpan]:
        """In the order in which they began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda one: one.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        return [one for one in self.all if one.name == name]

    def one(self, name: str) -> ReadableSpan:
        (found,) = self.named(name)
        return found

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.all]

    @property
    def traces(self) -> set[int]:
        """The ids of the traces that they belong to."""
        return {one.context.trace_id for one in self.all if one.context is not None}

    def parent(self, span: ReadableSpan) -> str | None:
        """The name of the span that it is within; ``None``: of none."""
        if span.parent is None:
            return None
        names = {id_of(one): one.name for one in self.all}
        return names.get(span.parent.span_id, "unknown")

    @property
    def tree(self) -> list[tuple[str, str | None]]:
        """Each span, and the one that it is within."""
        return [(one.name, self.parent(one)) for one in self.all]

    @contextmanager
    def within(self, name: str, kind: SpanKind = SpanKind.INTERNAL) -> Iterator[None]:
        """The block is in a span of somebody else's."""
        tracer = self.provider.get_tracer("somebody.else")
        with tracer.start_as_current_span(name, kind=kind):
            yield


@contextmanager
def exporting() -> Iterator[Spans]:
    """The app has a provider that exports to memory."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provided(provider):
        yield Spans(provider, exporter)
    provider.shutdown()


def outcome(span: ReadableSpan) -> object:
    return (span.attributes or {}).get("worchflow.outcome")
