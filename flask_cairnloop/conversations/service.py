"""What can be done with a conversation. Every function takes a session, names its actor and never commits."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload

from flask_cairnloop import signals
from flask_cairnloop.actors import NAME_LENGTH, Acting, Actor, ActorKind, as_actor
from flask_cairnloop.audit.service import record, recorded
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations import mentions, ratings
from flask_cairnloop.conversations.attachments import Attached, attach, attachable, attached, told
from flask_cairnloop.conversations.intake import (
    RECEIVED,
    customer_statement,
    customer_terms,
    preview,
    resend_key,
    terms,
    write,
)
from flask_cairnloop.conversations.models import (
    CHANNEL_LENGTH,
    CUSTOMER_VISIBLE_EVENTS,
    REF_LENGTH,
    SPOKEN,
    SUBJECT_LENGTH,
    Conversation,
    ConversationRead,
    ConversationStatus,
    CustomerRecord,
    EventName,
    Message,
    MessageKind,
    PendingReply,
    PendingState,
    RatedVia,
    Rating,
)
from flask_cairnloop.conversations.news import shown_status
from flask_cairnloop.drafting.citing import Cite, checked
from flask_cairnloop.drafting.lifecycle import SYSTEM, carried_on_terms, carry_on, start, withdraw
from flask_cairnloop.errors import CustomerForgotten, IllegalTransition, InvalidInput, NotFound, StaleConversation
from flask_cairnloop.files.models import File
from flask_cairnloop.hooks import Customer, Operator
from flask_cairnloop.jobs import enqueue, publish, publish_conversation, send_signal
from flask_cairnloop.retrieval.memory import withdraw_case
from flask_cairnloop.service_levels.following import ask_for, follow

# Jobs that keep what an answer, and a conversation that is over, teach: see `drafting.learning`.
LEARN = "drafting.learn"
LEARN_CASE = "drafting.learn_case"
UNSEEN = "conversations.tell_unseen"
AUTO_ASSIGN = "conversations.auto_assign"
LOW_RATING = Actor.system("low_rating")
METADATA_LENGTH = 4000  # characters of a host's own words about a resolution, as JSON


class How(StrEnum):
    """By which way a conversation was resolved."""

    HOST = "host"  # the app called us
    CONSOLE = "console"
    REPLY = "reply"  # with the reply that was sent
    SEVERAL = "several"  # together with others
    ACTION = "action"  # a governed one


# The one table of allowed steps: step -> state it needs -> state it leads to.
TRANSITIONS: dict[str, tuple[ConversationStatus, ConversationStatus]] = {
    "be resolved": (ConversationStatus.OPEN, ConversationStatus.RESOLVED),
    "be reopened": (ConversationStatus.RESOLVED, ConversationStatus.OPEN),
    "be marked as spam": (ConversationStatus.OPEN, ConversationStatus.SPAM),
    "be taken back from spam": (ConversationStatus.SPAM, ConversationStatus.OPEN),
}


# --- opening and receiving ------------------------------------------------------------------------


def open_conversation(
    session: Session, *, customer: Customer, actor: Acting, subject: str, channel: str = "host"
) -> Conversation:
    """Open a conversation without a message, e.g. for a first word of ours.

    Raises:
        InvalidInput: the subject is empty or too long, or the customer's reference or the channel does not fit.
    """
    subject = _clean(subject)
    if not subject or len(subject) > SUBJECT_LENGTH:
        raise InvalidInput("subject", f"A subject has 1 to {SUBJECT_LENGTH} characters.")
    _check_origin(customer, channel)
    person = _customer(session, customer)
    return _open(session, person, actor=as_actor(actor), subject=subject, channel=channel)


@dataclass(frozen=True, slots=True)
class Received:
    """A customer's message as it was taken in, and where its conversation stands by it."""

    message_id: int
    conversation_id: int
    sequence: int
    created_at: datetime
    status: ConversationStatus
    waiting_since: datetime | None
    rating: int | None
    rating_until: datetime | None = None
    files: tuple[Attached, ...] = ()


def receive(
    session: Session,
    *,
    customer: Customer,
    body: str,
    channel: str,
    conversation_id: int | None = None,
    resume: bool = False,
    client_id: uuid.UUID | None = None,
    subject: str | None = None,
    files: Sequence[uuid.UUID] = (),
) -> Message:
    """Take in a customer's message. Returns its row, with its conversation's; for the rest see :func:`take_in`."""
    taken = take_in(
        session,
        customer=customer,
        body=body,
        channel=channel,
        conversation_id=conversation_id,
        resume=resume,
        client_id=client_id,
        subject=subject,
        files=files,
    )
    return session.scalars(
        select(Message)
        .where(Message.id == taken.message_id)
        .options(joinedload(Message.conversation).joinedload(Conversation.customer)),
        execution_options={"populate_existing": True},
    ).one()


