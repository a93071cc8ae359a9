"""What the console reads about questions that no article answered. Of the newest only, however many there were."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from flask_cairnloop.clock import now
from flask_cairnloop.upkeep.models import GapEvent, GapReason, GapSource

LOOKED_AT: Final = 5_000  # of the newest
BACK: Final = timedelta(days=90)
SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Gap:
    """A question, over all times it was asked.

    Args:
        question: as it was asked last, redacted.
        times, people: how often, and by how many.
        conversation_id: that was open when it was asked last, if one was.
    """

    question: str
    times: int
    people: int
    last_at: datetime
    reason: GapReason
    source: GapSource
    conversation_id: int | None


def gaps(session: Session) -> list[Gap]:
    """The questions of the last 90 days, most asked first, a hundred at most. One query."""
    newest = _newest().add_columns(
        GapEvent.id,
        GapEvent.occurred_at,
        func.coalesce(GapEvent.operator_id, GapEvent.visitor).label("asker"),
    )
    asked = newest.subquery()
    counted = (
        select(
            func.max(asked.c.id).label("id"),
            func.count().label("times"),
            func.count(asked.c.asker.distinct()).label("people"),
        )
        .group_by(asked.c.digest)
        .order_by(func.count().desc(), func.max(asked.c.id).desc())
        .limit(SHOWN)
        .subquery()
    )
    rows = session.execute(
        select(GapEvent, counted.c.times, counted.c.people)
        .join(counted, counted.c.id == GapEvent.id)
        .order_by(counted.c.times.desc(), GapEvent.id.desc())
    )
    return [
        Gap(
            event.question,
            times,
            max(people, 1),
            event.occurred_at,
            event.reason,
            event.source,
            event.conversation_id,
        )
        for event, times, people in rows
    ]


def gap_count(session: Session) -> int:
    """How many questions :func:`gaps` would list without its limit. One query."""
    asked = _newest().subquery()
    return session.scalar(select(func.count(asked.c.digest.distinct()))) or 0


def _newest() -> Select[Any]:
    recent = select(GapEvent.digest).where(GapEvent.occurred_at > now() - BACK)
    return recent.order_by(GapEvent.occurred_at.desc()).limit(LOOKED_AT)
