"""Spans of what the desk does, for whoever collects them: nothing happens until the host installs an OpenTelemetry SDK.

Names follow OpenInference where it has one. Attributes are ids and bounded words: never a name, an address or a word
that anybody wrote, and of an exception its class alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

KIND = "openinference.span.kind"
ERROR = "error.type"
_HEADER = "traceparent"
_propagator = TraceContextTextMapPropagator()

Value = str | int | float | bool
Note = Callable[[str, Value], None]


@dataclass(frozen=True, slots=True)
class SpanKind:
    """One kind of span.

    Args:
        kind: OpenInference's word for it.
        attributes: all that it may carry.
    """

    name: str
    kind: str
    attributes: tuple[str, ...]
    meaning: str


FRAME = SpanKind("cairnloop.frame", "CHAIN", ("frame.type",), "A frame of a customer's client, answered.")
JOB = SpanKind(
    "cairnloop.job",
    "CHAIN",
    ("job.name", "job.queue", "job.attempt", "job.outcome"),
    "One attempt of a job, in the trace of whoever asked for it.",
)
DRAFT = SpanKind(
    "cairnloop.draft",
    "CHAIN",
    ("draft.kind", "draft.grounding", "draft.policy", "draft.engine"),
    "Search, grounding, engine and policy of one draft.",
)
SEARCH = SpanKind(
    "cairnloop.search",
    "RETRIEVER",
    ("search.keyword", "search.vector", "search.memory", "search.passages"),
    "One search of the articles: the state of each lane, and how many passages it answered with.",
)
EMBED = SpanKind(
    "cairnloop.embed",
    "EMBEDDING",
    ("embedding.model_name", "embedding.kind", "embedding.texts"),
    "Texts turned into vectors; the texts themselves are not in it.",
)
MODEL = SpanKind(
    "cairnloop.model_call",
    "LLM",
    ("model.engine", "model.outcome", "llm.model_name", "llm.token_count.prompt", "llm.token_count.completion"),
    "One attempt of a call to a language model; what was asked and answered is not in it.",
)
ACTION = SpanKind(
    "cairnloop.action",
    "TOOL",
    ("action.tool", "action.risk", "action.kind", "action.attempt", "action.outcome"),
    "One run of an approved action; what it was given and what it answered is not in it.",
)
OUTBOUND = SpanKind(
    "cairnloop.outbound",
    "CHAIN",
    ("outbound.hook", "outbound.attempt", "outbound.outcome"),
    "One attempt to send a follow-up; what it says is not in it.",
)
MCP = SpanKind(
    "cairnloop.mcp",
    "CHAIN",
    ("mcp.method", "mcp.version", "mcp.outcome"),
    "A request of a token to the MCP endpoint; the outcome is 0, or the code of the error it was answered with.",
)
HOOK = SpanKind("cairnloop.hook", "TOOL", ("hook.key", "hook.outcome"), "A call of one of the host's hooks.")
SPANS = (FRAME, JOB, DRAFT, SEARCH, EMBED, MODEL, ACTION, OUTBOUND, MCP, HOOK)


@contextmanager
def span(kind: SpanKind, *, parent: str | None = None) -> Iterator[Note]:
    """A span around what is done inside. Yields a function that notes one of its attributes.

    Args:
        parent: ``traceparent`` of the trace it belongs to; the current one when left out.
    """
    tracer = trace.get_tracer("flask_cairnloop")
    with tracer.start_as_current_span(
        kind.name, context=_continued(parent), record_exception=False, set_status_on_exception=False
    ) as current:
        current.set_attribute(KIND, kind.kind)

        def note(name: str, value: Value) -> None:
            if name not in kind.attributes:
                raise ValueError(f"{kind.name} has no attribute {name}.")
            current.set_attribute(name, value)

        try:
            yield note
        except Exception as error:
            # Its message may hold what a person wrote: only the class goes out.
            current.set_attribute(ERROR, type(error).__name__)
            current.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def carried(work: Callable[[], None]) -> Callable[[], None]:
    """The same work, for a thread that shall stand in the current trace."""
    here = context.get_current()

    def run() -> None:
        token = context.attach(here)
        try:
            work()
        finally:
            context.detach(token)

    return run


def trace_parent() -> str | None:
    """The current trace as W3C ``traceparent``, to be kept with a job; ``None`` where nobody traces."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get(_HEADER)


def _continued(parent: str | None) -> Context | None:
    return None if parent is None else _propagator.extract({_HEADER: parent})
