"""What search reads: passages of published revisions, term statistics, earlier questions, and their embeddings."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pgvector.sqlalchemy import Vector
from sqlalchemy import REAL, CheckConstraint, ForeignKey, Identity, Index, String, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from flask_cairnloop.clock import now
from flask_cairnloop.database.base import Base, choice


class Chunk(Base):
    """One passage of a revision, with what it needs to be understood and found alone."""

    __tablename__ = "chunks"
    __table_args__ = (
        UniqueConstraint("revision_id", "ordinal"),
        Index("ix_chunks_article_id", "article_id"),
        Index("ix_chunks_terms", "terms", postgresql_using="gin"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    article_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.articles.id", ondelete="CASCADE"))
    revision_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.revisions.id", ondelete="CASCADE"))
    ordinal: Mapped[int]  # 0-based over the whole document
    title: Mapped[str] = mapped_column(String(300))
    heading: Mapped[str] = mapped_column(String(600), default="")  # path, e.g. "Accounts › Passwords"
    content: Mapped[str]  # Markdown of the passage, without the heading
    terms: Mapped[Any] = mapped_column(TSVECTOR)


class ChunkEmbedding(Base):
    """The vector of a passage under one model. The table is missing where pgvector is not installed."""

    __tablename__ = "chunk_embeddings"

    chunk_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.chunks.id", ondelete="CASCADE"), primary_key=True)
    model: Mapped[str] = mapped_column(String(200), primary_key=True)  # fingerprint: name, size, checksum
    embedding: Mapped[Any] = mapped_column(Vector())


class ModelState(StrEnum):
    BUILDING = "building"  # passages are getting their vectors; nothing is compared with them yet
    LIVE = "live"  # questions are compared with its vectors
    RETIRED = "retired"  # another one took its place; its vectors are being removed, or are gone


class EmbeddingModel(Base):
    """A model that passages have, or are getting, vectors of. The switch between two is one transaction here."""

    __tablename__ = "embedding_models"
    __table_args__ = (
        Index("uq_embedding_models_one_live", "state", unique=True, postgresql_where=text("state = 'live'")),
    )

    model: Mapped[str] = mapped_column(String(200), primary_key=True)  # fingerprint
    dimensions: Mapped[int]
    state: Mapped[ModelState] = mapped_column(choice(ModelState, "state"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    live_at: Mapped[datetime | None]
    ann_index: Mapped[str | None] = mapped_column(String(63))  # name of its HNSW index, once that is valid
    # Mean direction of public passages when the index was made: how near a question is to what they are about.
    centroid: Mapped[list[float] | None] = mapped_column(ARRAY(REAL))


class IndexEntry(Base):
    """What cannot be told from an article's passages: who waits for them, and what went wrong with them.

    Whether they are there, of the right revision and with vectors is read from the passages themselves.
    """

    __tablename__ = "index_entries"
    __table_args__ = (
        CheckConstraint("(reason IS NULL) = (failed_at IS NULL)", name="failed"),
        Index("ix_index_entries_rebuilding", "article_id", postgresql_where=text("rebuild_asked_at IS NOT NULL")),
        Index("ix_index_entries_failed", "failed_at", "article_id", postgresql_where=text("reason IS NOT NULL")),
    )

    article_id: Mapped[int] = mapped_column(
        ForeignKey("__cairnloop__.articles.id", ondelete="CASCADE"), primary_key=True
    )
    requested_at: Mapped[datetime]  # when it was last published, archived or asked for
    indexed_at: Mapped[datetime | None]
    rebuild_asked_at: Mapped[datetime | None]  # set until its passages were made anew
    failures: Mapped[int] = mapped_column(default=0)  # in a row
    failed_at: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(String(500))


class Term(Base):
    """How many passages hold a term. The empty term, which no text has, stands for them all."""

    __tablename__ = "terms"

    lexeme: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    passages: Mapped[int]
    octets: Mapped[int]  # how long all passages are together; of the empty term only


class TermChange(Base):
    """What passages that came or went change in :class:`Term`. The database writes it; a job folds it in."""

    __tablename__ = "term_changes"
    __table_args__ = (Index("ix_term_changes_lexeme", "lexeme"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    lexeme: Mapped[str] = mapped_column(Text(collation="C"))
    passages: Mapped[int]
    octets: Mapped[int]


class PastQuestion(Base):
    """What a customer asked, redacted, when it was answered."""

    __tablename__ = "past_questions"
    __table_args__ = (
        UniqueConstraint("conversation_id", "sequence"),
        Index("ix_past_questions_customer", "customer_id", text("asked_at DESC"), text("id DESC")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.conversations.id", ondelete="CASCADE"))
    customer_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.customers.id", ondelete="CASCADE"))
    sequence: Mapped[int]  # of the customer's last words in it
    question: Mapped[str]
    asked_at: Mapped[datetime] = mapped_column(default=now)


class PastQuestionEmbedding(Base):
    """The vector of an earlier question under one model. Missing where pgvector is not installed."""

    __tablename__ = "past_question_embeddings"

    question_id: Mapped[int] = mapped_column(
        ForeignKey("__cairnloop__.past_questions.id", ondelete="CASCADE"), primary_key=True
    )
    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    embedding: Mapped[Any] = mapped_column(Vector())


class PastAnswer(Base):
    """That an answer to an earlier question cited an article, until somebody says that it did not answer it."""

    __tablename__ = "past_answers"
    __table_args__ = (
        UniqueConstraint("question_id", "article_id"),
        CheckConstraint("(rejected_at IS NULL) = (rejected_by IS NULL)", name="rejected"),
        Index("ix_past_answers_article", "article_id", text("id DESC")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    question_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.past_questions.id", ondelete="CASCADE"))
    article_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.articles.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    rejected_at: Mapped[datetime | None]
    rejected_by: Mapped[str | None] = mapped_column(String(200))


class ResolvedCase(Base):
    """How a resolved conversation was answered, redacted. It assists an operator and is never quoted as canon."""

    __tablename__ = "resolved_cases"
    __table_args__ = (UniqueConstraint("question_id"),)

    conversation_id: Mapped[int] = mapped_column(
        ForeignKey("__cairnloop__.conversations.id", ondelete="CASCADE"), primary_key=True
    )
    question_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.past_questions.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(200))
    resolution: Mapped[str]
    resolved_at: Mapped[datetime]


class GroundingCalibration(Base):
    """Weights of the grounding decision that were fitted on the host's own questions. The newest of a model holds."""

    __tablename__ = "grounding_calibrations"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    model: Mapped[str] = mapped_column(String(200))  # fingerprint of the embedding model it was fitted with
    bias: Mapped[float]
    weights: Mapped[dict[str, Any]]
    questions: Mapped[int]
    auroc: Mapped[float]
    created_at: Mapped[datetime] = mapped_column(default=now)
