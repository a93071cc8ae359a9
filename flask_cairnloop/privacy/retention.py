"""What goes by itself once it is old: rows that pile up for ever, and, where the host says so, conversations.

Each function takes a batch and says whether there may be more. Rows that somebody holds are passed over and come next
time, so that nobody waits for it.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.models import AuditEntry, AuditText
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.conversations.models import (
    FORGOTTEN,
    Conversation,
    ConversationStatus,
    CustomerRecord,
    PendingReply,
    PendingState,
)
from flask_cairnloop.database.base import Base
from flask_cairnloop.drafting.models import ModelCall
from flask_cairnloop.governance.models import ActionProposal
from flask_cairnloop.knowledge.models import ArticleVote
from flask_cairnloop.outbound.models import OutboundDelivery
from flask_cairnloop.outbound.types import OPEN_STATES
from flask_cairnloop.privacy.service import erase
from flask_cairnloop.retrieval.models import PastQuestion

BATCH: Final = 1_000  # plain rows
CONVERSATIONS: Final = 20  # with everything that hangs on them
RETENTION: Final = Actor.system("retention")
# When a conversation was over. As the index has it.
OVER: Final = func.coalesce(Conversation.resolved_at, Conversation.last_message_at)


def drop_votes(session: Session, seconds: int) -> bool:
    """Votes on articles, with what was missing; an article's standing follows."""
    return _drop(session, ArticleVote, ArticleVote.id, ArticleVote.voted_at < _before(seconds))


def drop_calls(session: Session, seconds: int) -> bool:
    """What calls to models cost."""
    return _drop(session, ModelCall, ModelCall.id, ModelCall.started_at < _before(seconds))


def drop_sent(session: Session, seconds: int) -> bool:
    """That a reply waited, once it was sent or taken back. It holds no words any more."""
    over = PendingReply.state.in_((PendingState.SENT, PendingState.UNDONE))
    return _drop(session, PendingReply, PendingReply.id, over & (PendingReply.ended_at < _before(seconds)))


def expire_conversations(session: Session, seconds: int) -> bool:
    """Erase what was said in conversations that have been over for so long, as forgetting their customers would. The
    customers stay who they are, and their other conversations as they were.

    They are handed to a customer who is nobody, who is then forgotten: so whatever forgetting reaches, this does.

    Raises:
        Conflict: a job or an action about one of them is under way. Roll back, and try again later.
    """
    on_its_way = OutboundDelivery.state.in_(OPEN_STATES)
    leaving = exists().where(OutboundDelivery.conversation_id == Conversation.id, on_its_way)
    over = and_(
        Conversation.status != ConversationStatus.OPEN,
        Conversation.erased_at.is_(None),
        _before(seconds) > OVER,
        ~leaving,
    )
    ids = session.scalars(
        select(Conversation.id).where(over).order_by(OVER).limit(CONVERSATIONS).with_for_update(skip_locked=True)
    ).all()
    if not ids:
        return False
    nobody = CustomerRecord(
        ref=f"forgotten-{secrets.token_hex(16)}",
        pseudonym=f"pseudonym-{secrets.token_hex(16)}",
        name=FORGOTTEN,
        forgotten_at=now(),
    )
    session.add(nobody)
    session.flush()
    plain = {"synchronize_session": False}
    for model, which in (
        (Conversation, Conversation.id.in_(ids)),
        (PastQuestion, PastQuestion.conversation_id.in_(ids)),
        (OutboundDelivery, OutboundDelivery.conversation_id.in_(ids)),
    ):
        session.execute(update(model).where(which).values(customer_id=nobody.id), execution_options=plain)
    session.execute(delete(AuditText).where(AuditText.entry_id.in_(_reasons(ids))), execution_options=plain)
    erase(session, nobody.id, actor=RETENTION)
    for id_ in ids:
        record(session, RETENTION, "conversation.expire", "conversation", id_)
    return len(ids) == CONVERSATIONS


def _reasons(ids: Any) -> Any:
    """The entries about these conversations, and about actions in them, beside which words may stand."""
    actions = select(ActionProposal.id).where(ActionProposal.conversation_id.in_(ids))
    about = or_(
        and_(AuditEntry.subject_type == "conversation", AuditEntry.subject_id.in_(ids)),
        and_(AuditEntry.subject_type == "action", AuditEntry.subject_id.in_(actions)),
    )
    return select(AuditEntry.id).where(about)


def _before(seconds: int) -> datetime:
    return now() - timedelta(seconds=seconds)


def _drop(session: Session, model: type[Base], number: InstrumentedAttribute[int], which: ColumnElement[bool]) -> bool:
    old = select(number).where(which).limit(BATCH).with_for_update(skip_locked=True)
    gone = session.execute(
        delete(model).where(number.in_(old.scalar_subquery())), execution_options={"synchronize_session": False}
    )
    return int(gone.rowcount) == BATCH  # type: ignore[attr-defined]
