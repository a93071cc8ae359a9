"""What is new for a customer who has their conversation open: one statement, asked by every open chat on each event."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, Text, and_, bindparam, or_, select
from sqlalchemy.orm import Session

from flask_cairnloop.actors import ActorKind
from flask_cairnloop.conversations.models import (
    CUSTOMER_VISIBLE_EVENTS,
    SPOKEN,
    Conversation,
    ConversationStatus,
    CustomerRecord,
    EventName,
    Message,
    MessageKind,
)
from flask_cairnloop.database.base import word
from flask_cairnloop.database.prepared import Prepared
from flask_cairnloop.errors import NotFound


@dataclass(frozen=True, slots=True)
class Said:
    """A message, as far as a customer may see it."""

    sequence: int
    kind: MessageKind
    event: EventName | None
    data: dict[str, Any]
    body: str
    author_kind: ActorKind
    author_name: str
    automatic: bool
    client_id: uuid.UUID | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class News:
    """Where a conversation stands, as the team has it, and what was said in it after a cursor, oldest first."""

    status: ConversationStatus
    waiting_since: datetime | None
    rating: int | None
    rating_until: datetime | None
    messages: list[Said]


def news(bound: Session | Connection, customer_ref: str, conversation_id: int, *, after: int, limit: int) -> News:
    """What a customer may see of their conversation after a cursor: the same as
    :func:`flask_cairnloop.conversations.service.customer_messages`, read together with where it stands.

    Raises:
        NotFound: the conversation is not this customer's.
    """
    values = {"who": customer_ref, "of": conversation_id, "beyond": after, "most": limit}
    rows = _statement().execute(bound, values).all()
    if not rows:
        raise NotFound("There is no such conversation.")
    first = rows[0]
    return News(
        ConversationStatus(first.status),
        first.waiting_since,
        first.rating,
        first.rating_until,
        [_said(row) for row in rows if row.sequence is not None],
    )


def shown_status(status: ConversationStatus) -> ConversationStatus:
    """What a customer is told: of spam, that it is open. Who is told more writes the same words another way."""
    return ConversationStatus.OPEN if status is ConversationStatus.SPAM else status


def _said(row: Row[Any]) -> Said:
    return Said(
        row.sequence,
        MessageKind(row.kind),
        row.event and EventName(row.event),
        row.data,
        row.body,
        ActorKind(row.author_kind),
        row.author_name,
        row.automatic,
        row.client_id,
        row.created_at,
    )


@cache
def _statement() -> Prepared:
    """The statement behind :func:`news`. A conversation with nothing new has one row, without a message."""
    kinds = [word(kind) for kind in SPOKEN]
    events = [word(event) for event in CUSTOMER_VISIBLE_EVENTS]
    new = and_(
        Message.conversation_id == Conversation.id,
        Message.sequence > bindparam("beyond", type_=BigInteger),
        or_(Message.kind.in_(kinds), Message.event.in_(events)),
    )
    return Prepared(
        select(
            Conversation.status,
            Conversation.waiting_since,
            Conversation.rating,
            Conversation.rating_until,
            Message.sequence,
            Message.kind,
            Message.event,
            Message.data,
            Message.body,
            Message.author_kind,
            Message.author_name,
            Message.automatic,
            Message.client_id,
            Message.created_at,
        )
        .join(Conversation.customer)
        .outerjoin(Message, new)
        .where(Conversation.id == bindparam("of"), CustomerRecord.ref == bindparam("who", type_=Text))
        .order_by(Message.sequence)
        .limit(bindparam("most", type_=BigInteger))
    )
