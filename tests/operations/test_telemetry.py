"""Signals, spans and figures: one table that is true, one trace for a journey, and not a word of a customer in any."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flask_cairnloop import Customer, Proposal, receive, signals, telemetry
from flask_cairnloop.jobs import send_signal
from flask_cairnloop.testing import run_jobs
from tests.drafting.test_model_engines import form, grounding
from tests.operations.telemetry_table import tables, written
from tests.support.models import VENDORS, Vendor, running

ROOT = Path(__file__).resolve().parents[2]
PRIVATE = "zebra"


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """OpenTelemetry takes one provider a process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[Callable[[], list[ReadableSpan]]]:
    exporter.clear()
    yield lambda: list(exporter.get_finished_spans())
    exporter.clear()


def ask(app: Flask, body: str) -> int:
    with app.app_context(), trace.get_tracer("host").start_as_current_span("host.request"):
        session = app.extensions["sqlalchemy"].session
        who = f"{PRIVATE}-{uuid.uuid4().hex[:8]}"
        customer = Customer(who, f"Zora {PRIVATE}", f"{who}@{PRIVATE}.example")
        message = receive(session, customer=customer, body=body, channel="widget")
        session.commit()
        return message.conversation_id


def fall_over(_grounding: Any) -> Any:
    raise RuntimeError(f"The {PRIVATE} said no")


def test_the_document_lists_every_signal_span_and_figure_as_it_is() -> None:
    assert written() == tables(), "run: python -m tests.operations.telemetry_table"


def test_every_span_that_is_declared_is_made_somewhere_and_no_other() -> None:
    code = "\n".join(
        path.read_text() for path in (ROOT / "flask_cairnloop").rglob("*.py") if path.name != "telemetry.py"
    )
    made = set(re.findall(r"(?<!\.)\bspan\((\w+)", code))
    assert {getattr(telemetry, name).name for name in made} == {kind.name for kind in telemetry.SPANS}


def test_a_journey_is_one_trace_from_the_request_to_the_search(
    healthy: Callable[..., Flask], spans: Callable[[], list[ReadableSpan]]
) -> None:
    app = healthy(AUTOMATION_POLICY=lambda draft: "require_approval")
    ask(app, "When do you open?")
    run_jobs(app)
    found = {span.name: span for span in spans()}
    root = found["host.request"]
    journey = [name for name, span in found.items() if span.context.trace_id == root.context.trace_id]
    assert {"cairnloop.job", "cairnloop.draft", "cairnloop.search", "cairnloop.embed", "cairnloop.hook"} <= set(journey)
    job = found["cairnloop.job"]
    assert job.parent is not None
    assert job.parent.span_id == root.context.span_id
    assert dict(job.attributes or {}) == {
        "openinference.span.kind": "CHAIN",
        "job.name": "drafting.draft",
        "job.queue": "interactive",
        "job.attempt": 1,
        "job.outcome": "succeeded",
    }
    assert (found["cairnloop.hook"].attributes or {})["hook.outcome"] == "answered"


def test_no_span_holds_a_word_of_a_customer_or_of_an_exception(
    healthy: Callable[..., Flask], spans: Callable[[], list[ReadableSpan]]
) -> None:
    app = healthy(DRAFT_GENERATOR=fall_over)
    ask(app, f"My {PRIVATE} ate the key. {PRIVATE}@{PRIVATE}.example")
    run_jobs(app)
    everything = spans()
    assert {span.name for span in everything} >= {"cairnloop.job", "cairnloop.search", "cairnloop.hook"}
    assert PRIVATE not in json.dumps([span.to_json() for span in everything])
    failed = next(span for span in everything if (span.attributes or {}).get("hook.key") == "DRAFT_GENERATOR")
    assert (failed.attributes or {})["hook.outcome"] == "raised"
    assert (failed.attributes or {})["error.type"] == "HookFailed"
    declared = {kind.name: {*kind.attributes, telemetry.KIND, telemetry.ERROR} for kind in telemetry.SPANS}
    for span in everything:
        if span.name in declared:
            assert set(span.attributes or {}) <= declared[span.name]
            assert span.events == ()


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_no_span_holds_a_word_that_a_model_was_asked(
    app: Flask, spans: Callable[[], list[ReadableSpan]], vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where Anthropic's SDK is told by the environment to put whole requests into spans."""
    monkeypatch.setenv("ANTHROPIC_OPEN_TELEMETRY", "true")
    monkeypatch.setenv("ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE", "content")
    asked = grounding(question=f"How does the {PRIVATE} reset its gauge?")
    with running() as server, app.app_context():
        server.script = [vendor.says({**form(), "outcome": "hand_off", "hand_off_reason": f"It is a {PRIVATE}"})]
        assert isinstance(vendor.engine(server.url)(asked), Proposal)
        assert PRIVATE in server.sent
    assert PRIVATE not in json.dumps([span.to_json() for span in spans()])
    (call,) = [span for span in spans() if span.name == "cairnloop.model_call"]
    assert dict(call.attributes or {}) == {
        "openinference.span.kind": "LLM",
        "model.engine": vendor.name,
        "llm.model_name": "model-1",
        "model.outcome": "handed_off",
        "llm.token_count.prompt": 1000,
        "llm.token_count.completion": 100,
    }


def test_a_signal_carries_what_it_was_declared_with(app: Flask) -> None:
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        with pytest.raises(ValueError, match="conversation_id, message_id, automatic"):
            send_signal(session, signals.reply_sent, conversation_id=1, body="words")


def test_an_attribute_nobody_declared_is_refused() -> None:
    with telemetry.span(telemetry.SEARCH) as note, pytest.raises(ValueError, match="no attribute"):
        note("search.question", "words")
