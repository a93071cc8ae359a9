"""Writing down a customer's words: one statement, because that is what most of a busy web process does.

Step by step, through the ORM, it took nine statements and many times the work. The rooms that have a part in it each
give theirs, as a part of this statement that knows their own table; what has to happen besides, such as a signal, is
for :func:`flask_cairnloop.conversations.service.receive`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    CTE,
    DateTime,
    Row,
    Text,
    Uuid,
    bindparam,
    cast,
    func,
    literal_column,
    null,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.dml import ReturningInsert

from flask_cairnloop.actors import Actor, ActorKind
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.audit.service import entry_of
from flask_cairnloop.clock import frozen
from flask_cairnloop.conversations.models import (
    PREVIEW_LENGTH,
    Conversation,
    ConversationStatus,
    CustomerRecord,
    Message,
    MessageKind,
)
from flask_cairnloop.database.base import word
from flask_cairnloop.database.prepared import Prepared
from flask_cairnloop.drafting.lifecycle import carried_on
from flask_cairnloop.hooks import Customer

RECEIVED = "message.receive"
# Bound parameters must not be called like a column of a table that the statement writes: they would be written there.
_AT = bindparam("moment", type_=DateTime(timezone=True))
_REF = bindparam("of", type_=Text)
_AUTHOR = bindparam("signed", type_=Text)
_CLIENT = bindparam("sent_as", type_=Uuid)


def write(session: Session, values: dict[str, Any]) -> Row[Any] | None:
    """Write a customer's words into an open conversation of theirs, with all that belongs to them.

    That is the customer as the host knows them now, whose row stays locked; the message, which takes the next place
    under the conversation's lock; what the conversation's row says of it; the audit entry; and, where a draft is being
    made, that it shall answer these words, and its job.

    Args:
        values: what :func:`terms` made.

    Returns:
        What was written. ``None`` when nothing was: the conversation is not open, or not theirs, or these words are
        there already.
    """
    session.flush()
    prepared = statement(held=frozen() is not None, holds="holds" in values)
    return prepared.execute(session, values).one_or_none()


def terms(
    conversation_id: int,
    customer: Customer,
    *,
    actor: Actor,
    body: str,
    client_id: uuid.UUID | None,
    at: datetime,
    draft_terms: dict[str, Any],
    shown: str,
    data: str | None = None,
) -> dict[str, Any]:
    """The parameters of :func:`statement`.

    Args:
        shown: the first words of it, see :func:`preview`.
        data: what the message holds beside its words, as JSON.
        draft_terms: those of :func:`flask_cairnloop.drafting.lifecycle.carried_on`.
    """
    return {
        **customer_terms(customer, at),
        **draft_terms,
        "within": conversation_id,
        "signed": actor.name,
        "words": body,
        "sent_as": client_id,
        "shown": shown,
        **({} if data is None else {"holds": data}),
    }


def preview(body: str, files: Iterable[str] = ()) -> str:
    """A message's first words, as the inbox shows them; where it has none, what its files are called."""
    return " ".join((body or ", ".join(files)).split())[:PREVIEW_LENGTH]


def resend_key(person_id: int, client_id: uuid.UUID) -> str:
    """What a resend of a customer's words shares with the first one. The statement below makes the same."""
    return f"customer:{person_id}:{client_id}"


@cache
def customer_statement() -> ReturningInsert[CustomerRecord]:
    """Bring a customer's row up to date. It stays locked: one customer's words come in one by one.

    No row where the reference is the stand-in of somebody who was forgotten.
    """
    return _customer().returning(CustomerRecord)


def customer_terms(customer: Customer, at: datetime) -> dict[str, Any]:
    """The parameters of :func:`customer_statement`."""
    return {
        "of": customer.ref,
        "known_as": _fit(customer.name, 200),
        "mail": _fit(customer.email, 320),
        "works_at": _fit(customer.organization, 200),
        "moment": at,
    }


def _customer() -> Insert:
    statement = insert(CustomerRecord).values(
        ref=_REF,
        name=bindparam("known_as"),
        email=bindparam("mail"),
        organization=bindparam("works_at"),
        created_at=_AT,
        last_seen_at=_AT,
    )
    new = statement.excluded
    # A host that knows less this time, e.g. from a background task, takes nothing away.
    kept = {name: func.coalesce(new[name], getattr(CustomerRecord, name)) for name in ("name", "email", "organization")}
    return statement.on_conflict_do_update(
        index_elements=[CustomerRecord.ref],
        set_={**kept, "last_seen_at": new.last_seen_at},
        where=CustomerRecord.forgotten_at.is_(None),
    )


