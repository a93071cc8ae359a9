"""Deferred work about conversations."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from flask_cairnloop.conversations import sending
from flask_cairnloop.conversations.models import Conversation, Message
from flask_cairnloop.hooks import Customer, ResolvedEvent
from flask_cairnloop.jobs import JobContext, QueueName, job


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


def stop(context: JobContext, *, conversation_id: int, pending_id: int) -> None:
    """The reply will not be sent by this job: say so beside it."""
    sending.give_up(context.session, conversation_id, pending_id)


@job(sending.JOB, queue=QueueName.INTERACTIVE, max_attempts=8, on_dead=stop)
def deliver(context: JobContext, *, conversation_id: int, pending_id: int) -> None:
    """Send an operator's reply, now that it can no longer be taken back."""
    sending.deliver(context.session, conversation_id, pending_id)
