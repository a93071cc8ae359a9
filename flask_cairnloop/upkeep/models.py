"""Questions that no published article answered, and what they are gathered into."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from pgvector.sqlalchemy import Vector
from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Float, ForeignKey, Identity, Index, String, text
from sqlalchemy.dialects.postgresql import REAL
from sqlalchemy.orm import Mapped, mapped_column

from flask_cairnloop.clock import now
from flask_cairnloop.database.base import Base, choice

QUESTION_LENGTH = 500
_CANDIDATE: Final = "__cairnloop__.gap_candidates.id"
_QUESTION: Final = "__cairnloop__.gap_questions.id"


class GapSource(StrEnum):
    """Where a question was asked."""

    PALETTE = "palette"
    HELP_SEARCH = "help_search"
    HELP_VOTE = "help_vote"
    DRAFT = "draft"  # in a conversation, where a draft was to answer it
    REPLY = "reply"  # in a conversation that people answered


class GapReason(StrEnum):
    """What there was instead of an answer."""

    NOTHING_FOUND = "nothing_found"
    CASES_ONLY = "cases_only"  # past cases, which help an operator and are quoted to nobody
    NOT_COVERED = "not_covered"  # articles that come near, and do not answer it
    WEAK = "weak"  # articles that may answer it, and not surely
    NOT_HELPFUL = "not_helpful"  # an article, of which a visitor says that it did not help
    DISCARDED = "discarded"  # a draft, which an operator found wrong or incomplete
    EDITED = "edited"  # a draft, of which an operator changed most before it was sent
    BY_HAND = "by_hand"  # an operator's own words, which rest on no article


class CandidateState(StrEnum):
    """What was decided of a candidate."""

    OPEN = "open"
    ACCEPTED = "accepted"
    DISMISSED = "dismissed"
    SNOOZED = "snoozed"
    ANSWERED = "answered"  # an article was published for it, and answers its questions
    MERGED = "merged"  # into another: it has no question any more
    FADED = "faded"  # its questions are no longer kept


class Shelf(StrEnum):
    """Which list a candidate stands in: its state, and whether it asks for somebody."""

    ASKING = "asking"  # open with enough behind it, or decided and asked so often since that it asks again
    FEW = "few"  # open, and too little behind it so far
    ACCEPTED = "accepted"
    DISMISSED = "dismissed"
    SNOOZED = "snoozed"
    ANSWERED = "answered"
    MERGED = "merged"
    FADED = "faded"


class DismissReason(StrEnum):
    """Why nothing is to be written."""

    NOT_OURS = "not_ours"
    ANSWERED = "answered"
    UNCLEAR = "unclear"
    RARE = "rare"
    OTHER = "other"


class HistoryKind(StrEnum):
    """What happened to a candidate."""

    OPENED = "opened"  # by questions that came out of another, where one is named
    TOOK = "took"  # questions of another
    GAVE = "gave"  # questions to another
    MERGED = "merged"  # into another, all of it
    ACCEPTED = "accepted"
    DISMISSED = "dismissed"
    SNOOZED = "snoozed"
    WOKE = "woke"
    REOPENED = "reopened"
    ASSIGNED = "assigned"
    ASKED_AGAIN = "asked_again"
    SUGGESTED = "suggested"
    PUBLISHED = "published"
    ANSWERED = "answered"
    UNANSWERED = "unanswered"
    FADED = "faded"


class GapEvent(Base):
    """One question, by one person, at one time, redacted."""

    __tablename__ = "gap_events"
    __table_args__ = (
        CheckConstraint("question <> ''", name="question_not_empty"),
        Index("ix_gap_events_asked", "fingerprint", "last_at"),
        Index("ix_gap_events_occurred_at", "occurred_at"),
        Index(
            "ix_gap_events_conversation_id",
            "conversation_id",
            postgresql_where=text("conversation_id IS NOT NULL"),
        ),
        Index("ix_gap_events_unjoined", "id", postgresql_where=text("question_id IS NULL")),
        Index(
            "ix_gap_events_question_id",
            "question_id",
            text("id DESC"),
            postgresql_where=text("question_id IS NOT NULL"),
        ),
        Index("ix_gap_events_article_id", "article_id", postgresql_where=text("article_id IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    occurred_at: Mapped[datetime] = mapped_column(default=now)
    last_at: Mapped[datetime] = mapped_column(default=now)  # when the same person asked it last
    times: Mapped[int] = mapped_column(default=1)  # that they asked it, one day after another
    source: Mapped[GapSource] = mapped_column(choice(GapSource, "source"))
    reason: Mapped[GapReason] = mapped_column(choice(GapReason, "reason"))
    question: Mapped[str] = mapped_column(String(QUESTION_LENGTH))
    # A digest of the question, however it was written, under the app's key: it tells nothing to who has not the key.
    fingerprint: Mapped[str] = mapped_column(String(64))
    operator_id: Mapped[str | None] = mapped_column(String(200))
    # A digest that stands for whose question it is, under the same key.
    asker: Mapped[str | None] = mapped_column(String(64))
    # The one that was open, or that it was asked in. It goes with its customer.
    conversation_id: Mapped[int | None] = mapped_column(
        ForeignKey("__cairnloop__.conversations.id", ondelete="CASCADE")
    )
    article_id: Mapped[int | None] = mapped_column(  # that did not help
        ForeignKey("__cairnloop__.articles.id", ondelete="SET NULL")
    )
    question_id: Mapped[int | None] = mapped_column(ForeignKey(_QUESTION))  # that it was counted to


class GapCandidate(Base):
    """Questions that one article could answer."""

    __tablename__ = "gap_candidates"
    __table_args__ = (
        CheckConstraint(
            "(state = 'merged') = (merged_into_id IS NOT NULL) AND merged_into_id <> id", name="merged_into_another"
        ),
        CheckConstraint("(state = 'snoozed') = (snoozed_until IS NOT NULL)", name="snoozed_until_then"),
        CheckConstraint(
            "state NOT IN ('accepted', 'dismissed', 'snoozed') OR decided_by IS NOT NULL", name="decided_by_someone"
        ),
        CheckConstraint("state NOT IN ('merged', 'faded') OR questions = 0", name="empty_when_gone"),
        Index("ix_gap_candidates_shelf", "shelf", text("rank DESC"), text("id DESC")),
        Index("ix_gap_candidates_snoozed", "snoozed_until", postgresql_where=text("state = 'snoozed'")),
        Index(
            "ix_gap_candidates_merged_into_id", "merged_into_id", postgresql_where=text("merged_into_id IS NOT NULL")
        ),
        Index("ix_gap_candidates_label_id", "label_id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    state: Mapped[CandidateState] = mapped_column(choice(CandidateState, "state"), default=CandidateState.OPEN)
    shelf: Mapped[Shelf] = mapped_column(choice(Shelf, "shelf"), default=Shelf.FEW)
    merged_into_id: Mapped[int | None] = mapped_column(ForeignKey(_CANDIDATE))
    # The question that stands for it. Its words are nowhere else, so that they go when it does.
    label_id: Mapped[int | None] = mapped_column(ForeignKey(_QUESTION, ondelete="SET NULL", use_alter=True))
    questions: Mapped[int] = mapped_column(default=0)
    events: Mapped[int] = mapped_column(default=0)
    askers: Mapped[int] = mapped_column(default=0)
    kinds: Mapped[dict[str, Any]] = mapped_column(default=dict)  # events by reason
    rank: Mapped[float] = mapped_column(Float(53), default=0.0)  # see `scoring`
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    changed: Mapped[int] = mapped_column(default=0)  # questions that came since it was last arranged
    by_hand: Mapped[bool] = mapped_column(default=False)  # somebody has decided something: it is arranged no more
    version: Mapped[int] = mapped_column(default=1)  # of the decisions on it
    assignee_id: Mapped[str | None] = mapped_column(String(200))
    assignee_name: Mapped[str | None] = mapped_column(String(200))
    decided_by: Mapped[str | None] = mapped_column(String(200))
    decided_by_name: Mapped[str | None] = mapped_column(String(200))
    decided_at: Mapped[datetime | None]
    reason: Mapped[DismissReason | None] = mapped_column(choice(DismissReason, "reason"))
    events_then: Mapped[int] = mapped_column(default=0)  # events when it was decided
    snoozed_until: Mapped[datetime | None]
    asks_again_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class GapQuestion(Base):
    """A question of a candidate, over all events that ask it in the same or nearly the same words."""

    __tablename__ = "gap_questions"
    __table_args__ = (
        CheckConstraint("(question IS NULL) = (fingerprint IS NULL)", name="words_or_none"),
        CheckConstraint("question <> ''", name="question_not_empty"),
        Index("uq_gap_questions_fingerprint", "fingerprint", unique=True),
        Index("ix_gap_questions_candidate", "candidate_id", text("events DESC"), "id"),
        Index("ix_gap_questions_wordless", "last_at", postgresql_where=text("question IS NULL")),
        Index("ix_gap_questions_terms", "terms", postgresql_using="gin"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    candidate_id: Mapped[int] = mapped_column(ForeignKey(_CANDIDATE))
    question: Mapped[str | None] = mapped_column(String(QUESTION_LENGTH))  # `None`: who asked it was forgotten
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    # Its words, as digests under the app's key.
    terms: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), default=list)
    events: Mapped[int] = mapped_column(default=0)
    kinds: Mapped[dict[str, Any]] = mapped_column(default=dict)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]


class GapQuestionEmbedding(Base):
    """The vector of a question. Missing where pgvector is not installed."""

    __tablename__ = "gap_question_embeddings"

    question_id: Mapped[int] = mapped_column(ForeignKey(_QUESTION, ondelete="CASCADE"), primary_key=True)
    model: Mapped[str] = mapped_column(String(200))
    embedding: Mapped[Any] = mapped_column(Vector())


class GapLink(Base):
    """That a question is one of the nearest to another."""

    __tablename__ = "gap_links"
    __table_args__ = (
        CheckConstraint("question_id <> other_id AND likeness > 0", name="of_two"),
        Index("ix_gap_links_other_id", "other_id"),
    )

    question_id: Mapped[int] = mapped_column(ForeignKey(_QUESTION, ondelete="CASCADE"), primary_key=True)
    other_id: Mapped[int] = mapped_column(ForeignKey(_QUESTION, ondelete="CASCADE"), primary_key=True)
    likeness: Mapped[float] = mapped_column(REAL)


class GapAsker(Base):
    """Somebody who asked a question, as a digest."""

    __tablename__ = "gap_askers"
    __table_args__ = (Index("ix_gap_askers_asker", "asker"),)

    question_id: Mapped[int] = mapped_column(ForeignKey(_QUESTION, ondelete="CASCADE"), primary_key=True)
    asker: Mapped[str] = mapped_column(String(64), primary_key=True)


class GapTerm(Base):
    """How many questions hold a word. The word 0, which no digest is, stands for them all."""

    __tablename__ = "gap_terms"

    term: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    questions: Mapped[int]


class GapModel(Base):
    """What is common to the vectors of a model: their sum, over the first of them."""

    __tablename__ = "gap_models"

    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    dimensions: Mapped[int]
    questions: Mapped[int] = mapped_column(default=0)
    total: Mapped[list[float]] = mapped_column(ARRAY(Float(53)))
    ann_index: Mapped[str | None] = mapped_column(String(63))


class GapHistory(Base):
    """What happened to a candidate, and who or what did it. The database refuses change."""

    __tablename__ = "gap_history"
    __table_args__ = (Index("ix_gap_history_candidate_id", "candidate_id", text("id DESC")),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    candidate_id: Mapped[int] = mapped_column(ForeignKey(_CANDIDATE))
    occurred_at: Mapped[datetime] = mapped_column(default=now)
    kind: Mapped[HistoryKind] = mapped_column(choice(HistoryKind, "kind"))
    actor_id: Mapped[str] = mapped_column(String(200))
    actor_name: Mapped[str] = mapped_column(String(200))
    other_id: Mapped[int | None] = mapped_column(ForeignKey(_CANDIDATE))
    questions: Mapped[int | None]  # that moved
    events: Mapped[int | None]  # it had by then
