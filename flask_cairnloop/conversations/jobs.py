"""Deferred work about conversations."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import joinedload

from flask_cairnloop.actors import Actor
from flask_cairnloop.clock import now
from flask_cairnloop.conversations import ratings, sending, triage
from flask_cairnloop.conversations.attachments import attached
from flask_cairnloop.conversations.models import Conversation, ConversationStatus, Message, MessageKind, Rating
from flask_cairnloop.conversations.service import UNSEEN, How, tell_if_unseen
from flask_cairnloop.errors import NotFound
from flask_cairnloop.hooks import Customer, Permission, ReplyUnseenEvent, ResolvedEvent, Subject, UnseenReply
from flask_cairnloop.jobs import JobContext, QueueName, job, publish

MOST_REPLIES = 20  # in one event


@job("conversations.tell_resolved", max_attempts=8)
def tell_resolved(context: JobContext, *, message_id: int) -> None:
    """Tell the host that a conversation was resolved. The event's key names this resolution over all retries."""
    message = context.session.scalars(
        select(Message)
        .where(Message.id == message_id)
        .options(joinedload(Message.conversation).joinedload(Conversation.customer))
    ).one_or_none()
    if message is None or message.conversation.erased_at is not None:  # there is nobody left to tell of
        return
    conversation = message.conversation
    person = conversation.customer
    asked = context.session.scalars(
        select(Rating).where(
            Rating.conversation_id == conversation.id, Rating.resolution == message.sequence, Rating.closes_at > now()
        )
    ).one_or_none()
    event = ResolvedEvent(
        key=f"conversation:{conversation.id}:resolved:{message.sequence}",
        conversation_id=conversation.id,
        customer=Customer(person.ref, person.name, person.email, person.organization),
        subject=conversation.subject,
        actor_id=message.author_id,
        resolved_at=message.created_at,
        actor_kind=message.author_kind.value,
        actor_name=message.author_name,
        how=message.data.get("how", How.HOST.value),
        rating_url=ratings.link_of(asked) if asked is not None else None,
        rating_until=asked.closes_at if asked is not None else None,
        metadata=message.data.get("metadata", {}),
    )
    context.release()
    context.cairnloop.hooks.conversation_resolved(event)


@job(UNSEEN, max_attempts=8)
def tell_unseen(context: JobContext, *, conversation_id: int) -> None:
    """Tell the host of replies that the customer has not seen in time. Who has seen them meanwhile is left alone."""
    session = context.session
    conversation = session.scalars(
        select(Conversation).where(Conversation.id == conversation_id).options(joinedload(Conversation.customer))
    ).one_or_none()
    if conversation is None or conversation.erased_at is not None:
        return
    replies = session.scalars(
        select(Message)
        .where(
            Message.conversation_id == conversation_id,
            Message.sequence > conversation.customer_seen,
            Message.kind == MessageKind.REPLY,
            Message.passed_on_at.is_(None),
        )
        .order_by(Message.sequence)
        .limit(MOST_REPLIES)
    ).all()
    if not replies:
        return
    due = replies[0].created_at + timedelta(seconds=context.cairnloop.settings.reply_unseen_after)
    if due > now():  # the one that this was asked for has been seen; a later one has its whole time
        tell_if_unseen(session, conversation_id, run_at=due)
        return
    person = conversation.customer
    event = ReplyUnseenEvent(
        key=f"conversation:{conversation.id}:unseen:{replies[0].sequence}",
        conversation_id=conversation.id,
        customer=Customer(person.ref, person.name, person.email, person.organization),
        subject=conversation.subject,
        replies=tuple(
            UnseenReply(
                one.id, one.body, one.author_name, one.created_at, tuple(file.name for file in attached(one.data))
            )
            for one in replies
        ),
    )
    cursor = conversation.customer_seen
    context.release()
    context.cairnloop.hooks.reply_unseen(event)
    told = [reply.message_id for reply in event.replies]
    session.execute(
        update(Message)
        .where(Message.id.in_(told))
        .values(passed_on_at=now())
        .execution_options(synchronize_session=False)
    )
    if len(told) == MOST_REPLIES:  # there may be more
        tell_if_unseen(session, conversation_id, run_at=now())
    publish(session, f"conversation:{conversation_id}", "seen", conversation_id=conversation_id, cursor=cursor)


@job("conversations.wake", max_attempts=8)
def wake(context: JobContext, *, conversation_id: int, until: str) -> None:
    """Bring a snoozed conversation back, unless it was snoozed anew or woken since this was asked for."""
    try:
        triage.wake(context.session, conversation_id, actor=Actor.system("wake"), until=datetime.fromisoformat(until))
    except NotFound:
        return


@job("conversations.auto_assign", max_attempts=8)
def auto_assign(context: JobContext, *, conversation_id: int) -> None:
    """Give a new conversation to whose turn it is. Nobody free: it stays as it is, and is there for all to see."""
    conversation = context.session.get(Conversation, conversation_id)
    if conversation is None or conversation.status is not ConversationStatus.OPEN or conversation.assignee_id:
        return
    context.release()
    hooks, about = context.cairnloop.hooks, Subject("conversation", conversation_id)
    operators = [one for one in hooks.operators("") if hooks.may(one, Permission.CONVERSATIONS_REPLY, about)]
    try:
        triage.assign_by_rule(context.session, conversation_id, operators, actor=Actor.system("auto_assign"))
    except NotFound:
        return


def stop(context: JobContext, *, conversation_id: int, pending_id: int) -> None:
    """The reply will not be sent by this job: say so beside it."""
    sending.give_up(context.session, conversation_id, pending_id)


@job(sending.JOB, queue=QueueName.INTERACTIVE, max_attempts=8, on_dead=stop)
def deliver(context: JobContext, *, conversation_id: int, pending_id: int) -> None:
    """Send an operator's reply, now that it can no longer be taken back."""
    sending.deliver(context.session, conversation_id, pending_id)
