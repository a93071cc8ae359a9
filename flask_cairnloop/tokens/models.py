"""Tokens as they are kept: of the secret, only a digest."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column

from flask_cairnloop.clock import now
from flask_cairnloop.database.base import Base

NAME_LENGTH = 100
RATE_LENGTH = 40


class AccessToken(Base):
    """A machine's key: what it may, for how long, and who made it."""

    __tablename__ = "access_tokens"
    __table_args__ = (
        CheckConstraint("conversation_id IS NULL OR customer_id IS NULL", name="one_bound"),
        CheckConstraint("octet_length(digest) = 32", name="digest_whole"),
        CheckConstraint("name <> ''", name="named"),
        CheckConstraint("(revoked_at IS NULL) = (revoked_by IS NULL)", name="revoked_by_someone"),
        # Two that work are never called the same.
        Index("uq_access_tokens_name", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
        Index("ix_access_tokens_customer_id", "customer_id", postgresql_where=text("customer_id IS NOT NULL")),
        Index(
            "ix_access_tokens_conversation_id",
            "conversation_id",
            postgresql_where=text("conversation_id IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    digest: Mapped[bytes] = mapped_column(LargeBinary)  # SHA-256 of a secret drawn by lot: there is nothing to guess
    scopes: Mapped[list[Any]] = mapped_column(default=list)
    tools: Mapped[list[Any] | None]
    # A bound never goes while the token stays: with it gone, the token would reach everything.
    conversation_id: Mapped[int | None] = mapped_column(
        ForeignKey("__cairnloop__.conversations.id", ondelete="CASCADE")
    )
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("__cairnloop__.customers.id", ondelete="CASCADE"))
    rate: Mapped[str | None] = mapped_column(String(RATE_LENGTH))
    created_by: Mapped[str] = mapped_column(String(200))
    created_by_name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str | None] = mapped_column(String(200))
