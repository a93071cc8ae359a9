"""Templates, envelopes with what was previewed, and the delivery to each recipient."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Identity, Index, SmallInteger, String, text
from sqlalchemy.orm import Mapped, mapped_column

from flask_cairnloop.actors import ActorKind
from flask_cairnloop.clock import now
from flask_cairnloop.database.base import Base, choice
from flask_cairnloop.outbound.types import (
    REASON_LENGTH,
    REFERENCE_LENGTH,
    DeliveryState,
    EnvelopeState,
    Reason,
    Source,
)

NAME_LENGTH = 80
SUBJECT_LENGTH = 200
OPEN = "state IN ('scheduled', 'sending', 'uncertain')"
WITH_REASON = "state IN ('skipped', 'cancelled')"


class OutboundTemplate(Base):
    """A text with variables that follow-ups are made from. It holds no words of a customer."""

    __tablename__ = "outbound_templates"
    __table_args__ = (
        CheckConstraint("name <> '' AND subject <> '' AND body <> ''", name="named_and_written"),
        Index(
            "uq_outbound_templates_name", text("lower(name)"), unique=True, postgresql_where=text("archived_at IS NULL")
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    subject: Mapped[str] = mapped_column(String(SUBJECT_LENGTH))
    body: Mapped[str]
    # Whether what is on its way is stopped when the customer writes.
    cancel_on_reply: Mapped[bool] = mapped_column(Boolean, default=True)
    edits: Mapped[int] = mapped_column(default=0)  # whoever saves says which they had before them
    edited_by: Mapped[str] = mapped_column(String(200))
    edited_at: Mapped[datetime] = mapped_column(default=now)
    created_at: Mapped[datetime] = mapped_column(default=now)
    archived_at: Mapped[datetime | None]


class OutboundEnvelope(Base):
    """What somebody wanted to send at once: the template as it was then, and how it was meant."""

    __tablename__ = "outbound_envelopes"
    __table_args__ = (
        CheckConstraint("(state = 'submitted') = (submitted_at IS NOT NULL)", name="submitted_at_a_time"),
        CheckConstraint("(submitted_at IS NULL) = (submitted_by IS NULL)", name="submitted_by_somebody"),
        CheckConstraint("chosen >= 0 AND eligible >= 0 AND cap >= 1", name="counts"),
        CheckConstraint("state <> 'submitted' OR eligible <= cap", name="within_its_cap"),
        Index("ix_outbound_envelopes_newest", text("created_at DESC"), text("id DESC")),
        Index("ix_outbound_envelopes_previewed", "created_at", postgresql_where=text("state = 'previewed'")),
        Index("ix_outbound_envelopes_parent_id", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
        Index(
            "uq_outbound_envelopes_client_key",
            "client_key",
            unique=True,
            postgresql_where=text("client_key IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    state: Mapped[EnvelopeState] = mapped_column(choice(EnvelopeState, "state"), default=EnvelopeState.PREVIEWED)
    source: Mapped[Source] = mapped_column(choice(Source, "source"))
    template_id: Mapped[int | None] = mapped_column(ForeignKey("__cairnloop__.outbound_templates.id"))
    template_name: Mapped[str] = mapped_column(String(NAME_LENGTH), default="")
    cancel_on_reply: Mapped[bool] = mapped_column(Boolean)
    chosen: Mapped[int]
    eligible: Mapped[int]
    cap: Mapped[int]  # as it was when this was decided
    hooked: Mapped[bool] = mapped_column(Boolean)  # whether ON_OUTBOUND was there when it was previewed
    send_at: Mapped[datetime | None]
    # The refused one that this is a part of.
    parent_id: Mapped[int | None] = mapped_column(
        ForeignKey("__cairnloop__.outbound_envelopes.id", ondelete="SET NULL")
    )
    split_at: Mapped[datetime | None]
    # The host's own key of a call: a second one finds the first.
    client_key: Mapped[str | None] = mapped_column(String(300))
    created_by_kind: Mapped[ActorKind] = mapped_column(choice(ActorKind, "created_by_kind"))
    created_by: Mapped[str] = mapped_column(String(200))
    created_by_name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=now)
    submitted_by_kind: Mapped[ActorKind | None] = mapped_column(choice(ActorKind, "submitted_by_kind"))
    submitted_by: Mapped[str | None] = mapped_column(String(200))
    submitted_by_name: Mapped[str | None] = mapped_column(String(200))
    submitted_at: Mapped[datetime | None]


class OutboundDelivery(Base):
    """One recipient of an envelope: the text as it was previewed, and the one state it is in."""

    __tablename__ = "outbound_deliveries"
    __table_args__ = (
        CheckConstraint(f"({WITH_REASON}) = (reason IS NOT NULL)", name="reason_when_not_sent"),
        CheckConstraint("state <> 'scheduled' OR due_at IS NOT NULL", name="due_when_scheduled"),
        CheckConstraint("(state = 'sending') = (sending_since IS NOT NULL)", name="sending_since_a_time"),
        CheckConstraint("state <> 'failed' OR failure IS NOT NULL", name="failure_when_failed"),
        CheckConstraint("(state = 'delivered') = (delivered_at IS NOT NULL)", name="delivered_at_a_time"),
        CheckConstraint("state IN ('skipped', 'cancelled') OR body <> ''", name="text_to_send"),
        CheckConstraint("attempt >= 0 AND position >= 0", name="counts"),
        Index("ix_outbound_deliveries_envelope_id", "envelope_id", "position"),
        Index("ix_outbound_deliveries_customer_id", "customer_id", "id"),
        Index(
            "ix_outbound_deliveries_conversation_id",
            "conversation_id",
            "id",
            postgresql_where=text("conversation_id IS NOT NULL"),
        ),
        # Nobody has two of one template on their way.
        Index(
            "uq_outbound_deliveries_open",
            "customer_id",
            "template_id",
            unique=True,
            postgresql_where=text(f"{OPEN} AND template_id IS NOT NULL"),
        ),
        Index("ix_outbound_deliveries_open", "state", "id", postgresql_where=text(OPEN)),
        Index(
            "ix_outbound_deliveries_cancelled_by_reply",
            "id",
            postgresql_where=text("state = 'scheduled' AND cancel_on_reply"),
        ),
        Index("ix_outbound_deliveries_message_id", "message_id", postgresql_where=text("message_id IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    envelope_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.outbound_envelopes.id", ondelete="CASCADE"))
    position: Mapped[int]
    # What the host knows this delivery by: the same over every attempt.
    key: Mapped[str] = mapped_column(String(64), unique=True, default=lambda: f"follow-up-{secrets.token_hex(16)}")
    state: Mapped[DeliveryState] = mapped_column(choice(DeliveryState, "state"), default=DeliveryState.PREVIEWED)
    reason: Mapped[Reason | None] = mapped_column(choice(Reason, "reason"))
    missing: Mapped[list[Any]] = mapped_column(default=list)  # names of variables without a value
    customer_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.customers.id"))
    conversation_id: Mapped[int | None] = mapped_column(
        ForeignKey("__cairnloop__.conversations.id", ondelete="SET NULL")
    )
    template_id: Mapped[int | None] = mapped_column(ForeignKey("__cairnloop__.outbound_templates.id"))
    cancel_on_reply: Mapped[bool] = mapped_column(Boolean)
    subject: Mapped[str] = mapped_column(String(SUBJECT_LENGTH), default="")
    body: Mapped[str] = mapped_column(default="")
    # How much the customer had said, in all their conversations together, when this was previewed.
    said: Mapped[int] = mapped_column(default=0)
    # When they last had one of this template.
    had_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(SmallInteger, default=0)
    # The attempt that is under way, by a name of its own: who was taken over cannot write its end.
    run_token: Mapped[str | None] = mapped_column(String(64))
    sending_since: Mapped[datetime | None]
    # Whether an attempt ended of which nobody knows how: then no later end may say that nothing was sent.
    in_doubt: Mapped[bool] = mapped_column(Boolean, default=False)
    failure: Mapped[str | None] = mapped_column(String(REASON_LENGTH))
    reference: Mapped[str | None] = mapped_column(String(REFERENCE_LENGTH))
    # The message it became.
    message_id: Mapped[int | None] = mapped_column(ForeignKey("__cairnloop__.messages.id", ondelete="SET NULL"))
    delivered_at: Mapped[datetime | None]
    changed_at: Mapped[datetime] = mapped_column(default=now)
    created_at: Mapped[datetime] = mapped_column(default=now)


class OutboundSuppression(Base):
    """Somebody who gets no follow-ups. When they are forgotten, only the keyed digest of their reference is left."""

    __tablename__ = "outbound_suppressions"
    __table_args__ = (
        Index(
            "uq_outbound_suppressions_customer_id",
            "customer_id",
            unique=True,
            postgresql_where=text("customer_id IS NOT NULL"),
        ),
        Index("ix_outbound_suppressions_newest", text("created_at DESC"), text("id DESC")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("__cairnloop__.customers.id"))
    added_by_kind: Mapped[ActorKind] = mapped_column(choice(ActorKind, "added_by_kind"))
    added_by_name: Mapped[str | None] = mapped_column(String(200))  # of a colleague; never a customer's
    created_at: Mapped[datetime] = mapped_column(default=now)
