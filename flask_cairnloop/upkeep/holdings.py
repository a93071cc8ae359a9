"""What this room holds about a customer, and how long it holds anything."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, exists, or_, select, update
from sqlalchemy.orm import Session

from flask_cairnloop.conversations.models import Conversation, CustomerRecord
from flask_cairnloop.retrieval import vectors
from flask_cairnloop.upkeep import clustering, likeness, marks
from flask_cairnloop.upkeep.models import (
    CandidateState,
    GapAsker,
    GapCandidate,
    GapEvent,
    GapLink,
    GapQuestion,
    GapQuestionEmbedding,
    HistoryKind,
)

BATCH: Final = 500
PLAIN: Final = {"synchronize_session": False}


def forget_gaps(session: Session, customer_id: int) -> int:
    """Delete every question that was asked in a customer's conversations or beside them. Returns how many.

    How often something was asked stays, and by how many; their words do not, nor what stands for them. A candidate is
    then called by somebody else's words, or by none.
    """
    clustering.lock(session)
    theirs = session.execute(
        select(GapEvent.id, GapEvent.question_id).where(GapEvent.conversation_id.in_(_theirs(customer_id)))
    ).all()
    if theirs:
        session.execute(delete(GapEvent).where(GapEvent.id.in_([row.id for row in theirs])).execution_options(**PLAIN))
    ref = session.scalars(select(CustomerRecord.ref).where(CustomerRecord.id == customer_id)).one()
    session.execute(
        update(GapAsker)
        .where(GapAsker.asker == marks.asker("customer", ref))
        .values(asker=secrets.token_hex(32))
        .execution_options(**PLAIN)
    )
    _reword(session, {row.question_id for row in theirs if row.question_id is not None})
    return len(theirs)


def export_gaps(session: Session, customer_id: int) -> list[dict[str, Any]]:
    """The same, as plain values that JSON can carry, oldest first. Who of the team asked is not in it."""
    asked = session.scalars(
        select(GapEvent).where(GapEvent.conversation_id.in_(_theirs(customer_id))).order_by(GapEvent.id)
    )
    return [
        {
            "conversation": event.conversation_id,
            "at": event.occurred_at.isoformat(),
            "times": event.times,
            "question": event.question,
            "source": event.source.value,
            "reason": event.reason.value,
        }
        for event in asked
    ]


def prune(session: Session, before: datetime) -> bool:
    """Delete events that were last asked before a time, and questions that have none left. Returns whether to go on.

    A candidate without a question has faded, unless its article is being written; its history stays.
    """
    old = (GapEvent.occurred_at < before, GapEvent.last_at < before)
    of_nobody = (GapQuestion.question.is_(None), GapQuestion.last_at < before)
    if not session.scalar(select(or_(exists().where(*old), exists().where(*of_nobody)))):
        return False
    clustering.lock(session)
    rows = session.execute(
        select(GapEvent.id, GapEvent.question_id).where(*old).order_by(GapEvent.id).limit(BATCH).with_for_update()
    ).all()
    session.execute(delete(GapEvent).where(GapEvent.id.in_([row.id for row in rows])).execution_options(**PLAIN))
    touched = {row.question_id for row in rows if row.question_id is not None}
    wordless = session.scalars(select(GapQuestion.id).where(*of_nobody).limit(BATCH)).all()
    held = exists().where(GapEvent.question_id == GapQuestion.id)
    empty = session.execute(
        select(GapQuestion.id, GapQuestion.candidate_id, GapQuestion.terms, GapQuestion.question)
        .where(GapQuestion.id.in_({*touched, *wordless}), ~held)
        .order_by(GapQuestion.id)
    ).all()
    for row in empty:
        if row.question is not None:
            likeness.count_terms(session, row.terms, -1)
    gone = [row.id for row in empty]
    session.execute(delete(GapQuestion).where(GapQuestion.id.in_(gone)).execution_options(**PLAIN))
    _reword(session, touched - set(gone))
    for candidate in clustering.recount(session, {row.candidate_id for row in empty}).values():
        if candidate.questions == 0:
            _fade(session, candidate)
    session.flush()
    return len(rows) == BATCH or len(wordless) == BATCH


def _fade(session: Session, candidate: GapCandidate) -> None:
    if candidate.state in (CandidateState.ACCEPTED, CandidateState.MERGED, CandidateState.FADED):
        return
    candidate.state, candidate.snoozed_until, candidate.asks_again_at = CandidateState.FADED, None, None
    candidate.version += 1
    clustering.shelve(session, candidate)
    clustering.note(session, candidate, HistoryKind.FADED, clustering.SYSTEM)


def _reword(session: Session, question_ids: Collection[int]) -> None:
    """Give questions whose words nobody has asked any more those of somebody who asked the same, or none."""
    rows = session.scalars(
        select(GapQuestion)
        .where(GapQuestion.id.in_(question_ids), GapQuestion.question.is_not(None))
        .where(~exists().where(GapEvent.question_id == GapQuestion.id, GapEvent.fingerprint == GapQuestion.fingerprint))
        .order_by(GapQuestion.id)
        .execution_options(populate_existing=True)
    ).all()
    if not rows:
        return
    gone = [row.id for row in rows]
    if vectors.home(session) is not None:
        session.execute(
            delete(GapQuestionEmbedding).where(GapQuestionEmbedding.question_id.in_(gone)).execution_options(**PLAIN)
        )
    session.execute(
        delete(GapLink).where(or_(GapLink.question_id.in_(gone), GapLink.other_id.in_(gone))).execution_options(**PLAIN)
    )
    for row in rows:
        likeness.count_terms(session, row.terms, -1)
        other = session.execute(
            select(GapEvent.question, GapEvent.fingerprint)
            .where(GapEvent.question_id == row.id)
            .where(~exists().where(GapQuestion.fingerprint == GapEvent.fingerprint))
            .order_by(GapEvent.id.desc())
            .limit(1)
        ).one_or_none()
        if other is None:
            row.question, row.fingerprint, row.terms = None, None, []
        else:
            row.question, row.fingerprint, row.terms = other.question, other.fingerprint, marks.terms(other.question)
            likeness.count_terms(session, row.terms)
        session.flush()
    clustering.recount(session, {row.candidate_id for row in rows})


def _theirs(customer_id: int) -> Any:
    return select(Conversation.id).where(Conversation.customer_id == customer_id)
