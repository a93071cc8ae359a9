"""Articles and their revisions. A published revision is frozen by the database."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, String, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column, relationship

from flask_cairnloop.clock import now
from flask_cairnloop.database.base import Base, choice
from flask_cairnloop.database.words import terms

# By which words of its title an article is found.
TITLE_TERMS = terms("title")


class ArticleState(StrEnum):
    DRAFT = "draft"  # never published
    PUBLISHED = "published"
    ARCHIVED = "archived"  # was published, no longer found


class RevisionState(StrEnum):
    DRAFT = "draft"
    PUBLISHED = "published"
    SUPERSEDED = "superseded"  # was published once; frozen, never found


class Audience(StrEnum):
    PUBLIC = "public"
    INTERNAL = "internal"  # helps an operator, never quoted to a customer


class Article(Base):
    __tablename__ = "articles"
    __table_args__ = (
        Index("ix_articles_state_updated_at", "state", text("updated_at DESC"), text("id DESC")),
        Index("ix_articles_terms", text(TITLE_TERMS), postgresql_using="gin"),
        Index("ix_articles_updated_at", text("updated_at DESC"), text("id DESC")),
        CheckConstraint(
            "(publish_at IS NULL) = (publish_digest IS NULL) AND (publish_at IS NULL) = (publish_by IS NULL)",
            name="schedule",
        ),
        CheckConstraint("(verified_at IS NULL) = (verified_by IS NULL)", name="verified"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    slug: Mapped[str] = mapped_column(String(200), unique=True)
    title: Mapped[str] = mapped_column(String(300))
    state: Mapped[ArticleState] = mapped_column(choice(ArticleState, "state"), default=ArticleState.DRAFT)
    audience: Mapped[Audience] = mapped_column(choice(Audience, "audience"), default=Audience.PUBLIC)
    category: Mapped[str | None] = mapped_column(String(200))
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list)
    language: Mapped[str | None] = mapped_column(String(35))
    source_url: Mapped[str | None] = mapped_column(String(2000))
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    # How often what an editor works on was changed, draft or description. A save over a newer one is refused.
    edits: Mapped[int] = mapped_column(default=0)
    # When its draft is to be published, the digest of that draft, and the name of who decided it.
    publish_at: Mapped[datetime | None]
    publish_digest: Mapped[str | None] = mapped_column(String(64))
    publish_by: Mapped[str | None] = mapped_column(String(200))
    # Why what was to be published at a time was not, in a sentence, until somebody publishes or sets another time.
    publish_problem: Mapped[str | None] = mapped_column(String(500))
    # When somebody last said that the published words are still right, and who.
    verified_at: Mapped[datetime | None]
    verified_by: Mapped[str | None] = mapped_column(String(200))


class Revision(Base):
    __tablename__ = "revisions"
    __table_args__ = (
        UniqueConstraint("article_id", "number"),
        Index("uq_revisions_one_published", "article_id", unique=True, postgresql_where=text("state = 'published'")),
        Index("uq_revisions_one_draft", "article_id", unique=True, postgresql_where=text("state = 'draft'")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    article_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.articles.id", ondelete="CASCADE"))
    number: Mapped[int]
    state: Mapped[RevisionState] = mapped_column(choice(RevisionState, "state"), default=RevisionState.DRAFT)
    title: Mapped[str] = mapped_column(String(300))
    body: Mapped[str]
    # SHA-256 of title and body: an import that brings the same text makes no new revision.
    digest: Mapped[str] = mapped_column(String(64))
    author_id: Mapped[str] = mapped_column(String(200))
    author_name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=now)
    published_at: Mapped[datetime | None]

    article: Mapped[Article] = relationship(lazy="raise")


class ArticleVote(Base):
    """Whether a visitor of the help centre found a revision helpful. One a visitor and revision; they may change it."""

    __tablename__ = "article_votes"
    __table_args__ = (
        UniqueConstraint("revision_id", "visitor"),
        Index("ix_article_votes_voted_at", "voted_at"),
        Index("ix_article_votes_article_id", "article_id", "helpful"),  # comments, and what goes with an article
        CheckConstraint("comment IS NULL OR NOT helpful", name="comment_on_no"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    article_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.articles.id", ondelete="CASCADE"))
    revision_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.revisions.id", ondelete="CASCADE"))
    visitor: Mapped[str] = mapped_column(String(64))  # digest of a number drawn by lot, which only their browser has
    helpful: Mapped[bool]
    comment: Mapped[str | None] = mapped_column(String(500))  # what was missing, redacted
    voted_at: Mapped[datetime] = mapped_column(default=now)


class ArticleStanding(Base):
    """How the votes on an article stand, over all its revisions. A trigger counts: no search counts votes."""

    __tablename__ = "article_standings"

    article_id: Mapped[int] = mapped_column(
        ForeignKey("__cairnloop__.articles.id", ondelete="CASCADE"), primary_key=True
    )
    yes: Mapped[int]
    no: Mapped[int]


class ArticleFile(Base):
    """A revision shows or links to a file. Decided from its words when they are saved; it goes with the revision."""

    __tablename__ = "article_files"
    __table_args__ = (Index("ix_article_files_file_id", "file_id"),)

    revision_id: Mapped[int] = mapped_column(
        ForeignKey("__cairnloop__.revisions.id", ondelete="CASCADE"), primary_key=True
    )
    file_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.files.id"), primary_key=True)
