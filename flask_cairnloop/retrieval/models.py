"""What search reads: passages of published revisions and their embeddings."""

from __future__ import annotations

from typing import Any

from pgvector.sqlalchemy import Vector
from sqlalchemy import ForeignKey, Identity, Index, String, UniqueConstraint
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from flask_cairnloop.database.base import Base


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
