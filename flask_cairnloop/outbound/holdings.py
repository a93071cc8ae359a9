"""What this room holds about a customer: how it is handed out, and how it goes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import case, select, update
from sqlalchemy.orm import Session

from flask_cairnloop.conversations.models import ERASED
from flask_cairnloop.errors import Conflict
from flask_cairnloop.outbound.models import OutboundDelivery, OutboundSuppression
from flask_cairnloop.outbound.transitions import SYSTEM, TRANSITIONS, step
from flask_cairnloop.outbound.types import DeliveryState, Reason


def withdraw_deliveries(session: Session, customer_id: int) -> None:
    """Stop every follow-up to a customer that has not left. Their conversations are locked.

    Raises:
        Conflict: one of them is leaving at this moment. It is not waited for, because its end may wait for the
            conversation that the caller has locked.
    """
    states = TRANSITIONS["be cancelled"][0] | {DeliveryState.SENDING}
    about = (OutboundDelivery.customer_id == customer_id, OutboundDelivery.state.in_(states))
    wanted = session.scalars(select(OutboundDelivery.id).where(*about)).all()
    free = session.scalars(
        select(OutboundDelivery)
        .where(OutboundDelivery.id.in_(wanted))
        .order_by(OutboundDelivery.id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    if len(free) < len(wanted) or any(one.state is DeliveryState.SENDING for one in free):
        raise Conflict("A follow-up to this customer is leaving at this moment. Try again.")
    for delivery in free:
        if delivery.state in TRANSITIONS["be cancelled"][0]:
            step(session, delivery, "be cancelled", SYSTEM, reason=Reason.FORGOTTEN)
    session.flush()


def forget_deliveries(session: Session, customer_id: int) -> int:
    """Erase what follow-ups say to a customer. That there were some, and when, stays.

    Returns:
        How many.
    """
    found = session.execute(
        update(OutboundDelivery)
        .where(OutboundDelivery.customer_id == customer_id)
        .values(
            subject=case((OutboundDelivery.subject == "", ""), else_=ERASED),
            body=case((OutboundDelivery.body == "", ""), else_=ERASED),
            failure=case((OutboundDelivery.failure.is_(None), None), else_=ERASED),
            reference=None,
        )
        .execution_options(synchronize_session=False)
    )
    return int(found.rowcount)  # type: ignore[attr-defined]


def forget_suppression(session: Session, customer_id: int) -> int:
    """Keep that they want no follow-ups as a keyed digest alone: it says who they were to nobody who does not know.

    Returns:
        How many entries.
    """
    found = session.execute(
        update(OutboundSuppression)
        .where(OutboundSuppression.customer_id == customer_id)
        .values(customer_id=None)
        .execution_options(synchronize_session=False)
    )
    return int(found.rowcount)  # type: ignore[attr-defined]


def export_deliveries(session: Session, customer_id: int) -> list[dict[str, Any]]:
    """Every follow-up that a customer was to get, and what became of it, oldest first. Who sent it is left out."""
    rows = session.scalars(
        select(OutboundDelivery).where(OutboundDelivery.customer_id == customer_id).order_by(OutboundDelivery.id)
    )
    return [
        {
            "conversation": one.conversation_id,
            "at": one.created_at.isoformat(),
            "state": one.state.value,
            "reason": one.reason.value if one.reason else None,
            "subject": one.subject,
            "body": one.body,
            "due_at": one.due_at.isoformat() if one.due_at else None,
            "delivered_at": one.delivered_at.isoformat() if one.delivered_at else None,
        }
        for one in rows
    ]


def export_suppression(session: Session, customer_id: int) -> list[dict[str, Any]]:
    """That a customer gets no follow-ups, and since when."""
    rows = session.scalars(select(OutboundSuppression).where(OutboundSuppression.customer_id == customer_id))
    return [{"at": one.created_at.isoformat(), "by": one.added_by_kind.value} for one in rows]
