"""The shop in a worker that traces: its spans are lines of JSON in the test's directory."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from celery.signals import worker_process_init
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)

from tests.acceptance.shop import app

DIRECTORY = Path(os.environ["TEST_DIRECTORY"])


def write(file: str, span: ReadableSpan) -> None:
    context, parent = span.get_span_context(), span.parent
    assert context is not None
    line = {
        "name": span.name,
        "trace": context.trace_id,
        "id": context.span_id,
        "parent": parent.span_id if parent else None,
        "outcome": (span.attributes or {}).get("worchflow.outcome"),
        "pid": os.getpid(),
    }
    with (DIRECTORY / file).open("a") as lines:
        lines.write(json.dumps(line) + "\n")


class Begun(SpanProcessor):
    """Writes down what begins: the spans of a killed process never end."""

    def on_start(self, span: ReadableSpan, parent_context: object = None) -> None:
        write("begun.jsonl", span)


class Lines(SpanExporter):
    """Writes down what has ended."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            write("ended.jsonl", span)
        return SpanExportResult.SUCCESS


@worker_process_init.connect(weak=False)
def provide(**_: object) -> None:
    """As the documentation of OpenTelemetry has it: a provider for each pool process."""
    provider = TracerProvider()
    provider.add_span_processor(Begun())
    provider.add_span_processor(SimpleSpanProcessor(Lines()))
    trace.set_tracer_provider(provider)


__all__ = ["app"]
