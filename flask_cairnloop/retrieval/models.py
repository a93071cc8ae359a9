"""What search reads: passages of published revisions and their embeddings."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pgvector.sqlalchemy import Vector
from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import TSVECTOR
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
