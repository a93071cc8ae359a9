"""Proposed replies: written by a machine, decided by an operator."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from flask_cairnloop.clock import now
from flask_cairnloop.database.base import Base, choice
from flask_cairnloop.drafting.types import DraftKind, PolicyDecision
from flask_cairnloop.retrieval.types import Strength


class DraftState(StrEnum):
    GENERATING = "generating"
    READY = "ready"
    FAILED = "failed"
    APPROVED = "approved"  # sent as it stood
    EDITED = "edited"  # sent with an operator's changes
    DISCARDED = "discarded"
    SUPERSEDED = "superseded"  # the conversation moved on before a decision
    WITHHELD = "withheld"  # the policy denied it; no text is kept for showing


OPEN_STATES = (DraftState.GENERATING, DraftState.READY, DraftState.FAILED)


class CallOutcome(StrEnum):
    """What became of a call to a model."""

    STARTED = "started"  # under way, or cut off: its highest cost stands
    USED = "used"
    HANDED_OFF = "handed_off"  # the model said that a person should answer
    UNSUPPORTED = "unsupported"  # a sentence or a citation is not borne out by the evidence
    UNREADABLE = "unreadable"  # no answer of the agreed form
    REFUSED = "refused"
    LIMITED = "limited"
    TIMEOUT = "timeout"
    FAILED = "failed"


class Draft(Base):
    __tablename__ = "drafts"
    __table_args__ = (
        CheckConstraint(
            "state NOT IN ('ready', 'approved', 'edited')"
            " OR (kind IS NOT NULL AND (kind = 'escalation' OR body <> ''))",
            name="text_when_ready",
        ),
        CheckConstraint("changed BETWEEN 0 AND 1", name="changed_share"),
        CheckConstraint(
            "state NOT IN ('approved', 'edited', 'discarded') OR decided_by IS NOT NULL", name="decided_by_someone"
        ),
        Index(
            "uq_drafts_one_open",
            "conversation_id",
            unique=True,
            postgresql_where=text("state IN ('generating', 'ready', 'failed')"),
        ),
        Index("ix_drafts_conversation_id", "conversation_id", "id"),
        # How drafts do, over a time and for an article.
        Index("ix_drafts_created_at", "created_at"),
        Index(
            "ix_drafts_cited_articles",
            text("jsonb_path_query_array(citations, '$[*].article_id')"),
            postgresql_using="gin",
        ),
        # What an operator can check and send: a hand-over to a person is no text.
        Index(
            "ix_drafts_to_check",
            "conversation_id",
            postgresql_where=text("state = 'ready' AND kind <> 'escalation'"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.conversations.id", ondelete="CASCADE"))
    state: Mapped[DraftState] = mapped_column(choice(DraftState, "state"), default=DraftState.GENERATING)
    kind: Mapped[DraftKind | None] = mapped_column(choice(DraftKind, "kind"))
    # Sequence of the customer's newest message this draft answers.
    answers_sequence: Mapped[int]
    question: Mapped[str] = mapped_column(default="")
    body: Mapped[str] = mapped_column(default="")
    summary: Mapped[str] = mapped_column(default="")  # one sentence for the operator
    # What was decided on, as it was then: numbered citations, all passages weighed, the numbers behind the decision.
    citations: Mapped[list[Any]] = mapped_column(default=list)
    evidence: Mapped[list[Any]] = mapped_column(default=list)
    grounding: Mapped[Strength | None] = mapped_column(choice(Strength, "grounding"))
    grounding_numbers: Mapped[dict[str, Any]] = mapped_column(default=dict)
    policy: Mapped[PolicyDecision | None] = mapped_column(choice(PolicyDecision, "policy"))
    policy_reason: Mapped[str | None] = mapped_column(String(500))
    engine: Mapped[str | None] = mapped_column(String(100))
    # Why the engine that was asked first did not write it, where another did.
    declined: Mapped[str | None] = mapped_column(String(500))
    failure: Mapped[str | None] = mapped_column(String(500))
    superseded_by: Mapped[str | None] = mapped_column(String(32))  # "customer", "reply", "resolve", "forget"
    decided_by: Mapped[str | None] = mapped_column(String(200))
    decided_by_name: Mapped[str | None] = mapped_column(String(200))
    decided_at: Mapped[datetime | None]
    decision_reason: Mapped[str | None] = mapped_column(String(500))  # one of a few words, so that it can be counted
    decision_note: Mapped[str | None] = mapped_column(String(500))  # the operator's own words beside it
    changed: Mapped[float | None]  # see `differences.share_changed`; 0 when sent as it stood
    created_at: Mapped[datetime] = mapped_column(default=now)
    ready_at: Mapped[datetime | None]


class ModelCall(Base):
    """A call to somebody's model: what a day's budget is reckoned from. It names no person and holds no words."""

    __tablename__ = "model_calls"
    __table_args__ = (
        Index("ix_model_calls_engine", "engine", "started_at"),
        Index("ix_model_calls_started_at", "started_at"),
        Index("ix_model_calls_draft_id", "draft_id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    draft_id: Mapped[int | None] = mapped_column(ForeignKey("__cairnloop__.drafts.id", ondelete="SET NULL"))
    engine: Mapped[str] = mapped_column(String(100))
    model: Mapped[str] = mapped_column(String(100))
    outcome: Mapped[CallOutcome] = mapped_column(choice(CallOutcome, "outcome"), default=CallOutcome.STARTED)
    input_tokens: Mapped[int] = mapped_column(default=0)  # those read from the vendor's cache besides
    cached_tokens: Mapped[int] = mapped_column(default=0)
    output_tokens: Mapped[int] = mapped_column(default=0)
    cost_micros: Mapped[int] = mapped_column(default=0)  # millionths of the currency of the configured price
    started_at: Mapped[datetime] = mapped_column(default=now)
    ended_at: Mapped[datetime | None]
