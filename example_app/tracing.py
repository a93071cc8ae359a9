"""Spans of the demo, one JSON object a line: what a host's own exporter would get."""

from __future__ import annotations

from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor


def export_to(file: Path) -> None:
    """Write every span of this process, and of its children, to the end of a file."""
    provider = TracerProvider(resource=Resource.create({"service.name": "spokeshed"}))
    # A line, and with it a write, a span: several processes share the file.
    out = file.open("a", buffering=1)
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=out, formatter=_line)))
    trace.set_tracer_provider(provider)


def _line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"
