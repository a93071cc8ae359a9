"""/health, /ready and /metrics: for machines, without a sign-in, and without a word of anybody."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import delete

from flask_cairnloop import Customer, receive
from flask_cairnloop.actors import Actor
from flask_cairnloop.drafting import service as drafting
from flask_cairnloop.drafting.models import CallOutcome, DraftState, ModelCall
from flask_cairnloop.drafting.types import DraftKind
from flask_cairnloop.operations import metrics
from tests.operations.conftest import run_sql
from tests.support.processes import free_port


def get(app: Flask, path: str) -> Any:
    return app.test_client().get(f"/support{path}")


def test_health_asks_nothing_else(make_app: Callable[..., Flask]) -> None:
    app = make_app(database_url=f"postgresql+psycopg://u@127.0.0.1:{free_port()}/none", OPERATOR_LOADER=None)
    answer = get(app, "/health")
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_healthy_install_is_ready(healthy: Callable[..., Flask]) -> None:
    answer = get(healthy(), "/ready")
    assert answer.status_code == 200
    assert answer.json["status"] == "ready"
    assert answer.json["degraded"] == []


def test_without_the_database_it_is_not_ready(healthy: Callable[..., Flask]) -> None:
    app = healthy(database_url=f"postgresql+psycopg://u:hidden@127.0.0.1:{free_port()}/none")
    answer = get(app, "/ready")
    assert answer.status_code == 503
    assert answer.json["checks"]["database"]["level"] == "error"
    assert "hidden" not in answer.text


@pytest.mark.parametrize("statement", ["DROP SCHEMA cairnloop CASCADE", "DROP TABLE cairnloop.workers"])
def test_with_other_tables_it_is_not_ready(healthy: Callable[..., Flask], statement: str) -> None:
    app = healthy()
    run_sql(app, statement)
    answer = get(app, "/ready")
    assert answer.status_code == 503
    assert answer.json["status"] == "unavailable"
    assert answer.json["checks"]["migrations"]["level"] == "error"


def test_what_only_slows_it_is_degraded_and_still_takes_traffic(healthy: Callable[..., Flask]) -> None:
    app = healthy(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    run_sql(app, "DELETE FROM cairnloop.workers")
    answer = get(app, "/ready")
    assert answer.status_code == 200
    assert answer.json["status"] == "degraded"
    assert answer.json["degraded"] == ["redis", "workers"]


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_scrape_tells_what_waits_and_never_who(healthy: Callable[..., Flask]) -> None:
    app = healthy()
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        receive(session, customer=Customer("ref-x", "Very Private"), body="Private words", channel="widget")
        decided = receive(session, customer=Customer("ref-y", "Private too"), body="Private words", channel="widget")
        draft = drafting.open_draft(session, decided.conversation_id)
        assert draft is not None
        draft.state, draft.kind, draft.body, draft.engine = DraftState.READY, DraftKind.REPLY, "Some words", "private-1"
        draft.ready_at = draft.created_at
        session.flush()
        drafting.approve(session, draft.id, actor=Actor.system("test"), body="Other words")
        session.commit()
    answer = get(app, "/metrics")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain")
    found = samples(answer.text)
    assert found["cairnloop_up", ()] == 1
    assert found["cairnloop_redis_up", ()] == 1
    assert found["cairnloop_workers", ("relay",)] == 1
    assert found["cairnloop_jobs", ("interactive", "due")] == 2
    assert found["cairnloop_conversations", ("waiting",)] == 1
    assert found["cairnloop_drafts", ("generating",)] == 1
    assert found["cairnloop_draft_outcomes", ("own", "edited")] == 1
    assert found["cairnloop_draft_outcomes", ("built_in", "edited")] == 0
    assert found["cairnloop_draft_changed_share", ("own",)] == 0.5
    assert found["cairnloop_articles", ("found_by_meaning",)] == 1
    assert {name for name, _ in found} == {metric.name for metric in metrics.METRICS}
    assert not re.search("private|ref-x", answer.text, re.IGNORECASE)


def test_a_scrape_tells_what_models_were_asked_today(healthy: Callable[..., Flask]) -> None:
    app = healthy()
    now = datetime.now(UTC)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        session.execute(delete(ModelCall))
        for started, outcome in (
            (now, CallOutcome.USED),
            (now, CallOutcome.USED),
            (now, CallOutcome.TIMEOUT),
            (now - timedelta(days=1), CallOutcome.USED),
        ):
            session.add(
                ModelCall(
                    engine="openai",
                    model="m",
                    outcome=outcome,
                    input_tokens=100,
                    output_tokens=10,
                    cost_micros=250_000,
                    started_at=started,
                )
            )
        session.commit()
    found = samples(get(app, "/metrics").text)
    assert found["cairnloop_model_calls_today", ("openai", "used")] == 2
    assert found["cairnloop_model_calls_today", ("openai", "timeout")] == 1
    assert found["cairnloop_model_calls_today", ("anthropic", "used")] == 0
    assert found["cairnloop_model_tokens_today", ("openai", "input")] == 300
    assert found["cairnloop_model_cost_today", ("openai",)] == 0.75


def test_without_the_database_a_scrape_says_down(healthy: Callable[..., Flask]) -> None:
    app = healthy(database_url=f"postgresql+psycopg://u@127.0.0.1:{free_port()}/none")
    found = samples(get(app, "/metrics").text)
    assert found["cairnloop_up", ()] == 0
    assert ("cairnloop_workers", ("relay",)) not in found


def test_without_the_library_the_page_names_the_extra(
    healthy: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = healthy()
    monkeypatch.setattr(metrics, "find_spec", lambda _name: None)
    answer = get(app, "/metrics")
    assert answer.status_code == 501
    assert "flask-cairnloop[metrics]" in answer.text
