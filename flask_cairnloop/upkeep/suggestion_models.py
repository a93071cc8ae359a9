"""Articles and revisions as they are proposed, what they rest on, and what became of them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ARRAY, CheckConstraint, Float, ForeignKey, Identity, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from flask_cairnloop.clock import now
from flask_cairnloop.database.base import Base, choice
from flask_cairnloop.knowledge.models import Audience
from flask_cairnloop.retrieval.types import Strength
from flask_cairnloop.upkeep.models import QUESTION_LENGTH

_SUGGESTION: Final = "__cairnloop__.article_suggestions.id"
_CONVERSATION: Final = "__cairnloop__.conversations.id"


class SuggestionKind(StrEnum):
    ARTICLE = "article"  # a new one
    REVISION = "revision"  # of one that is published


class SuggestionState(StrEnum):
    """Where a suggestion is on its way. ``suggestions.STEPS`` says which step leads where."""

    GENERATING = "generating"
    FAILED = "failed"  # it could not be written
    PENDING = "pending"  # waits for a review
    CHANGES = "changes"  # goes back to who writes it
    DEFERRED = "deferred"
    STALE = "stale"  # what it changes was published anew since
    CONFLICT = "conflict"  # somebody else's draft of the article is in its way
    APPROVED = "approved"
    REJECTED = "rejected"
    PUBLISHED = "published"


OVER: Final = (SuggestionState.REJECTED, SuggestionState.PUBLISHED)


class RejectReason(StrEnum):
    """Why a suggestion is not wanted."""

    NOT_TRUE = "not_true"
    NOT_NEEDED = "not_needed"
    TOO_LITTLE = "too_little"  # what it rests on does not answer the questions
    NOT_PUBLIC = "not_public"
    OTHER = "other"


class SuggestionStep(StrEnum):
    """What happened to a suggestion."""

    REQUESTED = "requested"
    WRITTEN = "written"  # by an engine
    FAILED = "failed"
    EDITED = "edited"
    RETURNED = "returned"  # changes were asked for
    APPROVED = "approved"
    REJECTED = "rejected"
    DEFERRED = "deferred"
    WOKE = "woke"
    REOPENED = "reopened"
    REBASED = "rebased"
    STALE = "stale"
    CONFLICT = "conflict"
    REGENERATED = "regenerated"
    ASSIGNED = "assigned"
    PUBLISHED = "published"
    ASKED_AGAIN = "asked_again"


class ArticleSuggestion(Base):
    """A proposed article, or a proposed revision of one."""

    __tablename__ = "article_suggestions"
    __table_args__ = (
        CheckConstraint(
            "state NOT IN ('pending', 'changes', 'stale', 'conflict', 'approved', 'published') OR"
            " (title <> '' AND body <> '')",
            name="words_when_written",
        ),
        CheckConstraint("kind = 'article' OR article_id IS NOT NULL OR state = 'generating'", name="revision_of_one"),
        CheckConstraint(
            "state <> 'approved' OR (approved_digest IS NOT NULL AND approved_digest = digest)",
            name="approved_as_it_is",
        ),
        CheckConstraint(
            "state <> 'published' OR (published_revision_id IS NOT NULL AND article_id IS NOT NULL)",
            name="published_somewhere",
        ),
        CheckConstraint("(state = 'deferred') = (deferred_until IS NOT NULL)", name="deferred_until_then"),
        CheckConstraint(
            "state NOT IN ('approved', 'rejected', 'deferred', 'changes', 'published') OR decided_by IS NOT NULL",
            name="decided_by_someone",
        ),
        CheckConstraint("candidate_id IS NULL OR conversation_id IS NULL", name="of_one_origin"),
        Index("ix_article_suggestions_state", "state", text("updated_at DESC"), text("id DESC")),
        Index("ix_article_suggestions_article_id", "article_id"),
        Index("ix_article_suggestions_published_at", text("published_at DESC"), text("id DESC")),
        Index("ix_article_suggestions_deferred", "deferred_until", postgresql_where=text("state = 'deferred'")),
        Index("ix_article_suggestions_candidate_id", "candidate_id", text("id DESC")),
        Index("ix_article_suggestions_conversation_id", "conversation_id", text("id DESC")),
        Index(
            "uq_article_suggestions_candidate",
            "candidate_id",
            unique=True,
            postgresql_where=text("state NOT IN ('rejected', 'published')"),
        ),
        Index(
            "uq_article_suggestions_conversation",
            "conversation_id",
            unique=True,
            postgresql_where=text("state NOT IN ('rejected', 'published')"),
        ),
        # Which rest on what a conversation says.
        Index(
            "ix_article_suggestions_cases",
            text("jsonb_path_query_array(sources, '$[*].conversation_id')"),
            postgresql_using="gin",
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    kind: Mapped[SuggestionKind] = mapped_column(choice(SuggestionKind, "kind"))
    state: Mapped[SuggestionState] = mapped_column(choice(SuggestionState, "state"), default=SuggestionState.GENERATING)
    # Where it came from: questions without an answer, or a conversation that is going on.
    candidate_id: Mapped[int | None] = mapped_column(ForeignKey("__cairnloop__.gap_candidates.id"))
    conversation_id: Mapped[int | None] = mapped_column(ForeignKey(_CONVERSATION, ondelete="SET NULL"))
    # What it changes, or what was made of it, and the published words that it began with.
    article_id: Mapped[int | None] = mapped_column(ForeignKey("__cairnloop__.articles.id", ondelete="SET NULL"))
    base_revision_id: Mapped[int | None] = mapped_column(ForeignKey("__cairnloop__.revisions.id", ondelete="SET NULL"))
    # Somebody else's draft that it may be published over, because its words were taken in or are not wanted.
    over_digest: Mapped[str | None] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(String(300), default="")
    body: Mapped[str] = mapped_column(default="")
    audience: Mapped[Audience] = mapped_column(choice(Audience, "audience"), default=Audience.PUBLIC)
    category: Mapped[str | None] = mapped_column(String(200))
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list)
    language: Mapped[str | None] = mapped_column(String(35))
    # SHA-256 of all words above: now, as the engine wrote them, and as they were approved.
    digest: Mapped[str] = mapped_column(String(64), default="")
    written_digest: Mapped[str | None] = mapped_column(String(64))
    approved_digest: Mapped[str | None] = mapped_column(String(64))
    # What it rests on, as it was when it was written, and which paragraphs (by their digests) rest on what.
    sources: Mapped[list[Any]] = mapped_column(default=list)
    claims: Mapped[dict[str, Any]] = mapped_column(default=dict)
    summary: Mapped[str] = mapped_column(default="")  # one sentence for who reviews it
    engine: Mapped[str | None] = mapped_column(String(100))
    declined: Mapped[str | None] = mapped_column(String(500))  # why the app's own engine did not write it
    failure: Mapped[str | None] = mapped_column(String(500))
    version: Mapped[int] = mapped_column(default=1)  # of everything about it
    # Everybody whose words these are: who asked for it, and who has edited it since.
    authors: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list)
    requested_by: Mapped[str] = mapped_column(String(200))
    requested_by_name: Mapped[str] = mapped_column(String(200))
    edited_by_name: Mapped[str | None] = mapped_column(String(200))
    reviewer_id: Mapped[str | None] = mapped_column(String(200))
    reviewer_name: Mapped[str | None] = mapped_column(String(200))
    decided_by: Mapped[str | None] = mapped_column(String(200))
    decided_by_name: Mapped[str | None] = mapped_column(String(200))
    decided_at: Mapped[datetime | None]
    reason: Mapped[RejectReason | None] = mapped_column(choice(RejectReason, "reason"))
    note: Mapped[str | None] = mapped_column(String(1000))  # for the team, of the newest decision
    deferred_until: Mapped[datetime | None]
    published_revision_id: Mapped[int | None] = mapped_column(
        ForeignKey("__cairnloop__.revisions.id", ondelete="SET NULL")
    )
    published_at: Mapped[datetime | None]
    # When its questions were asked again after it was found, how many there were, and of how many the published
    # articles surely answered before and after. They stay when the questions go.
    asked_again_at: Mapped[datetime | None]
    asked: Mapped[int] = mapped_column(default=0)
    answered_before: Mapped[int] = mapped_column(default=0)
    answered_after: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)


class SuggestionQuestion(Base):
    """A question that a suggestion is to answer: how well the published articles answered it before, and after."""

    __tablename__ = "suggestion_questions"
    __table_args__ = (
        CheckConstraint("(question_id IS NULL) = (conversation_id IS NOT NULL)", name="of_one_origin"),
        CheckConstraint("(conversation_id IS NULL) = (question IS NULL)", name="words_of_a_conversation"),
        Index("ix_suggestion_questions_suggestion_id", "suggestion_id", "id"),
        Index("ix_suggestion_questions_question_id", "question_id"),
        Index("ix_suggestion_questions_conversation_id", "conversation_id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    suggestion_id: Mapped[int] = mapped_column(ForeignKey(_SUGGESTION, ondelete="CASCADE"))
    # A question of its candidate, whose words stand there alone, or what was asked in its conversation.
    question_id: Mapped[int | None] = mapped_column(ForeignKey("__cairnloop__.gap_questions.id", ondelete="CASCADE"))
    conversation_id: Mapped[int | None] = mapped_column(ForeignKey(_CONVERSATION, ondelete="CASCADE"))
    question: Mapped[str | None] = mapped_column(String(QUESTION_LENGTH))  # redacted
    before: Mapped[Strength | None] = mapped_column(choice(Strength, "before"))
    before_score: Mapped[float | None] = mapped_column(Float(53))
    after: Mapped[Strength | None] = mapped_column(choice(Strength, "after"))
    after_score: Mapped[float | None] = mapped_column(Float(53))
    place: Mapped[int | None]  # of the article among what was found afterwards, from 1; `None`: it was not


class SuggestionHistory(Base):
    """What happened to a suggestion, and who or what did it. The database refuses change."""

    __tablename__ = "suggestion_history"
    __table_args__ = (Index("ix_suggestion_history_suggestion_id", "suggestion_id", text("id DESC")),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    suggestion_id: Mapped[int] = mapped_column(ForeignKey(_SUGGESTION))
    occurred_at: Mapped[datetime] = mapped_column(default=now)
    step: Mapped[SuggestionStep] = mapped_column(choice(SuggestionStep, "step"))
    actor_id: Mapped[str] = mapped_column(String(200))
    actor_name: Mapped[str] = mapped_column(String(200))
    digest: Mapped[str | None] = mapped_column(String(64))  # of the words that it was about


class SuggestionHandoff(Base):
    """That one operator may open a suggestion in the editor once, by a link, and where they came from."""

    __tablename__ = "suggestion_handoffs"
    __table_args__ = (
        Index("ix_suggestion_handoffs_suggestion_id", "suggestion_id", "operator_id"),
        Index("ix_suggestion_handoffs_expires_at", "expires_at"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    suggestion_id: Mapped[int] = mapped_column(ForeignKey(_SUGGESTION, ondelete="CASCADE"))
    operator_id: Mapped[str] = mapped_column(String(200))
    nonce: Mapped[str] = mapped_column(String(64), unique=True)  # SHA-256 of what the link holds
    conversation_id: Mapped[int | None] = mapped_column(ForeignKey(_CONVERSATION, ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