def take_in(
    session: Session,
    *,
    customer: Customer,
    body: str,
    channel: str,
    conversation_id: int | None = None,
    resume: bool = False,
    client_id: uuid.UUID | None = None,
    subject: str | None = None,
    files: Sequence[uuid.UUID] = (),
) -> Received:
    """Take in a customer's message: the one way in, for every channel.

    Opens a conversation where none is named, reopens a resolved one within ``REOPEN_WINDOW`` and starts a new one after
    it, withdraws a draft that no longer answers the newest words, and asks for a new one.

    Args:
        resume: before a new conversation is opened, continue the customer's latest one if that is still possible. Of
            two first messages at once the second then follows the first.
        client_id: the client's own id of this message; a resend returns the first one and changes nothing.
        subject: for a new conversation; its first line when left out.
        files: ids of files that were kept for this customer, see :func:`flask_cairnloop.keep_file`. With one of them
            the body may be empty.

    Raises:
        InvalidInput: the body is empty or longer than ``MESSAGE_LIMIT``, or the customer's reference or the channel
            does not fit, or a file is not theirs to send.
        NotFound: the conversation is not this customer's.
    """
    body = clean_body(body, empty=bool(files))
    _check_origin(customer, channel)
    # Nearly always they go on with what they are in the middle of: then there is nothing to look at first.
    if conversation_id is not None and not files:
        taken = _write(session, conversation_id, customer, body, client_id)
        if taken is not None:
            return taken
    person = _customer(session, customer)  # its row is ours until the commit: one customer's words come in one by one
    if client_id is not None and (first := sent_before(session, resend_key(person.id, client_id))):
        return _received(first)
    actor = Actor.customer(customer, person.pseudonym)
    taking = attachable(session, files, actor=actor)
    conversation = _named(session, person, conversation_id)
    if conversation is None and resume:
        conversation = _latest(session, person)
    if conversation is None:
        subject = _clean(subject or "") or first_line(body or taking[0].name)
        conversation = _open(session, person, actor=actor, subject=subject[:SUBJECT_LENGTH], channel=channel)
    if conversation.status is ConversationStatus.RESOLVED:
        _reopen(session, conversation, actor)
    if conversation.status is ConversationStatus.SPAM:
        return _kept_as_spam(session, conversation, actor, body, client_id, taking)
    taken = _write(session, conversation.id, customer, body, client_id, taking)
    assert taken is not None  # noqa: S101 - the conversation is open, theirs and locked, and these words are new
    session.expire(conversation)  # it was written past the session
    return taken


def _write(
    session: Session,
    conversation_id: int,
    customer: Customer,
    body: str,
    client_id: uuid.UUID | None,
    files: Sequence[File] = (),
) -> Received | None:
    """Write a customer's words into an open conversation, and see to what follows from them.

    Returns:
        ``None`` when nothing was written, see :func:`flask_cairnloop.conversations.intake.write`.
    """
    actor, at, draft = Actor.customer(customer), now(), carried_on_terms()
    values = terms(
        conversation_id,
        customer,
        actor=actor,
        body=body,
        client_id=client_id,
        at=at,
        draft_terms=draft,
        shown=preview(body, (file.name for file in files)),
        data=json.dumps(told(files)) if files else None,
    )
    row = write(session, values)
    if row is None:
        return None
    attach(session, row.id, files)
    publish_conversation(session, conversation_id, "message", sequence=row.sequence, kind=MessageKind.CUSTOMER.value)
    recorded(session, row.entry_id, at, actor, RECEIVED, "conversation", conversation_id, sequence=row.sequence)
    send_signal(
        session,
        signals.message_received,
        conversation_id=conversation_id,
        message_id=row.id,
        channel=row.channel,
    )
    if row.waiting_since == at or row.snoozed_until is not None:  # they begin to wait, or wait for us again
        ask_for(session, conversation_id)
    if row.job_id is None:
        start(session, conversation_id, answers=row.sequence, actor=SYSTEM)
    else:
        carry_on(session, row.job_id, row.job_attempt, draft)
    return Received(
        row.id,
        conversation_id,
        row.sequence,
        at,
        ConversationStatus.OPEN,
        row.waiting_since,
        row.rating,
        row.rating_until,
        attached(told(files)) if files else (),
    )


