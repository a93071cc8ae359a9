"""Deferred work about conversations."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from flask_cairnloop.actors import Actor
from flask_cairnloop.conversations import triage
from flask_cairnloop.conversations.models import Conversation, ConversationStatus, Message
from flask_cairnloop.errors import NotFound
from flask_cairnloop.hooks import Customer, ResolvedEvent
from flask_cairnloop.jobs import JobContext, job


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
    event = ResolvedEvent(
        key=f"conversation:{conversation.id}:resolved:{message.sequence}",
        conversation_id=conversation.id,
        customer=Customer(person.ref, person.name, person.email, person.organization),
        subject=conversation.subject,
        actor_id=message.author_id,
        resolved_at=message.created_at,
    )
    context.release()
    context.cairnloop.hooks.conversation_resolved(event)


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
    operators = context.cairnloop.hooks.operators("")
    try:
        triage.assign_by_rule(context.session, conversation_id, operators, actor=Actor.system("auto_assign"))
    except NotFound:
        return
