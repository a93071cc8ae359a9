"""Keeping a question that no published article answers. It never commits, like every service."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from flask_cairnloop import signals
from flask_cairnloop.actors import Acting, Actor, ActorKind, as_actor
from flask_cairnloop.clock import now
from flask_cairnloop.conversations.models import Conversation, CustomerRecord
from flask_cairnloop.database.words import words_of
from flask_cairnloop.errors import NotFound
from flask_cairnloop.jobs import enqueue, send_signal
from flask_cairnloop.privacy.redactor import names_of, redact
from flask_cairnloop.upkeep import marks
from flask_cairnloop.upkeep.models import QUESTION_LENGTH, GapEvent, GapReason, GapSource

ONCE_WITHIN: Final = timedelta(days=1)  # the same question of the same person counts once
JOIN: Final = "upkeep.join"


def record_gap(
    session: Session,
    question: str,
    *,
    source: GapSource,
    reason: GapReason,
    actor: Acting,
    conversation_id: int | None = None,
    article_id: int | None = None,
    visitor: str | None = None,
) -> GapEvent | None:
    """Keep a question that no published article answers, redacted, and ask for it to be counted to a candidate.

    The same question of the same person raises the count of the one that is kept, for a day after they asked it last.
    There is no entry in the audit log: nobody has decided anything, and what an operator looks for is not their
    employer's to count. The row alone knows who asked.

    Args:
        question: as it was asked.
        conversation_id: of what was open meanwhile, or where it was asked. Its customer's names are taken out of the
            question, it counts as theirs, and the row goes when they are forgotten.
        article_id: that did not help.
        visitor: what stands for whoever asked, where that is nobody of the team.

    Returns:
        ``None`` where nothing new was kept: the person asked the same of late, the conversation's customer was
        forgotten, or there is no word in it.

    Raises:
        NotFound: there is no such conversation.
    """
    actor = as_actor(actor)
    event = keep(
        session,
        question,
        source=source,
        reason=reason,
        actor=actor,
        conversation_id=conversation_id,
        article_id=article_id,
        visitor=visitor,
    )
    if event is not None:
        send_signal(session, signals.gap_recorded, gap_event_id=event.id, source=source.value, reason=reason.value)
        enqueue(session, JOIN, {"event_id": event.id})
    return event


def keep(
    session: Session,
    question: str,
    *,
    source: GapSource,
    reason: GapReason,
    actor: Actor,
    conversation_id: int | None = None,
    article_id: int | None = None,
    visitor: str | None = None,
) -> GapEvent | None:
    """The same as :func:`record_gap`, and nobody hears of it."""
    operator_id = actor.id if actor.kind is ActorKind.OPERATOR else None
    who = ("visitor", visitor) if visitor is not None else ("operator", operator_id) if operator_id else None
    names: tuple[str, ...] = ()
    if conversation_id is not None:
        person = _whose(session, conversation_id)
        if person is None:
            return None
        who = ("customer", person.ref)
        names = names_of(ref=person.ref, name=person.name, email=person.email, organization=person.organization)
    words = redact(" ".join(question.replace("\x00", "").split()), names=names)[:QUESTION_LENGTH].strip()
    if not words_of(words):
        return None
    asker = marks.asker(*who) if who else None
    mark = marks.fingerprint(words)
    if _asked_of_late(session, asker, mark, source, reason):
        return None
    moment = now()
    event = GapEvent(
        source=source,
        reason=reason,
        question=words,
        fingerprint=mark,
        operator_id=operator_id,
        asker=asker,
        conversation_id=conversation_id,
        article_id=article_id,
        times=1,
        occurred_at=moment,
        last_at=moment,
    )
    session.add(event)
    session.flush()
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


def _asked_of_late(session: Session, asker: str | None, mark: str, source: GapSource, reason: GapReason) -> bool:
    """Count it to the one that is kept already, if one is. Of two requests at once, the second waits for the first."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"gap:{asker}:{mark}", 0))))
    earlier = (
        select(GapEvent.id)
        .where(
            GapEvent.fingerprint == mark,
            GapEvent.asker.is_not_distinct_from(asker),
            GapEvent.source == source,
            GapEvent.reason == reason,
            GapEvent.last_at > now() - ONCE_WITHIN,
        )
        .order_by(GapEvent.id.desc())
        .limit(1)
    )
    counted = (
        update(GapEvent)
        .where(GapEvent.id == earlier.scalar_subquery())
        .values(times=GapEvent.times + 1, last_at=now())
        .returning(GapEvent.id)
    )
    return session.scalar(counted.execution_options(synchronize_session=False)) is not None