def _fit(value: str | None, length: int) -> str | None:
    """What the host says of a customer, cut to what their row holds."""
    return value.replace("\0", "").strip()[:length] or None if value else None


@cache
def statement(*, held: bool, holds: bool = False) -> Prepared:
    """The statement behind :func:`write`, built once for a clock that runs and once for one that is held.

    It is another one for the few messages that hold more than words: the usual one says with a constant that they do
    not, and costs what it did.

    Every part sees what was there when the statement began, except for rows that it locks: those it sees as they are.
    So it decides by locked rows and unique indexes only. It stays below the 4,096 characters up to which psycopg keeps
    what it has found out about a statement.
    """
    person = _customer().returning(CustomerRecord.id, CustomerRecord.pseudonym).cte("person")
    place = _place(person)
    message = _message(place, holds=holds)
    conversation = _conversation(message)
    entry = entry_of(
        message.join(person, true()),
        {
            AuditEntry.occurred_at: message.c.created_at,
            AuditEntry.actor_kind: word(ActorKind.CUSTOMER),
            AuditEntry.actor_id: person.c.pseudonym,
            AuditEntry.action: word(RECEIVED),
            AuditEntry.subject_type: word("conversation"),
            AuditEntry.subject_id: message.c.conversation_id,
            AuditEntry.data: func.jsonb_build_object(word("sequence"), message.c.sequence),
        },
    )
    job = carried_on(message, held=held)
    chosen = select(
        message.c.id,
        message.c.sequence,
        conversation.c.channel,
        conversation.c.waiting_since,
        conversation.c.rating,
        place.c.snoozed_until,
        conversation.c.rating_until,
        entry.c.id.label("entry_id"),
        job.c.id.label("job_id"),
        job.c.attempt.label("job_attempt"),
    ).select_from(message.join(place, true()).join(conversation, true()).join(entry, true()).outerjoin(job, true()))
    return Prepared(chosen)


def _place(person: CTE) -> CTE:
    """The conversation as it is, under its lock; no row where it is not open, or not theirs."""
    theirs = aliased(Conversation, name="theirs")
    return (
        select(theirs.id, theirs.last_sequence, theirs.snoozed_until, person.c.id.label("person_id"))
        .where(
            theirs.id == bindparam("within"),
            theirs.customer_id == person.c.id,
            theirs.status == word(ConversationStatus.OPEN),
        )
        .with_for_update(of=theirs)
        .cte("place")
    )


def _message(place: CTE, *, holds: bool) -> CTE:
    """The next message of the conversation; no row where it was sent before."""
    values: dict[Any, Any] = {
        Message.conversation_id: place.c.id,
        Message.sequence: place.c.last_sequence + literal_column("1"),
        Message.kind: word(MessageKind.CUSTOMER),
        Message.data: cast(bindparam("holds", type_=Text), JSONB) if holds else word("{}"),
        Message.body: bindparam("words", type_=Text),
        Message.author_kind: word(ActorKind.CUSTOMER),
        Message.author_id: _REF,
        Message.author_name: _AUTHOR,
        Message.automatic: literal_column("false"),
        Message.client_id: _CLIENT,
        # Null without a client's id, as concatenation makes it.
        Message.idempotency_key: word("customer:").concat(place.c.person_id).concat(word(":")).concat(_CLIENT),
        Message.created_at: _AT,
    }
    return (
        insert(Message)
        .from_select(list(values), select(*values.values()), include_defaults=False)
        .on_conflict_do_nothing(
            index_elements=[Message.idempotency_key], index_where=text("idempotency_key IS NOT NULL")
        )
        .returning(Message.id, Message.conversation_id, Message.sequence, Message.created_at)
        .cte("message")
    )


def _conversation(message: CTE) -> CTE:
    """What the conversation's row says of its newest message."""
    return (
        update(Conversation)
        .where(Conversation.id == message.c.conversation_id)
        .values(
            {
                Conversation.last_sequence: message.c.sequence,
                Conversation.last_customer_sequence: message.c.sequence,
                Conversation.waiting_since: func.coalesce(Conversation.waiting_since, message.c.created_at),
                Conversation.snoozed_until: null(),
                Conversation.last_message_at: message.c.created_at,
                Conversation.last_message_kind: word(MessageKind.CUSTOMER),
                Conversation.last_author_name: _AUTHOR,
                Conversation.preview: bindparam("shown", type_=Text),
                Conversation.last_spoken_at: message.c.created_at,
            }
        )
        .returning(Conversation.channel, Conversation.waiting_since, Conversation.rating, Conversation.rating_until)
        .cte("conversation")
    )
