"""What this room holds about a customer: questions asked beside their conversations."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from flask_cairnloop.conversations.models import Conversation
from flask_cairnloop.upkeep.models import GapEvent


def forget_gaps(session: Session, customer_id: int) -> int:
    """Delete every question that was asked beside a customer's conversations. Returns how many."""
    gone = delete(GapEvent).where(GapEvent.conversation_id.in_(_theirs(customer_id))).returning(GapEvent.id)
    return len(session.execute(gone, execution_options={"synchronize_session": False}).all())


def export_gaps(session: Session, customer_id: int) -> list[dict[str, Any]]:
    """The same, as plain values that JSON can carry, oldest first. Who of the team asked is not in it."""
    asked = session.scalars(
        select(GapEvent).where(GapEvent.conversation_id.in_(_theirs(customer_id))).order_by(GapEvent.id)
    )
    return [
        {
            "conversation": event.conversation_id,
            "at": event.occurred_at.isoformat(),
            "question": event.question,
            "reason": event.reason.value,
        }
        for event in asked
    ]


def _theirs(customer_id: int) -> Any:
    return select(Conversation.id).where(Conversation.customer_id == customer_id)
