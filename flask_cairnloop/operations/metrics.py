"""Gauges in Prometheus' text format, read at the scrape: workers and restarts cost no figure.

Labels come from our own fixed lists, so their number is bounded; no figure holds a name, an id or a word of anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING

from redis import RedisError
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from flask_cairnloop.clock import now
from flask_cairnloop.conversations.filters import DUE, Filter
from flask_cairnloop.conversations.queries import View, list_counts, view_counts
from flask_cairnloop.drafting import ledger, quality
from flask_cairnloop.drafting.models import OPEN_STATES, CallOutcome, Draft
from flask_cairnloop.drafting.quality import Quality
from flask_cairnloop.governance.models import ActionProposal
from flask_cairnloop.governance.types import OPEN_STATES as ACTIONS_OPEN
from flask_cairnloop.jobs.queries import queue_states, worker_states
from flask_cairnloop.realtime.sockets import open_sockets
from flask_cairnloop.retrieval import indexing
from flask_cairnloop.retrieval.indexing import IndexState
from flask_cairnloop.service_levels.queries import breaches
from flask_cairnloop.service_levels.targets import Target

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop

RECENT = timedelta(days=1)  # which drafts the figures of their quality are about
Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Metric:
    """One gauge.

    Args:
        labels: their names, in the order of a sample's values.
        read: what it is now. Gets a session of the scrape's own.
    """

    name: str
    labels: tuple[str, ...]
    meaning: str
    read: Callable[[Cairnloop, Session], Iterator[Sample]]


def _up(_cairnloop: Cairnloop, session: Session) -> Iterator[Sample]:
    session.execute(select(1))
    yield (), 1.0


def _redis_up(cairnloop: Cairnloop, _session: Session) -> Iterator[Sample]:
    try:
        cairnloop.redis.ping()
    except RedisError:
        yield (), 0.0
    else:
        yield (), 1.0


def _workers(_cairnloop: Cairnloop, session: Session) -> Iterator[Sample]:
    for state in worker_states(session):
        yield (state.kind.value,), float(state.alive)


def _jobs(_cairnloop: Cairnloop, session: Session) -> Iterator[Sample]:
    for state in queue_states(session):
        for name, count in (
            ("due", state.due),
            ("later", state.later),
            ("running", state.running),
            ("dead", state.dead),
        ):
            yield (state.queue.value, name), float(count)


def _oldest_job(_cairnloop: Cairnloop, session: Session) -> Iterator[Sample]:
    for state in queue_states(session):
        yield (state.queue.value,), state.oldest


def _conversations(_cairnloop: Cairnloop, session: Session) -> Iterator[Sample]:
    for view, count in view_counts(session).items():
        if view is not View.DRAFT_READY:
            yield (view.value,), float(count)


def _actions(_cairnloop: Cairnloop, session: Session) -> Iterator[Sample]:
    counted = select(ActionProposal.state, func.count()).where(ActionProposal.state.in_(ACTIONS_OPEN))
    found = dict(session.execute(counted.group_by(ActionProposal.state)).all())
    for state in ACTIONS_OPEN:
        yield (state.value,), float(found.get(state, 0))


def _drafts(_cairnloop: Cairnloop, session: Session) -> Iterator[Sample]:
    counted = select(Draft.state, func.count()).where(Draft.state.in_(OPEN_STATES)).group_by(Draft.state)
    found = dict(session.execute(counted).all())
    for state in OPEN_STATES:
        yield (state.value,), float(found.get(state, 0))


def _recent_drafts(session: Session) -> dict[str, Quality]:
    moment = now()
    return quality.by_engine(session, since=moment - RECENT, until=moment, families=True)


def _draft_outcomes(_cairnloop: Cairnloop, session: Session) -> Iterator[Sample]:
    recent = _recent_drafts(session)
    for engine in (*quality.FAMILIES.values(), quality.OTHER_FAMILY):
        found = recent.get(engine, Quality())
        for name in ("approved", "edited", "automatic", "superseded", "withheld", "waiting"):
            yield (engine, name), float(getattr(found, name))
        yield (engine, "discarded"), float(found.thrown_away)


def _draft_decisions(_cairnloop: Cairnloop, session: Session) -> Iterator[Sample]:
    for engine, found in _recent_drafts(session).items():
        for quantile, seconds in (("0.5", found.median), ("0.9", found.ninetieth)):
            if seconds is not None:
                yield (engine, quantile), seconds


def _draft_changes(_cairnloop: Cairnloop, session: Session) -> Iterator[Sample]:
    for engine, found in _recent_drafts(session).items():
        if found.changed is not None:
            yield (engine,), found.changed


def _articles(_cairnloop: Cairnloop, session: Session) -> Iterator[Sample]:
    status = indexing.status(session, in_full=False)
    yield ("published",), float(status.articles)
    yield ("found_by_words",), float(status.indexed)
    yield ("found_by_meaning",), float(status.with_vectors)
    yield ("index_pending",), float(status.states[IndexState.PENDING])
    yield ("index_stale",), float(status.states[IndexState.STALE])
    yield ("index_failed",), float(status.states[IndexState.FAILED])


def _sockets(_cairnloop: Cairnloop, _session: Session) -> Iterator[Sample]:
    yield (), float(len(open_sockets))


def _model_calls(_cairnloop: Cairnloop, session: Session) -> Iterator[Sample]:
    made = ledger.calls_today(session)
    for name in ledger.VENDORS:
        for outcome in CallOutcome:
            yield (name, outcome.value), float(made[name, outcome].calls if (name, outcome) in made else 0)


def _model_tokens(_cairnloop: Cairnloop, session: Session) -> Iterator[Sample]:
    made = ledger.calls_today(session)
    for name in ledger.VENDORS:
        used = [calls.used for (vendor, _), calls in made.items() if vendor == name]
        yield (name, "input"), float(sum(one.input for one in used))
        yield (name, "cached"), float(sum(one.cached for one in used))
        yield (name, "output"), float(sum(one.output for one in used))


def _model_cost(_cairnloop: Cairnloop, session: Session) -> Iterator[Sample]:
    for name in ledger.VENDORS:
        yield (name,), ledger.spent_today(session, name) / ledger.MICROS


def _due(_cairnloop: Cairnloop, session: Session) -> Iterator[Sample]:
    counted = list_counts(session, [Filter(View.OPEN, due=state) for state in DUE], "")
    for state, number in zip(DUE, counted, strict=True):
        yield (state.value,), float(number or 0)


def _breaches(_cairnloop: Cairnloop, session: Session) -> Iterator[Sample]:
    found = breaches(session, now() - RECENT)
    for target in Target:
        yield (target.value,), float(found.get(target, 0))


METRICS = (
    Metric("cairnloop_up", (), "1 when the database answers this scrape.", _up),
    Metric("cairnloop_redis_up", (), "1 when Redis answers.", _redis_up),
    Metric("cairnloop_workers", ("kind",), "Worker processes that beat within the last half minute.", _workers),
    Metric("cairnloop_jobs", ("queue", "state"), "Jobs that have not ended well: due, later, running or dead.", _jobs),
    Metric("cairnloop_job_oldest_seconds", ("queue",), "How long the oldest due job has waited.", _oldest_job),
    Metric(
        "cairnloop_conversations", ("view",), "Conversations in each working view, counted up to 1000.", _conversations
    ),
    Metric("cairnloop_due", ("state",), "Conversations that are due soon or late now, counted up to 1000.", _due),
    Metric("cairnloop_breaches", ("target",), "Deadlines that passed within the last day.", _breaches),
    Metric("cairnloop_drafts", ("state",), "Open drafts.", _drafts),
    Metric("cairnloop_actions", ("state",), "Open actions: pending, deferred, approved, running, uncertain.", _actions),
    Metric(
        "cairnloop_draft_outcomes",
        ("engine", "outcome"),
        "Drafts of the last day: approved, edited, automatic, discarded, superseded, withheld or waiting.",
        _draft_outcomes,
    ),
    Metric(
        "cairnloop_draft_decision_seconds",
        ("engine", "quantile"),
        "Of the drafts of the last day: how long after it was ready an operator decided.",
        _draft_decisions,
    ),
    Metric(
        "cairnloop_draft_changed_share",
        ("engine",),
        "Of those edited: the median share of words that was changed, 0 to 1.",
        _draft_changes,
    ),
    Metric(
        "cairnloop_articles",
        ("state",),
        "Articles published, found by words, found by meaning, and those whose index waits, is out of date or failed.",
        _articles,
    ),
    Metric(
        "cairnloop_model_calls_today",
        ("engine", "outcome"),
        "Calls to language models since midnight UTC, each attempt for itself.",
        _model_calls,
    ),
    Metric(
        "cairnloop_model_tokens_today",
        ("engine", "kind"),
        "Tokens of these calls: input, cached or output.",
        _model_tokens,
    ),
    Metric(
        "cairnloop_model_cost_today",
        ("engine",),
        "What these calls cost, in the currency of the configured price; those under way with the most they can cost.",
        _model_cost,
    ),
    Metric("cairnloop_sockets", (), "Open WebSockets of the web process that answers.", _sockets),
)


def available() -> bool:
    """Whether the library that writes the format is installed."""
    return find_spec("prometheus_client") is not None


def render(cairnloop: Cairnloop) -> tuple[bytes, str]:
    """All figures as text, and its content type. A figure that cannot be read now is left out."""
    from prometheus_client import CollectorRegistry, exposition
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector

    class Figures(Collector):
        def collect(self) -> Iterator[GaugeMetricFamily]:
            for metric in METRICS:
                family = GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels)
                try:
                    with Session(cairnloop.engine) as session:
                        for labels, value in metric.read(cairnloop, session):
                            family.add_metric(labels, value)
                except SQLAlchemyError:
                    cairnloop.app.logger.exception("the figure %s could not be read", metric.name)
                    if metric.name == "cairnloop_up":
                        family.add_metric((), 0.0)
                yield family

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Figures())
    return exposition.generate_latest(registry), exposition.CONTENT_TYPE_LATEST
