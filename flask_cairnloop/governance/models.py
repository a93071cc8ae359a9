"""Proposed actions, what people said of them, and everything that happened to them."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Identity, Index, SmallInteger, String, text
from sqlalchemy.orm import Mapped, mapped_column

from flask_cairnloop.actors import ActorKind
from flask_cairnloop.clock import now
from flask_cairnloop.database.base import Base, choice
from flask_cairnloop.governance.types import (
    ApprovalState,
    EventKind,
    ProposalState,
    Refusal,
    Risk,
    Tier,
    ToolKind,
)

REASON_LENGTH = 500
OUTCOME_LENGTH = 1000
OPEN = "state IN ('pending', 'deferred', 'approved', 'running', 'uncertain')"


class ActionProposal(Base):
    """A call of a tool that somebody wants, as it was when they wanted it, and the one state it is in."""

    __tablename__ = "action_proposals"
    __table_args__ = (
        CheckConstraint("(state = 'deferred') = (deferred_until IS NOT NULL)", name="deferred_until_a_time"),
        CheckConstraint("(state = 'running') = (running_since IS NOT NULL)", name="running_since_a_time"),
        CheckConstraint("(state = 'refused') = (refusal IS NOT NULL)", name="refused_for_a_reason"),
        CheckConstraint("state <> 'succeeded' OR outcome IS NOT NULL", name="outcome_when_done"),
        CheckConstraint("state <> 'failed' OR failure IS NOT NULL", name="failure_when_failed"),
        CheckConstraint(f"({OPEN}) = (finished_at IS NULL)", name="finished_when_over"),
        CheckConstraint(f"{OPEN} OR sealed = '{{}}'", name="nothing_sensitive_when_over"),
        CheckConstraint("attempt >= 0 AND revision >= 0 AND approvals_needed BETWEEN 0 AND 2", name="counts"),
        # The same action has one open lane; what was refused or is over never stands in the way of a later one.
        Index("uq_action_proposals_open", "digest", unique=True, postgresql_where=text(OPEN)),
        # A caller's own key names one action for ever; what was refused does not keep it.
        Index(
            "uq_action_proposals_client_key",
            "client_key",
            unique=True,
            postgresql_where=text("client_key IS NOT NULL AND state <> 'refused'"),
        ),
        Index("ix_action_proposals_conversation_id", "conversation_id", "id"),
        # The queue: what can do most harm first, and of that what runs out first.
        Index(
            "ix_action_proposals_waiting",
            text("weight DESC"),
            "expires_at",
            "id",
            postgresql_where=text("state = 'pending'"),
        ),
        Index(
            "ix_action_proposals_deferred",
            "deferred_until",
            "id",
            postgresql_where=text("state = 'deferred'"),
        ),
        Index("ix_action_proposals_state", "state", text("id DESC")),
        Index(
            "ix_action_proposals_over",
            text("finished_at DESC"),
            text("id DESC"),
            postgresql_where=text("finished_at IS NOT NULL"),
        ),
        # What one token asked for.
        Index("ix_action_proposals_token", "proposed_by", "id", postgresql_where=text("proposed_by_kind = 'token'")),
        Index("ix_action_proposals_again_of", "again_of", postgresql_where=text("again_of IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    state: Mapped[ProposalState] = mapped_column(choice(ProposalState, "state"), default=ProposalState.PENDING)
    # The tool as it was then.
    tool: Mapped[str] = mapped_column(String(50))
    title: Mapped[str] = mapped_column(String(100))
    risk: Mapped[Risk] = mapped_column(choice(Risk, "risk"))
    weight: Mapped[int] = mapped_column(SmallInteger)  # the risk as a number, to sort by
    kind: Mapped[ToolKind] = mapped_column(choice(ToolKind, "kind"))
    # Who wants it, where and why.
    conversation_id: Mapped[int | None] = mapped_column(
        ForeignKey("__cairnloop__.conversations.id", ondelete="SET NULL")
    )
    proposed_by_kind: Mapped[ActorKind] = mapped_column(choice(ActorKind, "proposed_by_kind"))
    proposed_by: Mapped[str] = mapped_column(String(200))
    proposed_by_name: Mapped[str] = mapped_column(String(200))
    scopes: Mapped[list[Any]] = mapped_column(default=list)  # of a proposer who is no person: what they may
    reason: Mapped[str] = mapped_column(String(REASON_LENGTH), default="")
    again_of: Mapped[int | None] = mapped_column(ForeignKey("__cairnloop__.action_proposals.id"))
    # What is decided on, and what runs: the inputs, the sensitive ones apart, and what they would do.
    inputs: Mapped[dict[str, Any]] = mapped_column(default=dict)
    sealed: Mapped[dict[str, Any]] = mapped_column(default=dict)
    labels: Mapped[dict[str, Any]] = mapped_column(default=dict)
    revision: Mapped[int] = mapped_column(SmallInteger, default=0)  # how often an approver has changed the inputs
    consequence: Mapped[str] = mapped_column(default="")
    changes: Mapped[list[Any]] = mapped_column(default=list)
    evidence: Mapped[list[Any]] = mapped_column(default=list)
    # The rules it went by.
    tier: Mapped[Tier] = mapped_column(choice(Tier, "tier"))
    approvals_needed: Mapped[int] = mapped_column(SmallInteger)
    confirmation: Mapped[str | None] = mapped_column(String(100))  # what each approver types
    policy: Mapped[dict[str, Any]] = mapped_column(default=dict)
    refusal: Mapped[Refusal | None] = mapped_column(choice(Refusal, "refusal"))
    # What two proposals of the same share, and what their caller calls this one.
    digest: Mapped[str] = mapped_column(String(64))
    client_key: Mapped[str | None] = mapped_column(String(64))
    # What the tool gets to know this action by: the same over every attempt.
    run_key: Mapped[str] = mapped_column(String(64), unique=True, default=lambda: secrets.token_hex(16))
    attempt: Mapped[int] = mapped_column(SmallInteger, default=0)
    # The attempt that is under way, by a name of its own: who was taken over cannot write its end.
    run_token: Mapped[str | None] = mapped_column(String(64))
    running_since: Mapped[datetime | None]
    expires_at: Mapped[datetime]
    deferred_until: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(OUTCOME_LENGTH))
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)
    failure: Mapped[str | None] = mapped_column(String(REASON_LENGTH))
    created_at: Mapped[datetime] = mapped_column(default=now)
    decided_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class ActionApproval(Base):
    """One question to a person, whether an action may run, and their answer."""

    __tablename__ = "action_approvals"
    __table_args__ = (
        CheckConstraint(
            "state NOT IN ('approved', 'rejected', 'deferred', 'set_aside') OR decided_by IS NOT NULL",
            name="decided_by_someone",
        ),
        CheckConstraint("(decided_by IS NULL) = (decided_at IS NULL)", name="decided_at_a_time"),
        CheckConstraint(
            "NOT other_person OR state <> 'approved' OR decided_by <> proposed_by", name="approved_by_another"
        ),
        CheckConstraint("state <> 'approved' OR confirmed OR NOT confirmation", name="confirmed_when_asked"),
        Index("uq_action_approvals_pending", "proposal_id", unique=True, postgresql_where=text("state = 'pending'")),
        # Nobody approves one action twice.
        Index(
            "uq_action_approvals_person",
            "proposal_id",
            "decided_by",
            unique=True,
            postgresql_where=text("state = 'approved'"),
        ),
        Index("ix_action_approvals_proposal_id", "proposal_id", "id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    proposal_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.action_proposals.id"))
    state: Mapped[ApprovalState] = mapped_column(choice(ApprovalState, "state"), default=ApprovalState.PENDING)
    # The rules it was asked by, here again so that the database can hold people to them.
    other_person: Mapped[bool] = mapped_column(Boolean)
    confirmation: Mapped[bool] = mapped_column(Boolean)
    proposed_by: Mapped[str] = mapped_column(String(200))
    opened_at: Mapped[datetime] = mapped_column(default=now)
    decided_by: Mapped[str | None] = mapped_column(String(200))
    decided_by_name: Mapped[str | None] = mapped_column(String(200))
    decided_at: Mapped[datetime | None]
    confirmed: Mapped[bool] = mapped_column(Boolean, default=False)
    revision: Mapped[int] = mapped_column(SmallInteger, default=0)  # of the inputs that were decided on
    reason: Mapped[str] = mapped_column(String(REASON_LENGTH), default="")
    edits: Mapped[list[Any]] = mapped_column(default=list)


class ActionEvent(Base):
    """Something that happened to an action. Never changed; ids and bounded values only."""

    __tablename__ = "action_events"
    __table_args__ = (Index("ix_action_events_proposal_id", "proposal_id", "id"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    proposal_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.action_proposals.id"))
    kind: Mapped[EventKind] = mapped_column(choice(EventKind, "kind"))
    from_state: Mapped[ProposalState | None] = mapped_column(choice(ProposalState, "from_state"))
    to_state: Mapped[ProposalState] = mapped_column(choice(ProposalState, "to_state"))
    actor_kind: Mapped[ActorKind] = mapped_column(choice(ActorKind, "actor_kind"))
    actor_id: Mapped[str] = mapped_column(String(200))
    actor_name: Mapped[str] = mapped_column(String(200))
    attempt: Mapped[int] = mapped_column(SmallInteger, default=0)
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    occurred_at: Mapped[datetime] = mapped_column(default=now)
