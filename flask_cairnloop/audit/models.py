"""One append-only log of who did what, to what, and the chain that shows it has stayed as it was.

Entries and links are for ever, or until retention cuts them at a checkpoint: the database refuses everything else.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, LargeBinary, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from flask_cairnloop.actors import ActorKind
from flask_cairnloop.clock import now
from flask_cairnloop.database.base import Base, choice


class AuditEntry(Base):
    """One decision. Holds identifiers and bounded values only, never text a person wrote."""

    __tablename__ = "audit_entries"
    __table_args__ = (
        Index("ix_audit_entries_subject", "subject_type", "subject_id", "id"),
        Index("ix_audit_entries_occurred_at", "occurred_at", "id"),
        Index("ix_audit_entries_resolved", "occurred_at", postgresql_where=text("action = 'conversation.resolve'")),
        Index("ix_audit_entries_actor", "actor_kind", "actor_id", "occurred_at", "id"),
        Index("ix_audit_entries_action", "action", "occurred_at", "id"),
        Index(
            "ix_audit_entries_conversation",
            text("(data ->> 'conversation_id')"),
            postgresql_where=text("data ? 'conversation_id'"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    occurred_at: Mapped[datetime] = mapped_column(default=now)
    actor_kind: Mapped[ActorKind] = mapped_column(choice(ActorKind, "actor_kind"))
    actor_id: Mapped[str] = mapped_column(String(200))  # of a customer, their pseudonym
    action: Mapped[str] = mapped_column(String(100))
    subject_type: Mapped[str] = mapped_column(String(50))
    subject_id: Mapped[int]
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    # What the actor was called then; never of a customer.
    actor_name: Mapped[str | None] = mapped_column(String(200))
    # SHA-256 of the salt and words of its text, which stay out of the entry so that they can be erased.
    text_digest: Mapped[bytes | None] = mapped_column(LargeBinary)


class AuditText(Base):
    """Why, in the words of whoever decided. May be erased: the entry keeps a salted digest, which tells nothing."""

    __tablename__ = "audit_texts"
    __table_args__ = (
        Index("ix_audit_texts_customer_id", "customer_id", postgresql_where=text("customer_id IS NOT NULL")),
        Index("ix_audit_texts_words", func.to_tsvector(text("'simple'"), text("words")), postgresql_using="gin"),
        CheckConstraint("words <> ''", name="words_not_empty"),
    )

    entry_id: Mapped[int] = mapped_column(
        ForeignKey("__cairnloop__.audit_entries.id", ondelete="CASCADE"), primary_key=True
    )
    # Whose matter it was: it goes with them.
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("__cairnloop__.customers.id", ondelete="CASCADE"))
    salt: Mapped[bytes] = mapped_column(LargeBinary)
    words: Mapped[str]


class AuditUnsealed(Base):
    """An entry that is not in the chain yet. A trigger writes it with the entry, in its transaction."""

    __tablename__ = "audit_unsealed"

    entry_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class AuditLink(Base):
    """An entry's place in the chain, in the order of sealing."""

    __tablename__ = "audit_chain"
    __table_args__ = (Index("uq_audit_chain_entry_id", "entry_id", unique=True),)

    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # from 1, without gaps
    entry_id: Mapped[int]
    entry_digest: Mapped[bytes] = mapped_column(LargeBinary)
    digest: Mapped[bytes] = mapped_column(LargeBinary)  # of the previous link's and the entry's


class AuditCheckpoint(Base):
    """Up to where retention has cut the log, and what the chain was there."""

    __tablename__ = "audit_checkpoints"

    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    cut_at: Mapped[datetime] = mapped_column(default=now)
