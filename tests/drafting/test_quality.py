"""How drafts do, by engine and by article: numbers that add up, read from rows that the services wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, Operator, receive
from flask_cairnloop.actors import Actor
from flask_cairnloop.conversations import service as conversations
from flask_cairnloop.drafting import lifecycle, service
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.drafting.quality import Quality, by_engine, figures, of_article
from flask_cairnloop.drafting.types import DraftKind, PolicyDecision
from flask_cairnloop.retrieval.types import Strength
from flask_cairnloop.testing import frozen

MINA = Actor.operator(Operator("mina", "Mina Keller"))
START = datetime(2026, 3, 2, 9, tzinfo=UTC)
END = START + timedelta(hours=1)
PROPOSED = "Hold the button for ten seconds. [1]"

Make = Callable[..., Draft]


@pytest.fixture
def make(session: Session) -> Iterator[Make]:
    """A ready draft, made at the start of the hour, that cites articles 7 and 8."""

    def build(engine: str = "deterministic-1", **changes: Any) -> Draft:
        with frozen(START):
            number = session.scalar(text("SELECT count(*) FROM cairnloop.conversations"))
            message = receive(session, customer=Customer(f"q-{number}"), body="Why is it dark?", channel="widget")
            draft = service.open_draft(session, message.conversation_id)
        assert draft is not None
        cited = [
            {"number": number, "article_id": article, "title": "Dark", "heading": "", "quote": "Dark."}
            for number, article in ((1, 7), (2, 8), (3, 7))
        ]
        values: dict[str, Any] = {
            "state": DraftState.READY,
            "kind": DraftKind.REPLY,
            "body": PROPOSED,
            "citations": cited,
            "grounding": Strength.STRONG,
            "policy": PolicyDecision.REQUIRE_APPROVAL,
            "engine": engine,
            "ready_at": START,
        }
        for name, value in (values | changes).items():
            setattr(draft, name, value)
        session.flush()
        return draft

    yield build
    session.rollback()


def after(seconds: float) -> Any:
    return frozen(START + timedelta(seconds=seconds))


def decide_on_six(session: Session, make: Make) -> None:
    as_it_is, changed, wrong, alone, _ = (make() for _ in range(5))
    left = make(kind=DraftKind.ESCALATION, body="", citations=[])
    with after(60):
        service.approve(session, as_it_is.id, actor=MINA)
    with after(120):
        service.approve(session, changed.id, actor=MINA, body="Hold the button for two seconds.")
    with after(180):
        service.discard(session, wrong.id, actor=MINA, reason="wrong")
        service.send_automatically(session, alone, conversations.lock(session, alone.conversation_id), "rules")
        conversation = conversations.lock(session, left.conversation_id)
        lifecycle.withdraw(session, conversation, because="resolve", actor=MINA)


def test_the_numbers_of_a_time_add_up_by_engine_and_by_article(session: Session, make: Make) -> None:
    decide_on_six(session, make)
    make("yours-1")
    found = figures(session, since=START, until=END)
    share = 1 / 6  # one word of six is another one
    whole = Quality(
        made=6,
        escalated=1,
        approved=1,
        automatic=1,
        edited=1,
        discarded={"wrong": 1},
        superseded=1,
        changed=pytest.approx(share),
        median=120.0,
        ninetieth=pytest.approx(168.0),
    )
    assert found.engines == {"deterministic-1": whole, "yours-1": Quality(made=1)}
    assert whole.waiting == 1
    assert set(found.articles) == {7, 8}
    assert (found.articles[7].made, found.articles[7].edited, found.articles[7].waiting) == (6, 1, 2)
    assert of_article(session, 7, since=START, until=END) == found.articles[7]
    assert of_article(session, 9, since=START, until=END) == Quality()


def test_a_draft_counts_in_the_time_in_which_it_was_begun(session: Session, make: Make) -> None:
    make()
    assert figures(session, since=END, until=END + timedelta(days=1)).engines == {}
    assert figures(session, since=START - timedelta(days=1), until=START).articles == {}


def test_engines_have_few_names_where_only_few_are_allowed(session: Session, make: Make) -> None:
    for name in ("deterministic-1", "deterministic-7", "anthropic:claude", "openai:gpt", "yours-1", "theirs-2"):
        make(name)
    found = by_engine(session, since=START, until=END, families=True)
    assert {name: quality.made for name, quality in found.items()} == {
        "anthropic": 1,
        "built_in": 2,
        "openai": 1,
        "own": 2,
    }


def test_the_figures_for_prometheus_say_what_became_of_the_last_days_drafts(
    app: Flask, session: Session, client: FlaskClient, customer: Customer
) -> None:
    conversation_id = receive(session, customer=customer, body="Why?", channel="widget").conversation_id
    draft = service.open_draft(session, conversation_id)
    assert draft is not None
    draft.state, draft.kind, draft.body = DraftState.READY, DraftKind.REPLY, "Because of that."
    draft.engine, draft.ready_at = "deterministic-1", draft.created_at
    session.flush()
    service.approve(session, draft.id, actor=MINA, body="Because of this.")
    session.commit()
    page = client.get("/support/metrics").get_data(as_text=True)
    assert 'cairnloop_draft_outcomes{engine="built_in",outcome="edited"} 1.0' in page
    assert 'cairnloop_draft_decision_seconds{engine="built_in",quantile="0.9"}' in page
    assert 'cairnloop_draft_changed_share{engine="built_in"} 0.33' in page


def test_the_readings_of_a_time_and_of_an_article_walk_an_index(session: Session) -> None:
    asked: list[tuple[str, Any]] = []
    connection = session.connection()

    @event.listens_for(connection, "before_cursor_execute")
    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    by_engine(session, since=START, until=END)
    of_article(session, 7, since=START, until=END)
    event.remove(connection, "before_cursor_execute", note)
    connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # there are too few rows for the planner to care
    of_a_time, of_one = asked

    def plan(statement: str, parameters: Any) -> str:
        return "\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())

    assert "ix_drafts_created_at" in plan(*of_a_time)
    connection.exec_driver_sql("DROP INDEX cairnloop.ix_drafts_created_at")  # among few rows either would do
    assert "ix_drafts_cited_articles" in plan(*of_one)
    session.rollback()