def _kept_as_spam(
    session: Session,
    conversation: Conversation,
    actor: Actor,
    body: str,
    client_id: uuid.UUID | None,
    files: Sequence[File],
) -> Received:
    """Words in a conversation that was marked as spam: kept, and nobody is asked to answer them."""
    key = None if client_id is None else resend_key(conversation.customer_id, client_id)
    message = append(
        session, conversation, MessageKind.CUSTOMER, actor, body, client_id=client_id, key=key, files=files
    )
    conversation.last_customer_sequence = message.sequence
    record(session, actor, RECEIVED, "conversation", conversation.id, sequence=message.sequence)
    send_signal(
        session,
        signals.message_received,
        conversation_id=conversation.id,
        message_id=message.id,
        channel=conversation.channel,
    )
    return _received(message)


def _received(message: Message) -> Received:
    conversation = message.conversation
    return Received(
        message.id,
        conversation.id,
        message.sequence,
        message.created_at,
        conversation.status,
        conversation.waiting_since,
        conversation.rating,
        conversation.rating_until,
        attached(message.data),
    )


def _named(session: Session, person: CustomerRecord, conversation_id: int | None) -> Conversation | None:
    """The conversation that was named, locked, if it can be continued."""
    if conversation_id is None:
        return None
    conversation = lock(session, conversation_id)
    if conversation.customer_id != person.id:
        raise NotFound("There is no such conversation.")
    return conversation if _resumable(conversation) else None


def _latest(session: Session, person: CustomerRecord) -> Conversation | None:
    """The customer's latest conversation, locked, if it can be continued."""
    latest = resumable(session, person.ref)
    return None if latest is None else _named(session, person, latest.id)


def _resumable(conversation: Conversation) -> bool:
    if conversation.status is not ConversationStatus.RESOLVED:
        return True
    window = timedelta(seconds=current().settings.reopen_window)
    return now() - conversation.last_spoken_at <= window


def _open(session: Session, person: CustomerRecord, *, actor: Actor, subject: str, channel: str) -> Conversation:
    conversation = Conversation(customer=person, subject=subject, channel=channel)
    session.add(conversation)
    session.flush()
    record(session, actor, "conversation.open", "conversation", conversation.id, channel=channel)
    changed(session, conversation)
    send_signal(session, signals.conversation_opened, conversation_id=conversation.id, channel=channel)
    if current().settings.auto_assign == "arrival":
        enqueue(session, AUTO_ASSIGN, {"conversation_id": conversation.id}, unique_key=f"assign:{conversation.id}")
    return conversation


def open_for(session: Session, person: CustomerRecord, *, actor: Actor, subject: str, channel: str) -> Conversation:
    """Open a conversation for a customer whom the desk knows already. Their row is locked."""
    return _open(session, person, actor=actor, subject=subject, channel=channel)


def _check_origin(customer: Customer, channel: str) -> None:
    """Whether a row can hold who writes, and by which way."""
    ref = customer.ref
    if not ref.strip() or len(ref) > REF_LENGTH or "\x00" in ref:
        raise InvalidInput("customer", f"A customer's reference has 1 to {REF_LENGTH} characters, and no NUL.")
    if not channel.strip() or len(channel) > CHANNEL_LENGTH or "\x00" in channel:
        raise InvalidInput("channel", f"A channel's name has 1 to {CHANNEL_LENGTH} characters, and no NUL.")


def _customer(session: Session, customer: Customer) -> CustomerRecord:
    """The customer's row, brought up to date with what the host says now. It is ours until the commit.

    Raises:
        CustomerForgotten: somebody names the stand-in of a row that stands for nobody.
    """
    terms = customer_terms(customer, now())
    found = session.scalars(customer_statement(), terms, execution_options={"populate_existing": True}).one_or_none()
    if found is None:
        raise CustomerForgotten
    return found


# --- answering ------------------------------------------------------------------------------------


def reply(
    session: Session,
    conversation_id: int,
    *,
    actor: Acting,
    body: str,
    client_id: uuid.UUID | None = None,
    seen: int | None = None,
    cites: Sequence[Cite] = (),
    tags: Collection[str] | None = None,
    files: Sequence[uuid.UUID] = (),
) -> Message:
    """Send a reply to the customer. A resolved conversation is reopened by it.

    Args:
        client_id: the client's own id of this message; a resend to this conversation returns the first one.
        seen: sequence of the newest message the author had before them.
        cites: sources that it rests on: published revisions of public articles. Search learns from them.
        tags: only articles with one of these may be cited, as ``CAIRNLOOP_ARTICLE_SCOPE`` says; all when left out.
        files: ids of files that the team has kept, see :func:`flask_cairnloop.keep_file`, for the customer to see.
            With one of them the body may be empty.

    Raises:
        InvalidInput: the body is empty or too long, or a source is not published, or not for this customer, or a file
            is not there to be sent.
        StaleConversation: the customer has written after ``seen``.
    """
    actor, body = as_actor(actor), clean_body(body, empty=bool(files))
    conversation = lock(session, conversation_id)
    key = author_key(actor, conversation, MessageKind.REPLY, client_id)
    if key is not None and (first := sent_before(session, key)):
        return first
    check_seen(conversation, seen)
    citations = checked(session, cites, tags=tags)
    message = send(
        session,
        conversation,
        actor=actor,
        body=body,
        client_id=client_id,
        key=key,
        citations=citations,
        files=attachable(session, files, actor=actor),
    )
    withdraw(session, conversation, because="reply", actor=actor)
    return message


