"""The desk's policy in all its versions, what the host's said last, and the clocks with their history."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from flask_cairnloop.clock import now
from flask_cairnloop.database.base import Base, choice
from flask_cairnloop.service_levels.targets import ClockState, Target

ACTIVE = "state IN ('running', 'paused')"


class ServicePolicy(Base):
    """One version of the desk's own policy. The newest is the one that counts; none of them is changed."""

    __tablename__ = "service_policies"
    __table_args__ = (
        UniqueConstraint("version"),
        CheckConstraint("version >= 1", name="version"),
        CheckConstraint("in_force = (in_force_since IS NOT NULL)", name="in_force_since_when"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    # Of two who save at once from the same version, one makes the next.
    version: Mapped[int]
    in_force: Mapped[bool]
    # Since when there has been a policy without a break: what waited before is not held against it.
    in_force_since: Mapped[datetime | None]
    terms: Mapped[dict[str, Any]]
    edited_by: Mapped[str] = mapped_column(String(200))
    edited_by_name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=now)


class ServiceAnswer(Base):
    """What ``SLA_POLICY`` said last of a conversation; where it failed, the reason. It is asked anew when something
    happens there, and not when a deadline comes."""

    __tablename__ = "service_answers"
    __table_args__ = (CheckConstraint("level IS NULL OR failure IS NULL", name="level_or_failure"),)

    conversation_id: Mapped[int] = mapped_column(
        ForeignKey("__cairnloop__.conversations.id", ondelete="CASCADE"), primary_key=True
    )
    level: Mapped[dict[str, Any] | None]  # null without a failure: it has no targets
    failure: Mapped[str | None] = mapped_column(String(20))
    asked_at: Mapped[datetime]


class ServiceClock(Base):
    """A target of a conversation: since when, by when, and what became of it."""

    __tablename__ = "service_clocks"
    __table_args__ = (
        # What a clock began with names it: reckoned twice, it is there once.
        UniqueConstraint("conversation_id", "target", "began"),
        Index("uq_service_clocks_active", "conversation_id", "target", unique=True, postgresql_where=text(ACTIVE)),
        Index(
            "ix_service_clocks_due",
            "due_at",
            "id",
            postgresql_where=text("state = 'running' AND breached_at IS NULL"),
        ),
        Index("ix_service_clocks_breached", "breached_at", postgresql_where=text("breached_at IS NOT NULL")),
        CheckConstraint("(state IN ('met', 'cancelled')) = (ended_at IS NOT NULL)", name="ended_when_over"),
        CheckConstraint("breached_at IS NULL OR due_at IS NOT NULL", name="breached_by_a_deadline"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.conversations.id", ondelete="CASCADE"))
    target: Mapped[Target] = mapped_column(choice(Target, "target"))
    state: Mapped[ClockState] = mapped_column(choice(ClockState, "state"))
    began: Mapped[int]  # sequence of the message
    started_at: Mapped[datetime]
    # Business seconds: what was promised, and what was left of it when it was last reckoned with no one waiting.
    promised: Mapped[int]
    remaining: Mapped[int]
    warn_at: Mapped[datetime | None]
    # While it runs, when it comes; once it is breached, when it came; of one that was met in time, when it would have.
    due_at: Mapped[datetime | None]
    warned_at: Mapped[datetime | None]
    breached_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    # The policy that it was last reckoned by; null for the host's.
    policy_version: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
