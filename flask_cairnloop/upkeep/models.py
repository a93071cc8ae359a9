"""Questions that no published article answered."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from flask_cairnloop.clock import now
from flask_cairnloop.database.base import Base, choice

QUESTION_LENGTH = 500


class GapSource(StrEnum):
    """Where a question was asked."""

    PALETTE = "palette"
    HELP_SEARCH = "help_search"
    HELP_VOTE = "help_vote"


class GapReason(StrEnum):
    """What there was instead of an answer."""

    NOTHING_FOUND = "nothing_found"
    CASES_ONLY = "cases_only"  # past cases, which help an operator and are quoted to nobody
    NOT_COVERED = "not_covered"  # articles that come near, and do not answer it
    NOT_HELPFUL = "not_helpful"  # an article, of which a visitor says that it did not help


class GapEvent(Base):
    """One question, by one person, at one time, redacted."""

    __tablename__ = "gap_events"
    __table_args__ = (
        CheckConstraint("question <> ''", name="question_not_empty"),
        Index("ix_gap_events_asked", "digest", "occurred_at"),
        Index("ix_gap_events_occurred_at", "occurred_at"),
        Index(
            "ix_gap_events_conversation_id",
            "conversation_id",
            postgresql_where=text("conversation_id IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    occurred_at: Mapped[datetime] = mapped_column(default=now)
    source: Mapped[GapSource] = mapped_column(choice(GapSource, "source"))
    reason: Mapped[GapReason] = mapped_column(choice(GapReason, "reason"))
    question: Mapped[str] = mapped_column(String(QUESTION_LENGTH))
    # SHA-256 of the question as it stands here, however it was written: it tells no more than the question does.
    digest: Mapped[str] = mapped_column(String(64))
    operator_id: Mapped[str | None] = mapped_column(String(200))
    visitor: Mapped[str | None] = mapped_column(String(64))  # of the help centre: a digest that stands for somebody
    # The one that was open. It goes with its customer.
    conversation_id: Mapped[int | None] = mapped_column(
        ForeignKey("__cairnloop__.conversations.id", ondelete="CASCADE")
    )