def send(
    session: Session,
    conversation: Conversation,
    *,
    actor: Actor,
    body: str,
    client_id: uuid.UUID | None = None,
    key: str | None = None,
    draft_id: int | None = None,
    citations: list[Any] | None = None,
    files: Sequence[File] = (),
) -> Message:
    """The one path by which words reach a customer: typed, approved or automatic.

    The conversation is locked already.
    """
    if conversation.status is ConversationStatus.RESOLVED:
        _reopen(session, conversation, actor)
    elif conversation.status is ConversationStatus.SPAM:  # nobody answers what they take for spam
        take_back(session, conversation, actor)
    automatic = actor.kind is ActorKind.POLICY
    message = append(
        session,
        conversation,
        MessageKind.REPLY,
        actor,
        body,
        client_id=client_id,
        key=key,
        draft_id=draft_id,
        automatic=automatic,
        data={"citations": citations} if citations else {},
        files=files,
    )
    conversation.waiting_since = None
    conversation.first_reply_at = conversation.first_reply_at or message.created_at
    if (
        conversation.assignee_id is None
        and actor.kind is ActorKind.OPERATOR
        and current().settings.auto_assign != "off"
    ):
        hand_over(session, conversation, actor, actor.id, actor.name)
    if citations or "://" in body:
        enqueue(session, LEARN, {"message_id": message.id})
    record(
        session,
        actor,
        "message.reply",
        "conversation",
        conversation.id,
        sequence=message.sequence,
        draft_id=draft_id,
    )
    follow(session, conversation)
    if current().hooks.configured("ON_REPLY_UNSEEN"):
        tell_if_unseen(session, conversation.id)
    send_signal(
        session,
        signals.reply_sent,
        conversation_id=conversation.id,
        message_id=message.id,
        automatic=automatic,
    )
    return message


def tell_if_unseen(session: Session, conversation_id: int, *, run_at: datetime | None = None) -> None:
    """Have the host told of replies that the customer will not have seen by then.

    One job a conversation: it goes by the oldest of them, and the others come along.
    """
    delay = None if run_at else timedelta(seconds=current().settings.reply_unseen_after)
    enqueue(
        session,
        UNSEEN,
        {"conversation_id": conversation_id},
        run_at=run_at,
        delay=delay,
        unique_key=f"{UNSEEN}:{conversation_id}",
        keep_earlier=True,
    )


def add_note(
    session: Session,
    conversation_id: int,
    *,
    actor: Acting,
    body: str,
    client_id: uuid.UUID | None = None,
    files: Sequence[uuid.UUID] = (),
) -> Message:
    """Add an internal note. It never reaches the customer and changes nothing else.

    Args:
        client_id: the client's own id of this note; a resend to this conversation returns the first one.
        files: ids of files that the team has kept. The customer never sees them. With one of them the body may be
            empty.

    Raises:
        InvalidInput: the body is empty or too long, or a file is not there to be taken.
    """
    actor, body = as_actor(actor), clean_body(body, empty=bool(files))
    conversation = lock(session, conversation_id)
    key = author_key(actor, conversation, MessageKind.NOTE, client_id)
    if key is not None and (first := sent_before(session, key)):
        return first
    taking = attachable(session, files, actor=actor)
    message = append(session, conversation, MessageKind.NOTE, actor, body, client_id=client_id, key=key, files=taking)
    record(session, actor, "message.note", "conversation", conversation.id, sequence=message.sequence)
    return message


def check_seen(conversation: Conversation, seen: int | None) -> None:
    """Refuse a decision that was made before the customer's newest words.

    Raises:
        StaleConversation: they came after ``seen``.
    """
    if seen is not None and conversation.last_customer_sequence > seen:
        raise StaleConversation(seen, conversation.last_customer_sequence)


def reply_waits(session: Session, conversation_id: int) -> bool:
    """Whether an operator's reply is on its way, and can still be taken back."""
    pending = (PendingReply.conversation_id == conversation_id, PendingReply.state == PendingState.PENDING)
    return bool(session.scalar(select(exists().where(*pending))))


# --- resolving and reopening ----------------------------------------------------------------------


