"""What this room holds about a customer: how it is handed out, and how it goes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from flask_cairnloop.clock import now
from flask_cairnloop.conversations.models import Conversation
from flask_cairnloop.service_levels.models import ServiceAnswer, ServiceClock
from flask_cairnloop.service_levels.targets import ACTIVE, ClockState


def forget_clocks(session: Session, customer_id: int) -> int:
    """End the clocks of a customer's conversations, which stay as figures, and let go of what the host said of them.

    Returns:
        How many rows were erased.
    """
    theirs = select(Conversation.id).where(Conversation.customer_id == customer_id)
    active = (ServiceClock.conversation_id.in_(theirs), ServiceClock.state.in_(ACTIVE))
    plain = {"synchronize_session": False}
    ended = update(ServiceClock).where(*active).values(state=ClockState.CANCELLED, ended_at=now())
    session.execute(ended.execution_options(**plain))
    answers = delete(ServiceAnswer).where(ServiceAnswer.conversation_id.in_(theirs))
    gone = session.execute(answers.execution_options(**plain))
    return int(gone.rowcount)  # type: ignore[attr-defined]


def export_clocks(session: Session, customer_id: int) -> list[dict[str, Any]]:
    """By when a customer's conversations were to be answered, and what became of it, oldest first."""
    clocks = session.scalars(
        select(ServiceClock)
        .join(Conversation, Conversation.id == ServiceClock.conversation_id)
        .where(Conversation.customer_id == customer_id)
        .order_by(ServiceClock.conversation_id, ServiceClock.id)
    )
    return [
        {
            "conversation": clock.conversation_id,
            "target": clock.target.value,
            "state": clock.state.value,
            "since": clock.started_at.isoformat(),
            "due_at": _moment(clock.due_at),
            "breached_at": _moment(clock.breached_at),
            "ended_at": _moment(clock.ended_at),
        }
        for clock in clocks
    ]


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
