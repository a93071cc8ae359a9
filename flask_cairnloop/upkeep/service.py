"""Keeping a question that no published article answers. It never commits, like every service."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flask_cairnloop import signals
from flask_cairnloop.actors import Acting, ActorKind, as_actor
from flask_cairnloop.clock import now
from flask_cairnloop.conversations.models import Conversation, CustomerRecord
from flask_cairnloop.database.words import words_of
from flask_cairnloop.errors import NotFound
from flask_cairnloop.jobs import send_signal
from flask_cairnloop.privacy.redactor import names_of, redact
from flask_cairnloop.upkeep.models import QUESTION_LENGTH, GapEvent, GapReason, GapSource

ONCE_WITHIN: Final = timedelta(days=1)  # the same question of the same person counts once


def normalized(question: str) -> str:
    """A question however it was written: its words in small letters, with one space between them."""
    return " ".join(words_of(question))


def digest(question: str) -> str:
    """What two ways of writing one question have in common, as SHA-256 in hexadecimal digits."""
    return hashlib.sha256(normalized(question).encode(errors="replace")).hexdigest()


def record_gap(
    session: Session,
    question: str,
    *,
    source: GapSource,
    reason: GapReason,
    actor: Acting,
    conversation_id: int | None = None,
    visitor: str | None = None,
) -> GapEvent | None:
    """Keep a question that no published article answers, redacted, once a person and day.

    There is no entry in the audit log: nobody has decided anything, and what an operator looks for is not their
    employer's to count. The row alone knows who asked.

    Args:
        question: as it was asked.
        conversation_id: of what was open meanwhile. Its customer's names are taken out of the question, and the row
            goes when they are forgotten.
        visitor: a digest that stands for whoever asked, where that is nobody of the team.

    Returns:
        ``None`` where nothing was kept: the person asked the same of late, the conversation's customer was forgotten,
        or there is no word in it.

    Raises:
        NotFound: there is no such conversation.
    """
    actor = as_actor(actor)
    names: tuple[str, ...] = ()
    if conversation_id is not None:
        person = _whose(session, conversation_id)
        if person is None:
            return None
        names = names_of(ref=person.ref, name=person.name, email=person.email, organization=person.organization)
    words = redact(" ".join(question.replace("\x00", "").split()), names=names)[:QUESTION_LENGTH].strip()
    if not words_of(words):
        return None
    operator_id = actor.id if actor.kind is ActorKind.OPERATOR else None
    mark = digest(words)
    if _asked_of_late(session, operator_id or visitor, mark, source):
        return None
    event = GapEvent(
        source=source,
        reason=reason,
        question=words,
        digest=mark,
        operator_id=operator_id,
        visitor=visitor,
        conversation_id=conversation_id,
        occurred_at=now(),
    )
    session.add(event)
    session.flush()
    send_signal(session, signals.gap_recorded, gap_event_id=event.id, source=source.value, reason=reason.value)
    return event


def _whose(session: Session, conversation_id: int) -> CustomerRecord | None:
    """Whose conversation it is; ``None`` when they were forgotten, which they cannot be until this transaction ends."""
    found = session.execute(
        select(Conversation.erased_at, CustomerRecord)
        .join(CustomerRecord, CustomerRecord.id == Conversation.customer_id)
        .where(Conversation.id == conversation_id)
        .with_for_update(read=True, key_share=True, of=Conversation)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if found is None:
        raise NotFound("There is no such conversation.")
    return None if found[0] is not None else found[1]


def _asked_of_late(session: Session, asker: str | None, mark: str, source: GapSource) -> bool:
    """Whether it was kept already. Of two requests at once, the second waits for the first."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"gap:{asker}:{mark}", 0))))
    earlier = select(GapEvent.id).where(
        func.coalesce(GapEvent.operator_id, GapEvent.visitor).is_not_distinct_from(asker),
        GapEvent.digest == mark,
        GapEvent.source == source,
        GapEvent.occurred_at > now() - ONCE_WITHIN,
    )
    return session.scalar(earlier.limit(1)) is not None
