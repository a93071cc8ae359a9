"""What the console reads about service levels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flask_cairnloop.service_levels.models import ServiceAnswer, ServiceClock, ServicePolicy
from flask_cairnloop.service_levels.targets import Target

SHOWN = 12  # clocks of one conversation, and versions of the policy
FAILED_LIMIT = 99


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a conversation stands.

    Args:
        clocks: its newest ones, newest first.
        failure: why the host's policy could not be had when it was asked last.
    """

    clocks: tuple[ServiceClock, ...]
    failure: str | None


def standing(session: Session, conversation_id: int) -> Standing:
    """The clocks of a conversation, and whether the host's policy answered. Two queries."""
    clocks = session.scalars(
        select(ServiceClock)
        .where(ServiceClock.conversation_id == conversation_id)
        .order_by(ServiceClock.id.desc())
        .limit(SHOWN)
    )
    failure = select(ServiceAnswer.failure).where(ServiceAnswer.conversation_id == conversation_id)
    return Standing(tuple(clocks), session.scalar(failure))


def versions(session: Session) -> list[ServicePolicy]:
    """The newest versions of the desk's policy, newest first. One query."""
    return list(session.scalars(select(ServicePolicy).order_by(ServicePolicy.version.desc()).limit(SHOWN)))


def failures(session: Session, since: datetime) -> int:
    """Of how many conversations the host's policy was asked since then without an answer; at most
    :data:`FAILED_LIMIT` + 1. One query."""
    failed = select(ServiceAnswer.conversation_id).where(
        ServiceAnswer.failure.is_not(None), ServiceAnswer.asked_at >= since
    )
    return session.scalar(select(func.count()).select_from(failed.limit(FAILED_LIMIT + 1).subquery())) or 0


def breaches(session: Session, since: datetime) -> dict[Target, int]:
    """How many deadlines passed since a moment, of each target. One query."""
    counted = (
        select(ServiceClock.target, func.count()).where(ServiceClock.breached_at >= since).group_by(ServiceClock.target)
    )
    return dict(session.execute(counted).all())