def resolve(
    session: Session,
    conversation_id: int,
    *,
    actor: Acting,
    seen: int | None = None,
    asks: bool | None = None,
    how: How = How.HOST,
    metadata: Mapping[str, Any] | None = None,
) -> Conversation:
    """Mark a conversation as done; its open draft is withdrawn and the host is told by a job.

    Args:
        asks: whether the customer is asked what they think of the help; ``ASK_FOR_RATING`` when left out.
        how: by which way it came to it, for whoever is told.
        metadata: what the host wants to hear again in ``ON_CONVERSATION_RESOLVED``: plain values that JSON can carry,
            up to 4,000 characters of it. It is kept until the customer is forgotten.

    Raises:
        IllegalTransition: it is resolved already.
        StaleConversation: the customer has written after ``seen``.
        InvalidInput: the metadata is too long, or JSON cannot carry it.
    """
    actor = as_actor(actor)
    told = _plain(metadata)
    conversation = lock(session, conversation_id)
    check_step(conversation, "be resolved")
    check_seen(conversation, seen)
    step(conversation, "be resolved")
    asks = current().settings.ask_for_rating if asks is None else asks
    conversation.resolved_at = now()
    conversation.waiting_since = conversation.snoozed_until = None
    conversation.rating = None
    ratings.close(session, conversation)
    data = {"how": how.value, "asks": asks} | ({"metadata": told} if told else {})
    event = append(session, conversation, MessageKind.EVENT, actor, event=EventName.RESOLVED, data=data)
    if asks:
        ratings.ask(session, conversation, event, actor)
    withdraw(session, conversation, because="resolve", actor=actor)
    record(session, actor, "conversation.resolve", "conversation", conversation.id, how=how.value, asks=asks)
    if current().hooks.configured("ON_CONVERSATION_RESOLVED"):
        enqueue(session, "conversations.tell_resolved", {"message_id": event.id})
    follow(session, conversation)
    enqueue(session, LEARN_CASE, {"conversation_id": conversation.id})
    changed(session, conversation)
    send_signal(
        session,
        signals.conversation_resolved,
        conversation_id=conversation.id,
        actor_kind=actor.kind.value,
    )
    return conversation


