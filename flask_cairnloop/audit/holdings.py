"""What the audit log holds about a customer: what they did, while their pseudonym is known to be theirs, and words."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from flask_cairnloop.actors import ActorKind
from flask_cairnloop.audit.models import AuditEntry, AuditText
from flask_cairnloop.conversations.models import Conversation, CustomerRecord


def export_entries(session: Session, customer_id: int) -> list[dict[str, Any]]:
    """What a customer did in their own conversations, oldest first."""
    pseudonym = session.get_one(CustomerRecord, customer_id).pseudonym
    theirs = select(Conversation.id).where(Conversation.customer_id == customer_id)
    entries = session.scalars(
        select(AuditEntry)
        .where(
            AuditEntry.subject_type == "conversation",  # with the index on subjects: actors have none
            AuditEntry.subject_id.in_(theirs),
            AuditEntry.actor_kind == ActorKind.CUSTOMER,
            AuditEntry.actor_id == pseudonym,
        )
        .order_by(AuditEntry.id)
    )
    return [
        {"at": entry.occurred_at.isoformat(), "action": entry.action, "conversation": entry.subject_id}
        for entry in entries
    ]


def export_texts(session: Session, customer_id: int) -> list[dict[str, Any]]:
    """In which words decisions about a customer were given reasons, oldest first. Who decided is not in it."""
    rows = session.execute(
        select(AuditEntry.occurred_at, AuditEntry.action, AuditText.words)
        .join(AuditEntry, AuditEntry.id == AuditText.entry_id)
        .where(AuditText.customer_id == customer_id)
        .order_by(AuditEntry.id)
    )
    return [{"at": at.isoformat(), "action": action, "reason": words} for at, action, words in rows]


def forget_texts(session: Session, customer_id: int) -> int:
    """Erase the words in which decisions about a customer were given reasons. Returns how many.

    Their entries keep salted digests, and the salts go with the words, so the chain stays as it was and tells nothing.
    """
    gone = delete(AuditText).where(AuditText.customer_id == customer_id).returning(AuditText.entry_id)
    return len(session.execute(gone, execution_options={"synchronize_session": False}).all())
