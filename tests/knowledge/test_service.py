"""Articles through the public functions, and what the database itself holds to."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from flask_cairnloop import Operator, signals
from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.errors import IllegalTransition, InvalidInput, NotFound
from flask_cairnloop.jobs.models import Job
from flask_cairnloop.knowledge.models import Article, ArticleState, Revision, RevisionState
from flask_cairnloop.knowledge.service import archive, draft_of, publish, published_revision, save_article

Save = Callable[..., Article]


@pytest.fixture
def actor(operator: Operator) -> Actor:
    return Actor.operator(operator)


@pytest.fixture
def save(session: Session, actor: Actor) -> Save:
    slug = f"article-{uuid.uuid4().hex[:8]}"

    def save(**changes: Any) -> Article:
        values = {"slug": slug, "title": "Refunds", "body": "Within 14 days.", "actor": actor, **changes}
        return save_article(session, **values)

    return save


def numbers(session: Session, article: Article) -> list[tuple[int, str]]:
    rows = session.scalars(select(Revision).where(Revision.article_id == article.id).order_by(Revision.number))
    return [(revision.number, revision.state.value) for revision in rows]


def test_words_become_a_draft_that_newer_words_replace(session: Session, save: Save) -> None:
    article = save()
    assert article.state is ArticleState.DRAFT
    save(body="Within 30 days.", tags=["money"], category="Billing")
    draft = draft_of(session, article.id)
    assert draft is not None
    assert (draft.number, draft.body, article.tags, article.category) == (1, "Within 30 days.", ["money"], "Billing")


def test_publishing_supersedes_the_revision_before_it(session: Session, save: Save, actor: Actor) -> None:
    article = save()
    publish(session, article.id, actor=actor)
    save(title="Refunds and returns", body="Within 30 days.")
    assert article.title == "Refunds"  # readers still see the published one
    second = publish(session, article.id, actor=actor)
    session.commit()
    assert numbers(session, article) == [(1, "superseded"), (2, "published")]
    assert article.title == "Refunds and returns"
    assert published_revision(session, article.id) == second
    (job,) = session.scalars(select(Job).where(Job.unique_key == f"retrieval.index:{article.id}"))
    assert job.arguments == {"article_id": article.id}
    audited = session.scalars(select(AuditEntry.action).where(AuditEntry.subject_id == article.id)).all()
    assert audited.count("article.publish") == 2


def test_the_same_words_make_no_revision_and_nothing_to_publish(session: Session, save: Save, actor: Actor) -> None:
    article = save()
    publish(session, article.id, actor=actor)
    save(body="  Within 14 days.\n")
    assert draft_of(session, article.id) is None
    with pytest.raises(IllegalTransition):
        publish(session, article.id, actor=actor)
    assert numbers(session, article) == [(1, "published")]


def test_an_archived_article_comes_back_as_it_was(session: Session, save: Save, actor: Actor) -> None:
    article = save()
    with pytest.raises(IllegalTransition):
        archive(session, article.id, actor=actor)
    revision = publish(session, article.id, actor=actor)
    archive(session, article.id, actor=actor)
    assert article.state is ArticleState.ARCHIVED
    assert publish(session, article.id, actor=actor) == revision
    with pytest.raises(NotFound):
        archive(session, 10**12, actor=actor)


def test_the_signal_leaves_after_the_commit_only(app: Flask, session: Session, save: Save, actor: Actor) -> None:
    heard: list[dict[str, int]] = []

    def listen(_sender: Flask, **payload: int) -> None:
        heard.append(payload)

    with signals.article_published.connected_to(listen, sender=app):
        article = save()
        revision = publish(session, article.id, actor=actor)
        assert heard == []
        session.commit()
    assert heard == [{"article_id": article.id, "revision_id": revision.id}]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"slug": "../etc"}, "slug"),
        ({"slug": ""}, "slug"),
        ({"title": " "}, "title"),
        ({"title": "x" * 301}, "title"),
        ({"body": "\n"}, "body"),
        ({"body": "x" * 400_001}, "body"),
        ({"body": "a\x00b"}, "body"),
        ({"tags": ["x" * 101]}, "tags"),
        ({"source_url": "javascript:alert(1)"}, "source"),
    ],
)
def test_what_is_not_acceptable_is_named(session: Session, save: Save, values: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        save(**values)
    assert refused.value.field == field
    session.rollback()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cairnloop.revisions SET body = 'other' WHERE id = :id",
        "UPDATE cairnloop.revisions SET title = 'other' WHERE id = :id",
        "UPDATE cairnloop.revisions SET state = 'draft' WHERE id = :id",
        "DELETE FROM cairnloop.revisions WHERE id = :id",
    ],
)
def test_the_database_freezes_a_published_revision(session: Session, save: Save, actor: Actor, statement: str) -> None:
    revision = publish(session, save().id, actor=actor)
    session.commit()
    with pytest.raises(DatabaseError, match="frozen"):
        session.execute(text(statement), {"id": revision.id})
    session.rollback()
    assert session.get_one(Revision, revision.id).state is RevisionState.PUBLISHED


def test_what_was_superseded_never_comes_back(session: Session, save: Save, actor: Actor) -> None:
    article = save()
    old = publish(session, article.id, actor=actor)
    save(body="Other words.")
    publish(session, article.id, actor=actor)
    session.execute(
        text("UPDATE cairnloop.revisions SET state = 'superseded' WHERE article_id = :id AND state = 'published'"),
        {"id": article.id},
    )
    with pytest.raises(DatabaseError, match="frozen"):
        session.execute(text("UPDATE cairnloop.revisions SET state = 'published' WHERE id = :id"), {"id": old.id})
    session.rollback()


@pytest.mark.parametrize("table", ["revisions", "articles"])
def test_revisions_cannot_be_truncated_away(session: Session, table: str) -> None:
    with pytest.raises(DatabaseError, match="frozen"):
        session.execute(text(f"TRUNCATE cairnloop.{table} CASCADE"))
    session.rollback()


def test_the_database_allows_one_published_revision_a_time(session: Session, save: Save, actor: Actor) -> None:
    article = save()
    publish(session, article.id, actor=actor)
    save(body="Other words.")
    session.flush()
    with pytest.raises(DatabaseError, match="uq_revisions_one_published"):
        session.execute(
            text("UPDATE cairnloop.revisions SET state = 'published' WHERE article_id = :id"), {"id": article.id}
        )
    session.rollback()
