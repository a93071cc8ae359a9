"""What this room holds about a customer: how it is handed out, and how it goes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import case, select, update
from sqlalchemy.orm import Session

from flask_cairnloop.conversations.models import ERASED, Conversation
from flask_cairnloop.drafting.models import Draft


def forget_drafts(session: Session, customer_id: int) -> int:
    """Erase the drafts for a customer's questions. State, numbers and times stay, and the reason, one of a few words.
    What an operator wrote beside that reason goes.

    What was cited and weighed goes too: it says what was asked. Returns how many drafts.
    """
    found = session.execute(
        update(Draft)
        .where(Draft.conversation_id.in_(_theirs(customer_id)))
        .values(
            question="",
            body=case((Draft.body == "", ""), else_=ERASED),
            summary="",
            citations=[],
            evidence=[],
            policy_reason=None,
            declined=None,
            decision_note=None,
        )
        .execution_options(synchronize_session=False)
    )
    return int(found.rowcount)  # type: ignore[attr-defined]


def export_drafts(session: Session, customer_id: int) -> list[dict[str, Any]]:
    """What a machine wrote for a customer and how it came to that, whether it was sent or not, oldest first."""
    drafts = session.scalars(select(Draft).where(Draft.conversation_id.in_(_theirs(customer_id))).order_by(Draft.id))
    return [
        {
            "conversation": draft.conversation_id,
            "at": draft.created_at.isoformat(),
            "state": draft.state.value,
            "kind": draft.kind.value if draft.kind else None,
            "question": draft.question,
            "text": draft.body,
            "summary": draft.summary,
            "sources": [citation.get("title") for citation in draft.citations],
            "grounding": draft.grounding.value if draft.grounding else None,
            "numbers": draft.grounding_numbers,
            "policy": draft.policy.value if draft.policy else None,
            "declined": draft.declined,
            "reason": draft.decision_reason,
            "note": draft.decision_note,
        }
        for draft in drafts
    ]


def _theirs(customer_id: int) -> Any:
    return select(Conversation.id).where(Conversation.customer_id == customer_id)
