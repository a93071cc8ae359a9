"""One redactor for every store of words outside of the conversation they were said in."""

from __future__ import annotations

import uuid

from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, receive, resolve
from flask_cairnloop.actors import Actor
from flask_cairnloop.conversations.service import rate
from flask_cairnloop.drafting.models import Draft
from flask_cairnloop.drafting.service import approve
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.knowledge.votes import vote
from flask_cairnloop.testing import run_jobs
from flask_cairnloop.upkeep.models import GapReason, GapSource
from flask_cairnloop.upkeep.service import record_gap
from tests.support.articles import GAUGE
from tests.support.host import OPERATORS

MINA = Actor.operator(OPERATORS["mina"])


def test_whatever_leaves_its_conversation_is_redacted(app: Flask, session: Session, customer: Customer) -> None:
    """Each store of words outside of the conversation they were said in, filled through its own door."""
    secret = "ottilie@brandt.example"
    words = f"How do I reset the brass gauge after a power cut? Write to {secret}"
    article = save_article(session, slug=uuid.uuid4().hex, title="Resetting the brass gauge", body=GAUGE, actor=MINA)
    revision = publish(session, article.id, actor=MINA)
    session.commit()
    run_jobs(app)
    number = receive(session, customer=customer, body=words, channel="widget").conversation_id
    session.commit()
    run_jobs(app)
    draft = session.scalars(select(Draft).where(Draft.conversation_id == number)).one()
    approve(session, draft.id, actor=MINA)
    resolve(session, number, actor=MINA)
    rate(session, customer=customer, conversation_id=number, rating=1, comment=words)
    vote(session, article.id, revision.id, visitor="v", helpful=False, comment=words)
    record_gap(session, words, source=GapSource.HELP_SEARCH, reason=GapReason.NOTHING_FOUND, actor=MINA, visitor="v")
    session.commit()
    run_jobs(app)
    stores = {
        "past_questions": "question",
        "resolved_cases": "title || ' ' || resolution",
        "gap_events": "question",
        "article_votes": "comment",
        "ratings": "comment",
    }
    for table, column in stores.items():
        kept = session.scalars(text(f"SELECT {column} FROM cairnloop.{table}")).all()
        assert kept, table
        assert "brass gauge" in " ".join(kept).lower(), table
        assert secret not in " ".join(kept), table