def _plain(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """A host's own values, as JSON carries them."""
    try:
        text = json.dumps(dict(metadata or {}), allow_nan=False)
        plain = json.loads(text)
    except (TypeError, ValueError) as error:
        raise InvalidInput("metadata", "Metadata are plain values that JSON can carry.") from error
    if len(text) > METADATA_LENGTH or "\\u0000" in text:
        raise InvalidInput("metadata", f"Metadata have at most {METADATA_LENGTH:,} characters as JSON, and no NUL.")
    return plain if isinstance(plain, dict) else {}


def reopen(session: Session, conversation_id: int, *, actor: Acting) -> Conversation:
    """Open a resolved conversation again.

    Raises:
        IllegalTransition: it is open.
    """
    conversation = lock(session, conversation_id)
    _reopen(session, conversation, as_actor(actor))
    return conversation


def put_back(session: Session, conversation: Conversation, *, actor: Actor, waiting_since: datetime | None) -> None:
    """Open a resolved conversation again as it was before, by who resolved it. It is locked."""
    _reopen(session, conversation, actor, waiting_since=waiting_since)


def _reopen(
    session: Session,
    conversation: Conversation,
    actor: Actor,
    *,
    waiting_since: datetime | None = None,
    rated: bool = False,
) -> None:
    """Open it again.

    Args:
        waiting_since: since when its customer waits, where they do.
        rated: by its rating, which may still be changed.
    """
    step(conversation, "be reopened")
    conversation.waiting_since = waiting_since
    conversation.resolved_at = None
    if not rated:
        ratings.close(session, conversation)
    if conversation.first_reply_at is None:  # it may be older than this column
        replies = (Message.conversation_id == conversation.id, Message.kind == MessageKind.REPLY)
        conversation.first_reply_at = session.scalar(select(func.min(Message.created_at)).where(*replies))
    withdraw_case(session, conversation.id)
    data = {"waits": True} if waiting_since else {}
    append(session, conversation, MessageKind.EVENT, actor, event=EventName.REOPENED, data=data)
    follow(session, conversation)
    record(session, actor, "conversation.reopen", "conversation", conversation.id)
    changed(session, conversation)
    send_signal(
        session,
        signals.conversation_reopened,
        conversation_id=conversation.id,
        actor_kind=actor.kind.value,
    )


def close_all(session: Session, customer_id: int, *, actor: Actor) -> list[Conversation]:
    """Lock every conversation of a customer who is about to be forgotten, and end those that are open.

    Nobody waits there any more, and nobody would read an answer. The host's ``ON_CONVERSATION_RESOLVED`` is not asked:
    it could not say whose conversation it was.
    """
    found = session.scalars(
        select(Conversation)
        .where(Conversation.customer_id == customer_id)
        .order_by(Conversation.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    for conversation in found:
        ratings.close(session, conversation)
        if conversation.status is ConversationStatus.SPAM:
            step(conversation, "be taken back from spam")
        if conversation.status is ConversationStatus.OPEN:
            step(conversation, "be resolved")
            conversation.resolved_at = now()
            conversation.waiting_since = conversation.snoozed_until = None
            append(session, conversation, MessageKind.EVENT, actor, event=EventName.RESOLVED)
            withdraw(session, conversation, because="forget", actor=actor)
            follow(session, conversation)
            record(session, actor, "conversation.close", "conversation", conversation.id)
            send_signal(
                session,
                signals.conversation_resolved,
                conversation_id=conversation.id,
                actor_kind=actor.kind.value,
            )
        changed(session, conversation)
    return list(found)


def check_step(conversation: Conversation, step: str) -> None:
    """Refuse a step that this state does not allow.

    Raises:
        IllegalTransition: it does not.
    """
    if conversation.status is not TRANSITIONS[step][0]:
        raise IllegalTransition("conversation", conversation.status.value, step)


def step(conversation: Conversation, name: str) -> None:
    """Take a step of :data:`TRANSITIONS`. The conversation is locked.

    Raises:
        IllegalTransition: its state does not allow it.
    """
    check_step(conversation, name)
    conversation.status = TRANSITIONS[name][1]


def take_back(session: Session, conversation: Conversation, actor: Actor) -> None:
    """Bring a conversation back from spam. It is locked. Whoever wrote last in it is waiting since then."""
    step(conversation, "be taken back from spam")
    spoken = Message.kind.in_((MessageKind.CUSTOMER, MessageKind.REPLY))
    newest = session.scalars(
        select(Message)
        .where(Message.conversation_id == conversation.id, spoken)
        .order_by(Message.sequence.desc())
        .limit(1)
    ).one_or_none()
    if newest is not None and newest.kind is MessageKind.CUSTOMER:
        conversation.waiting_since = newest.created_at
    append(session, conversation, MessageKind.EVENT, actor, event=EventName.UNMARKED_SPAM)
    follow(session, conversation)
    record(session, actor, "conversation.unmark_spam", "conversation", conversation.id)
    changed(session, conversation)


def assign(session: Session, conversation_id: int, *, actor: Acting, assignee: Operator | None) -> Conversation:
    """Hand a conversation to an operator, or to nobody. Handing it to whom it belongs changes nothing.

    Whoever has it loses it: :func:`flask_cairnloop.conversations.triage.claim` takes only what is free.
    """
    conversation = lock(session, conversation_id)
    name = assignee.name if assignee else None
    hand_over(session, conversation, as_actor(actor), assignee.id if assignee else None, name)
    return conversation


def hand_over(
    session: Session, conversation: Conversation, actor: Actor, assignee_id: str | None, assignee_name: str | None
) -> None:
    """Write down who has a conversation from now on. It is locked."""
    if conversation.assignee_id == assignee_id:
        return
    conversation.assignee_id = assignee_id
    conversation.assignee_name = assignee_name[:NAME_LENGTH] if assignee_name else None
    data = {"assignee_name": conversation.assignee_name}
    append(session, conversation, MessageKind.EVENT, actor, event=EventName.ASSIGNED, data=data)
    record(session, actor, "conversation.assign", "conversation", conversation.id, assignee_id=assignee_id)
    changed(session, conversation)


# --- the customer's side --------------------------------------------------------------------------


def resumable(session: Session, customer_ref: str) -> Conversation | None:
    """The customer's latest conversation, if they would continue it by writing now."""
    conversation = session.scalars(
        select(Conversation)
        .join(Conversation.customer)
        .where(CustomerRecord.ref == customer_ref)
        .order_by(Conversation.last_spoken_at.desc(), Conversation.id.desc())
        .limit(1)
    ).one_or_none()
    return conversation if conversation is not None and _resumable(conversation) else None


def customer_conversation(session: Session, customer_ref: str, conversation_id: int) -> Conversation:
    """One of the customer's own conversations.

    Raises:
        NotFound: it is somebody else's, or nobody's.
    """
    conversation = session.scalars(
        select(Conversation)
        .join(Conversation.customer)
        .where(Conversation.id == conversation_id, CustomerRecord.ref == customer_ref)
    ).one_or_none()
    if conversation is None:
        raise NotFound("There is no such conversation.")
    return conversation


def customer_messages(
    session: Session, customer_ref: str, conversation_id: int, *, after: int = 0, limit: int = 200
) -> list[Message]:
    """What the customer may see after a cursor, oldest first: their words, replies, resolved and reopened. No notes.

    Raises:
        NotFound: the conversation is not this customer's.
    """
    return visible_messages(
        session, customer_conversation(session, customer_ref, conversation_id), after=after, limit=limit
    )


def visible_messages(
    session: Session, conversation: Conversation, *, after: int = 0, limit: int = 200
) -> list[Message]:
    """The same for a conversation that was reached through its customer already."""
    visible = Message.kind.in_(SPOKEN) | Message.event.in_(CUSTOMER_VISIBLE_EVENTS)
    return list(
        session.scalars(
            select(Message)
            .where(Message.conversation_id == conversation.id, Message.sequence > after, visible)
            .order_by(Message.sequence)
            .limit(limit)
        )
    )


def mark_seen(session: Session, customer_ref: str, conversation_id: int, cursor: int) -> None:
    """Note how far the customer has read. Going back, or beyond what there is, changes nothing.

    Raises:
        NotFound: the conversation is not this customer's.
    """
    customer_conversation(session, customer_ref, conversation_id)
    conversation = lock(session, conversation_id)
    cursor = min(cursor, conversation.last_sequence)
    if cursor > conversation.customer_seen:
        conversation.customer_seen = cursor
        publish(session, f"conversation:{conversation.id}", "seen", conversation_id=conversation.id, cursor=cursor)


def rate(
    session: Session,
    *,
    customer: Customer,
    conversation_id: int,
    rating: int,
    comment: str | None = None,
    via: RatedVia = RatedVia.HOST,
) -> Conversation:
    """Take the customer's rating of a resolved conversation, 1 to 5. A second one replaces the first, for a while.

    Args:
        comment: ``None`` leaves the one there is, an empty one takes it away.

    Raises:
        InvalidInput: the rating or the comment does not fit.
        RatingClosed: nobody asked, or it is too late.
        IllegalTransition: the conversation is not resolved.
        NotFound: the conversation is not this customer's.
    """
    customer_conversation(session, customer.ref, conversation_id)
    conversation = lock(session, conversation_id)
    if conversation.status is not ConversationStatus.RESOLVED and conversation.rating_until is None:
        raise IllegalTransition("conversation", conversation.status.value, "be rated")
    asked = ratings.newest(session, conversation.id) if conversation.rating_until is not None else None
    _rated(session, conversation, asked, Actor.customer(customer), score=rating, comment=comment, via=via)
    return conversation


def rate_by_link(session: Session, asked: Rating, *, score: int, comment: str | None) -> Rating:
    """Take the rating of whoever has the link that was made for it.

    Raises:
        InvalidInput: the rating or the comment does not fit.
        RatingClosed: it is too late.
        NotFound: its customer was forgotten meanwhile.
    """
    conversation = lock(session, asked.conversation_id)
    session.refresh(asked)
    person = session.get_one(CustomerRecord, conversation.customer_id)
    customer = Actor.customer(Customer(person.ref, person.name), person.pseudonym)
    _rated(session, conversation, asked, customer, score=score, comment=comment, via=RatedVia.LINK)
    return asked


def _rated(
    session: Session,
    conversation: Conversation,
    asked: Rating | None,
    actor: Actor,
    *,
    score: int,
    comment: str | None,
    via: RatedVia,
) -> None:
    """Keep a rating of a conversation that is locked, and see to what follows from it."""
    before = asked.score if asked is not None else None
    if not ratings.give(session, conversation, asked, score=score, comment=comment, via=via) or asked is None:
        return
    does = current().settings.low_rating_does
    acts = ratings.is_low(score) and asked.acted_at is None and does != "nothing"
    if score != before or acts:
        event = append(session, conversation, MessageKind.EVENT, actor, event=EventName.RATED, data={"rating": score})
    record(session, actor, "conversation.rate", "conversation", conversation.id, rating=score, via=via.value)
    if acts:
        asked.acted_at = now()
        _see_to_low_rating(session, conversation, asked, event, reopens=does == "reopen")
    changed(session, conversation)
    send_signal(
        session, signals.conversation_rated, conversation_id=conversation.id, rating=score, first=before is None
    )


def _see_to_low_rating(
    session: Session, conversation: Conversation, asked: Rating, event: Message, *, reopens: bool
) -> None:
    """Tell whoever has the conversation, or else who resolved it; and put it back into the queue, where the desk wants
    that or there is nobody to be told."""
    told = conversation.assignee_id or asked.resolver_id
    reopens = reopens or told is None
    record(session, LOW_RATING, "conversation.low_rating", "conversation", conversation.id, told=told, reopens=reopens)
    if told is not None:
        mentions.tell_of_rating(session, event, told)
    if reopens and conversation.status is ConversationStatus.RESOLVED:
        _reopen(session, conversation, LOW_RATING, rated=True)
        conversation.waiting_since = now()


# --- the operator's side --------------------------------------------------------------------------


def get(session: Session, conversation_id: int) -> Conversation:
    """A conversation with its customer.

    Raises:
        NotFound: there is none.
    """
    conversation = session.scalars(
        select(Conversation).where(Conversation.id == conversation_id).options(joinedload(Conversation.customer))
    ).one_or_none()
    if conversation is None:
        raise NotFound("There is no such conversation.")
    return conversation


def mark_read(session: Session, conversation_id: int, operator_id: str, sequence: int) -> None:
    """Note how far an operator has read. Going back changes nothing."""
    statement = insert(ConversationRead).values(
        conversation_id=conversation_id, operator_id=operator_id, sequence=sequence
    )
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[ConversationRead.conversation_id, ConversationRead.operator_id],
            set_={"sequence": func.greatest(ConversationRead.sequence, statement.excluded.sequence)},
            where=ConversationRead.sequence < statement.excluded.sequence,
        )
    )


# --- shared ---------------------------------------------------------------------------------------


def lock(session: Session, conversation_id: int) -> Conversation:
    """A conversation under its row lock, as it is now.

    Raises:
        NotFound: there is none, or, as ``CustomerForgotten``, none any more that takes words.
    """
    session.flush()
    conversation = session.scalars(
        select(Conversation)
        .where(Conversation.id == conversation_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if conversation is None:
        raise NotFound("There is no such conversation.")
    if conversation.erased_at is not None:
        raise CustomerForgotten
    return conversation


def append(
    session: Session,
    conversation: Conversation,
    kind: MessageKind,
    actor: Actor,
    body: str = "",
    *,
    event: EventName | None = None,
    data: dict[str, Any] | None = None,
    client_id: uuid.UUID | None = None,
    key: str | None = None,
    draft_id: int | None = None,
    automatic: bool = False,
    files: Sequence[File] = (),
) -> Message:
    """Add the next message under the conversation's row lock, so that sequences are gap-free in commit order."""
    conversation.last_sequence += 1
    message = Message(
        conversation=conversation,
        sequence=conversation.last_sequence,
        kind=kind,
        event=event,
        data={**(data or {}), **told(files)},
        body=body,
        author_kind=actor.kind,
        author_id=actor.id,
        author_name=actor.name,
        client_id=client_id,
        idempotency_key=key,
        draft_id=draft_id,
        automatic=automatic,
        created_at=now(),
    )
    session.add(message)
    if kind is not MessageKind.EVENT:
        conversation.last_message_at = message.created_at
        conversation.last_message_kind = kind
        conversation.last_author_name = message.author_name
        conversation.preview = preview(body, (file.name for file in files))
    if kind in SPOKEN:
        conversation.last_spoken_at = message.created_at
    session.flush()
    attach(session, message.id, files)
    publish_conversation(session, conversation.id, "message", sequence=message.sequence, kind=kind.value)
    return message


def changed(session: Session, conversation: Conversation) -> None:
    """Tell open pages that a conversation is not as it was. A customer's is told of no spam."""
    publish_conversation(session, conversation.id, "conversation", status=shown_status(conversation.status).value)


def sent_before(session: Session, key: str) -> Message | None:
    """The message that was sent under this key."""
    return session.scalars(
        select(Message).where(Message.idempotency_key == key).options(joinedload(Message.conversation))
    ).one_or_none()


def author_key(actor: Actor, conversation: Conversation, kind: MessageKind, client_id: uuid.UUID | None) -> str | None:
    """What a resend shares with the first one: the same words of the same author, to the same place."""
    if client_id is None:
        return None
    return f"{actor.kind.value}:{actor.id}:{conversation.id}:{kind.value}:{client_id}"


def clean_body(body: str, *, empty: bool = False) -> str:
    """Words as a message holds them.

    Args:
        empty: whether there may be none, as there is something else.

    Raises:
        InvalidInput: nothing is left of them, or they are longer than ``MESSAGE_LIMIT``.
    """
    body = _clean(body.replace("\r\n", "\n"))
    limit = current().settings.message_limit
    if not body and not empty:
        raise InvalidInput("body", "There is nothing to send.")
    if len(body) > limit:
        raise InvalidInput("body", f"A message has at most {limit:,} characters; this one has {len(body):,}.")
    return body


def _clean(text: str) -> str:
    """Text without surrounding space, and without NUL, which PostgreSQL cannot store and no keyboard types."""
    return text.replace("\x00", "").strip()


def first_line(body: str) -> str:
    """A subject made of a message's first words, cut between words."""
    line = " ".join(body.strip().splitlines()[0].split())
    if len(line) <= 80:
        return line
    return line[:80].rsplit(" ", 1)[0].rstrip(",;:") + "…"
