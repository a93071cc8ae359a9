"""What goes by itself: no sooner than the host says, in batches, and past whatever somebody holds."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, Operator, receive, reply, resolve
from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.clock import now
from flask_cairnloop.conversations import service, triage
from flask_cairnloop.conversations.models import Conversation, CustomerRecord, PendingReply, PendingState
from flask_cairnloop.drafting.models import CallOutcome, ModelCall
from flask_cairnloop.errors import ConfigurationError
from flask_cairnloop.jobs import Job
from flask_cairnloop.jobs.registry import chores
from flask_cairnloop.jobs.relay import do_chores
from flask_cairnloop.knowledge.models import ArticleStanding, ArticleVote
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.knowledge.votes import vote
from flask_cairnloop.privacy import retention
from flask_cairnloop.privacy.service import export
from flask_cairnloop.testing import frozen, run_jobs
from flask_cairnloop.upkeep.models import GapEvent, GapReason, GapSource
from flask_cairnloop.upkeep.service import record_gap
from tests.support import traces

MINA = Actor.operator(Operator("mina", "Mina Keller"))
DAY = timedelta(days=1)
YEAR = 365 * 86_400


def sweep(app: Flask) -> None:
    """What the relay does, once, of the chores that let rows go."""
    due = {one.name: float("inf") for one in chores() if not one.name.startswith(("privacy.", "upkeep.prune"))}
    with app.app_context():
        do_chores(app.extensions["cairnloop"], due)


def count(session: Session, model: Any) -> int:
    session.rollback()
    return session.scalar(select(func.count()).select_from(model)) or 0


def leave_something(session: Session) -> None:
    """One row of everything that piles up."""
    article = save_article(session, slug=uuid.uuid4().hex, title="Hours", body="From nine.", actor=MINA)
    revision = publish(session, article.id, actor=MINA)
    vote(session, article.id, revision.id, visitor="v", helpful=False, comment="The hours")
    record_gap(
        session,
        "Who feeds the ferret?",
        source=GapSource.HELP_SEARCH,
        reason=GapReason.NOTHING_FOUND,
        actor=MINA,
        visitor="v",
    )
    session.add(ModelCall(engine="anthropic", model="m", outcome=CallOutcome.STARTED, started_at=now()))
    customer = Customer(f"c-{uuid.uuid4().hex[:8]}", "Cleo Marsh")
    number = receive(session, customer=customer, body="Hello", channel="widget").conversation_id
    reply_row = {"author_id": "mina", "author_name": "Mina", "seen": 1, "send_at": now(), "body": ""}
    session.add(PendingReply(conversation_id=number, state=PendingState.SENT, ended_at=now(), **reply_row))
    waits = {**reply_row, "body": "Hi"}
    session.add(PendingReply(conversation_id=number, state=PendingState.PENDING, **waits))
    session.commit()


KEYS = {
    "RETENTION_VOTES": 86_400,
    "RETENTION_GAPS": 86_400,
    "RETENTION_MODEL_CALLS": 2 * 86_400,
    "RETENTION_SENT": 86_400,
}
MODELS = (ArticleVote, GapEvent, ModelCall)


@pytest.fixture
def keeping(make_app: Callable[..., Flask], fresh_database_url: str) -> Callable[..., Flask]:
    return lambda **keys: make_app(database_url=fresh_database_url, **keys)


def test_what_piles_up_goes_after_its_time_and_no_sooner(keeping: Callable[..., Flask]) -> None:
    app = keeping(**KEYS)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        leave_something(session)
        with frozen(now() + DAY - timedelta(minutes=1)):
            sweep(app)
        assert [count(session, model) for model in MODELS] == [1, 1, 1]
        with frozen(now() + 2 * DAY + timedelta(minutes=1)):
            sweep(app)
            sweep(app)  # again: there is nothing more
        assert [count(session, model) for model in MODELS] == [0, 0, 0]
        states = session.scalars(select(PendingReply.state)).all()
        assert states == [PendingState.PENDING], "what still waits is never old"
        standing = session.scalars(select(ArticleStanding)).one()
        assert (standing.yes, standing.no) == (0, 0)
        session.remove()


def test_kept_for_ever_is_kept(keeping: Callable[..., Flask]) -> None:
    app = keeping(**dict.fromkeys(KEYS, 0))
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        leave_something(session)
        with frozen(now() + 9000 * DAY):
            sweep(app)
        assert [count(session, model) for model in MODELS] == [1, 1, 1]
        session.remove()


def test_it_goes_in_batches_and_past_what_somebody_holds(
    keeping: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = keeping(**KEYS)
    monkeypatch.setattr(retention, "BATCH", 4)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        session.add_all(
            ModelCall(engine="anthropic", model="m", outcome=CallOutcome.STARTED, started_at=now() - 5 * DAY)
            for _ in range(9)
        )
        session.commit()
        with app.extensions["sqlalchemy"].engine.connect() as other:
            other.execute(text("SELECT id FROM cairnloop.model_calls ORDER BY id LIMIT 1 FOR UPDATE"))
            for left in (5, 1, 1):
                sweep(app)
                assert count(session, ModelCall) == left
        session.rollback()
        sweep(app)
        assert count(session, ModelCall) == 0
        session.remove()


def over(session: Session, customer: Customer, words: str) -> int:
    number = receive(session, customer=customer, body=f"Where is {words}?", channel="widget").conversation_id
    reply(session, number, actor=MINA, body=f"Here is {words}.")
    resolve(session, number, actor=MINA)
    service.rate(session, customer=customer, conversation_id=number, rating=5, comment=f"Thanks for {words}")
    session.commit()
    return number


def test_old_conversations_lose_their_words_and_their_customer_stays(
    keeping: Callable[..., Flask], redis: Redis
) -> None:
    app = keeping(RETENTION_CONVERSATIONS=YEAR, DRAFT_DELAY=0.0)
    customer = Customer("stays", "Cleo Marsh", "cleo@marsh.example")
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        with frozen(now() - timedelta(seconds=YEAR) - DAY):
            old = over(session, customer, "wumpelgauge")
            spam = receive(session, customer=Customer("spammer"), body="Buy snickerlatch", channel="widget")
            triage.mark_spam(session, spam.conversation_id, actor=MINA)
            going_on = receive(
                session, customer=Customer("goes-on"), body="Still odd", channel="widget"
            ).conversation_id
            session.commit()
        recent = over(session, customer, "grundlewax")
        run_jobs(app)
        for _ in range(2):
            sweep(app)
        session.rollback()
        session.expire_all()
        assert traces.found(session, redis, ("wumpelgauge", "snickerlatch")) == set()
        found = session.get_one(Conversation, old)
        assert (found.subject, found.rating, found.erased_at is not None) == ("[erased]", 5, True)
        held = export(session, customer.ref)
        assert [one["id"] for one in held["conversations"]] == [recent]
        assert (held["customer"]["name"], held["ratings"][0]["comment"]) == ("Cleo Marsh", "Thanks for grundlewax")
        assert session.get_one(Conversation, going_on).erased_at is None
        entries = session.scalars(select(AuditEntry).where(AuditEntry.action == "conversation.expire")).all()
        assert {entry.subject_id for entry in entries} == {old, spam.conversation_id}
        assert {entry.actor_id for entry in entries} == {"system:retention"}
        nobody = session.scalars(select(CustomerRecord).where(CustomerRecord.forgotten_at.is_not(None))).all()
        assert len(nobody) == 1
        session.remove()


def test_one_about_which_a_job_is_under_way_comes_next_time(keeping: Callable[..., Flask]) -> None:
    app = keeping(RETENTION_CONVERSATIONS=YEAR)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        with frozen(now() - timedelta(seconds=YEAR) - DAY):
            old = over(session, Customer("busy"), "wumpelgauge")
        with app.extensions["sqlalchemy"].engine.connect() as worker:
            worker.execute(select(Job.id).where(Job.arguments["conversation_id"].astext == str(old)).with_for_update())
            sweep(app)
            session.expire_all()
            assert session.get_one(Conversation, old).erased_at is None
        session.rollback()
        sweep(app)
        session.expire_all()
        assert session.get_one(Conversation, old).erased_at is not None
        session.remove()


def test_by_default_no_conversation_goes(keeping: Callable[..., Flask]) -> None:
    app = keeping()
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        with frozen(now() - 3000 * DAY):
            old = over(session, Customer("old"), "wumpelgauge")
        sweep(app)
        session.expire_all()
        assert session.get_one(Conversation, old).erased_at is None
        session.remove()


@pytest.mark.parametrize(
    "keys",
    [{"RETENTION_VOTES": 60}, {"RETENTION_MODEL_CALLS": 86_400}, {"RETENTION_CONVERSATIONS": 86_400}],
)
def test_times_that_would_take_what_is_still_needed_are_refused(
    make_app: Callable[..., Flask], keys: dict[str, int]
) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(keys))):
        make_app(**keys)
