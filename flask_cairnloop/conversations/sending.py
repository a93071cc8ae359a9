"""Replies of operators on their way out: each waits ``UNDO_SEND`` seconds, in which it can be taken back.

What waits is a row and a job, so that it survives a closed tab and a killed worker. It is sent by the job, under the
lock of its conversation, unless something came between: then it stays as it is, and its author decides.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import exists, or_, select, update
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Acting, Actor, ActorKind, as_actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations import service, unsent
from flask_cairnloop.conversations.attachments import attachable
from flask_cairnloop.conversations.models import (
    Conversation,
    ConversationStatus,
    EventName,
    Message,
    MessageKind,
    PendingReply,
    PendingState,
    StoppedBy,
)
from flask_cairnloop.drafting import lifecycle
from flask_cairnloop.drafting import service as drafting
from flask_cairnloop.drafting.citing import Cite, checked
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.errors import AnsweredMeanwhile, Forbidden, IllegalTransition, InvalidInput, NotFound
from flask_cairnloop.files.models import File
from flask_cairnloop.jobs import enqueue, publish_conversation

JOB: Final = "conversations.deliver"
SYSTEM = Actor.system("sending")

OPEN: Final = frozenset({PendingState.PENDING, PendingState.STOPPED})
# The one table of allowed steps: step -> states it may start from -> state it leads to.
TRANSITIONS: Final[dict[str, tuple[frozenset[PendingState], PendingState]]] = {
    "be sent": (OPEN, PendingState.SENT),
    "be taken back": (OPEN, PendingState.UNDONE),
    "be stopped": (frozenset({PendingState.PENDING}), PendingState.STOPPED),
}


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of words that were to be sent: one of the two.

    Args:
        pending: they wait, and can be taken back.
        message: they are sent.
    """

    pending: PendingReply | None = None
    message: Message | None = None


def send_reply(
    session: Session,
    conversation_id: int,
    *,
    actor: Acting,
    body: str,
    client_id: uuid.UUID | None = None,
    seen: int,
    shown: int | None = None,
    cites: Sequence[Cite] = (),
    tags: Collection[str] | None = None,
    files: Sequence[uuid.UUID] = (),
    resolves: bool = False,
    asks: bool | None = None,
    from_field: bool = True,
) -> Taken:
    """Send an operator's typed reply, after the time in which it can be taken back.

    Args:
        client_id, seen, cites, tags, files: as for :func:`flask_cairnloop.conversations.service.reply`.
        shown: id of the newest waiting reply the author had before them; not looked at when left out.
        resolves: resolve the conversation with it.
        asks: whether the customer is asked for a rating then; ``ASK_FOR_RATING`` when left out.
        from_field: whether these are the words of the reply field, which is empty then.

    Raises:
        InvalidInput, StaleConversation: as ``reply`` does.
        AnsweredMeanwhile: a colleague has answered, or is about to, after ``seen`` and ``shown``.
    """
    actor, body = as_actor(actor), service.clean_body(body, empty=bool(files))
    conversation = service.lock(session, conversation_id)
    key = service.author_key(actor, conversation, MessageKind.REPLY, client_id)
    if key is not None and (first := _taken_before(session, key)):
        return first
    service.check_seen(conversation, seen)
    _check_colleagues(session, conversation, actor, seen, shown)
    citations = checked(session, cites, tags=tags)
    reply = _new(conversation, actor, body, seen, resolves=resolves)
    reply.asks = asks if resolves else None
    reply.client_id, reply.idempotency_key, reply.citations = client_id, key, citations
    reply.files = [{"id": str(file.uuid), "name": file.name} for file in attachable(session, files, actor=actor)]
    if from_field:
        unsent.clear(session, conversation.id, actor.id, "reply")
    return _on_its_way(session, conversation, reply, actor)


def approve(
    session: Session,
    draft_id: int,
    *,
    actor: Acting,
    body: str | None = None,
    seen: int,
    shown: int | None = None,
) -> Taken:
    """Send a draft, as it stands or as it was edited, after the time in which that can be taken back.

    The draft waits with its reply: taken back, it is as it was before.

    Args:
        seen, shown: as for :func:`send_reply`.

    Raises:
        NotFound, Conflict, IllegalTransition, InvalidInput, StaleConversation: as
            :func:`flask_cairnloop.drafting.service.approve` does.
        AnsweredMeanwhile: as for :func:`send_reply`.
    """
    actor = as_actor(actor)
    draft, conversation, words = drafting.approvable(session, draft_id, seen=seen, body=body)
    waiting = select(PendingReply).where(PendingReply.draft_id == draft.id, PendingReply.state == PendingState.PENDING)
    if session.scalars(waiting).one_or_none() is not None:
        raise IllegalTransition("draft", DraftState.APPROVED.value, "be approved")
    _check_colleagues(session, conversation, actor, seen, shown)
    reply = _new(conversation, actor, words, seen)
    reply.draft_id, reply.citations = draft.id, list(draft.citations)  # sent without its draft, it still has sources
    return _on_its_way(session, conversation, reply, actor)


def _new(conversation: Conversation, actor: Actor, body: str, seen: int, *, resolves: bool = False) -> PendingReply:
    wait = current().settings.undo_send
    return PendingReply(
        conversation_id=conversation.id,
        state=PendingState.PENDING,
        body=body,
        citations=[],
        files=[],
        author_id=actor.id,
        author_name=actor.name,
        seen=min(seen, conversation.last_sequence),
        resolves=resolves,
        send_at=now() + timedelta(seconds=wait),
    )


def _on_its_way(session: Session, conversation: Conversation, reply: PendingReply, actor: Actor) -> Taken:
    """Let a reply wait, or send it where nothing waits."""
    if not current().settings.undo_send:
        return Taken(message=_send(session, conversation, reply))
    session.add(reply)
    session.flush()
    record(session, actor, "message.hold", "conversation", conversation.id, pending_id=reply.id)
    _ask_for(session, reply)
    _tell(session, reply)
    return Taken(pending=reply)


def _ask_for(session: Session, reply: PendingReply) -> None:
    enqueue(
        session,
        JOB,
        {"conversation_id": reply.conversation_id, "pending_id": reply.id},
        delay=timedelta(seconds=current().settings.undo_send),
        unique_key=f"{JOB}:{reply.id}",
    )


# --- what becomes of it -----------------------------------------------------------------------------------------------


def undo(session: Session, conversation_id: int, pending_id: int, *, actor: Acting) -> PendingReply:
    """Take a reply back before it is sent. Its words are in the operator's reply field again; files are chosen anew.

    One that was stopped may be taken over by a colleague, into their own field.

    Raises:
        NotFound: there is no such reply in this conversation.
        Forbidden: it waits, and is somebody else's.
        IllegalTransition: it was sent, or taken back, already.
    """
    actor = as_actor(actor)
    service.lock(session, conversation_id)
    reply = _find(session, conversation_id, pending_id)
    if reply.state is PendingState.PENDING and reply.author_id != actor.id:
        raise Forbidden
    words = reply.body
    _step(session, reply, "be taken back", body="", citations=[], files=[], ended_at=now())
    if words:
        unsent.add(session, conversation_id, actor.id, "reply", words)
    record(session, actor, "message.undo", "conversation", conversation_id, pending_id=reply.id)
    return reply


def send_now(session: Session, conversation_id: int, pending_id: int, *, actor: Acting, seen: int) -> Message:
    """Send a reply of one's own that waits, or that was stopped, at once.

    Args:
        seen: sequence of the newest message its author has before them now.

    Raises:
        NotFound: there is no such reply in this conversation.
        Forbidden: it is somebody else's.
        IllegalTransition: it was sent, or taken back, already.
        StaleConversation: the customer has written after ``seen``.
    """
    actor = as_actor(actor)
    conversation = service.lock(session, conversation_id)
    reply = _find(session, conversation_id, pending_id)
    if reply.author_id != actor.id:
        raise Forbidden
    _allowed(reply, "be sent")
    service.check_seen(conversation, seen)
    for earlier in _waiting(session, conversation_id, up_to=reply.id - 1):
        _deliver(session, conversation, earlier)
    reply.seen = min(max(seen, reply.seen), conversation.last_sequence)
    return _send(session, conversation, reply)


def resolve(session: Session, conversation_id: int, *, actor: Acting, seen: int, asks: bool | None = None) -> bool:
    """Resolve a conversation, after the reply that waits in it, if there is one.

    Args:
        asks: whether the customer is asked for a rating; ``ASK_FOR_RATING`` when left out.

    Returns:
        Whether it is resolved now.

    Raises:
        IllegalTransition, StaleConversation: as :func:`flask_cairnloop.conversations.service.resolve` does.
    """
    conversation = service.lock(session, conversation_id)
    # One that something has come between already will not be sent by itself.
    waiting = [reply for reply in _waiting(session, conversation_id) if _between(session, conversation, reply) is None]
    if not waiting:
        service.resolve(session, conversation_id, actor=actor, seen=seen, asks=asks, how=service.How.CONSOLE)
        return True
    service.check_seen(conversation, seen)
    _resolves(waiting[-1], as_actor(actor), asks)
    record(session, as_actor(actor), "message.hold", "conversation", conversation_id, pending_id=waiting[-1].id)
    _tell(session, waiting[-1])
    return False


def deliver(session: Session, conversation_id: int, pending_id: int) -> None:
    """Send a reply whose time has come, and before it those that were written earlier. What is over stays over."""
    try:
        conversation = service.lock(session, conversation_id)
    except NotFound:
        return
    for reply in _waiting(session, conversation_id, up_to=pending_id):
        _deliver(session, conversation, reply)


def give_up(session: Session, conversation_id: int, pending_id: int) -> None:
    """The job of a reply will not run: its author decides."""
    try:
        service.lock(session, conversation_id)
    except NotFound:
        return
    for reply in _waiting(session, conversation_id, up_to=pending_id):
        _stop(session, reply, StoppedBy.FAILED)


def _deliver(session: Session, conversation: Conversation, reply: PendingReply) -> None:
    because = _between(session, conversation, reply)
    if because is None:
        _send(session, conversation, reply)
    else:
        _stop(session, reply, because)


def _between(session: Session, conversation: Conversation, reply: PendingReply) -> StoppedBy | None:
    """What came between a reply and its sending, if anything did."""
    if conversation.last_customer_sequence > reply.seen:
        return StoppedBy.CUSTOMER
    if reply.draft_id is not None and _ready(session, reply.draft_id) is None:
        return StoppedBy.DRAFT
    if conversation.status is ConversationStatus.SPAM and _marked_since(session, reply):
        return StoppedBy.SPAM
    if not _files_are_there(session, reply):
        return StoppedBy.FAILED
    resolved = conversation.status is ConversationStatus.RESOLVED and conversation.resolved_at
    return StoppedBy.RESOLVED if resolved and resolved > reply.created_at else None


def _marked_since(session: Session, reply: PendingReply) -> bool:
    """Whether somebody called it spam after the reply was written: who wrote it then did not answer spam."""
    marked = exists().where(
        Message.conversation_id == reply.conversation_id,
        Message.event == EventName.MARKED_SPAM,
        Message.created_at > reply.created_at,
    )
    return bool(session.scalar(select(marked)))


def _files_are_there(session: Session, reply: PendingReply) -> bool:
    try:
        _files(session, reply)
    except InvalidInput:
        return False
    return True


def _files(session: Session, reply: PendingReply) -> list[File]:
    author = Actor(ActorKind.OPERATOR, reply.author_id, reply.author_name)
    return attachable(session, [uuid.UUID(file["id"]) for file in reply.files], actor=author)


def _ready(session: Session, draft_id: int) -> Draft | None:
    draft = lifecycle.find(session, draft_id)
    return draft if draft is not None and draft.state is DraftState.READY else None


def _send(session: Session, conversation: Conversation, reply: PendingReply) -> Message:
    """Send a reply by the path that all words take. The conversation is locked."""
    actor = Actor(ActorKind.OPERATOR, reply.author_id, reply.author_name)
    body, citations, waited = reply.body, reply.citations, reply.id is not None
    files, resolver, asks = _files(session, reply), _resolver(reply), reply.asks
    if waited:
        _step(session, reply, "be sent", body="", citations=[], files=[], ended_at=now(), stopped_by=None)
    draft = _ready(session, reply.draft_id) if reply.draft_id is not None else None
    if draft is not None:
        message = drafting.send_approved(session, draft, conversation, actor, body)
    else:
        message = service.send(
            session,
            conversation,
            actor=actor,
            body=body,
            client_id=reply.client_id,
            key=reply.idempotency_key,
            citations=citations,
            files=files,
        )
        lifecycle.withdraw(session, conversation, because="reply", actor=actor)
    if reply.resolves:
        later = _waiting(session, conversation.id) if waited else []
        if later:
            _resolves(later[-1], resolver, asks)
        else:
            service.resolve(session, conversation.id, actor=resolver, asks=asks, how=service.How.REPLY)
    return message


def _resolves(reply: PendingReply, actor: Actor, asks: bool | None) -> None:
    reply.resolves, reply.asks, reply.resolver_id, reply.resolver_name = True, asks, actor.id, actor.name


def _resolver(reply: PendingReply) -> Actor:
    """Who resolves the conversation with it: its author, unless a colleague pressed the button meanwhile."""
    who = (reply.resolver_id, reply.resolver_name or "") if reply.resolver_id else (reply.author_id, reply.author_name)
    return Actor(ActorKind.OPERATOR, *who)


def _stop(session: Session, reply: PendingReply, because: StoppedBy) -> None:
    _step(session, reply, "be stopped", stopped_by=because, resolves=False)  # sent later, it decides nothing more
    about = reply.conversation_id
    record(session, SYSTEM, "message.stop", "conversation", about, pending_id=reply.id, because=because.value)


def _allowed(reply: PendingReply, name: str) -> None:
    if reply.state not in TRANSITIONS[name][0]:
        raise IllegalTransition("reply", reply.state.value, name)


def _step(session: Session, reply: PendingReply, name: str, **values: Any) -> None:
    """Take one step: of two at once, one.

    Raises:
        IllegalTransition: the reply is not in a state from which it may be taken.
    """
    _allowed(reply, name)
    session.flush()
    before, after = TRANSITIONS[name]
    done = session.execute(
        update(PendingReply)
        .where(PendingReply.id == reply.id, PendingReply.state.in_(before))
        .values(state=after, **({"stopped_by": None} | values))
        .execution_options(synchronize_session=False)
    )
    session.refresh(reply)
    if not done.rowcount:  # type: ignore[attr-defined]
        raise IllegalTransition("reply", reply.state.value, name)
    _tell(session, reply)


def _tell(session: Session, reply: PendingReply) -> None:
    publish_conversation(session, reply.conversation_id, "pending", state=reply.state.value)


# --- looking ----------------------------------------------------------------------------------------------------------


def open_replies(session: Session, conversation_id: int) -> list[PendingReply]:
    """The replies of a conversation that wait, or were stopped, oldest first. One query."""
    states = or_(PendingReply.state == PendingState.PENDING, PendingReply.state == PendingState.STOPPED)
    return list(
        session.scalars(
            select(PendingReply)
            .where(PendingReply.conversation_id == conversation_id, states)
            .order_by(PendingReply.id)
            .execution_options(populate_existing=True)
        )
    )


def answers_after(
    session: Session, conversation_id: int, actor_id: str, seen: int, shown: int | None
) -> list[tuple[str, str]]:
    """What colleagues answered, or are about to, after what somebody had before them: who, and their words."""
    statement = select(Message.author_name, Message.body).where(*_others(conversation_id, actor_id, seen))
    said = session.execute(statement.order_by(Message.sequence).limit(10)).all()
    waits = [
        (reply.author_name, reply.body)
        for reply in open_replies(session, conversation_id)
        if shown is not None and reply.id > shown and _stands_between(reply, actor_id)
    ]
    return [(row.author_name, row.body) for row in said] + waits


def _check_colleagues(session: Session, conversation: Conversation, actor: Actor, seen: int, shown: int | None) -> None:
    """Refuse an answer that was written before a colleague's was there to be read.

    Raises:
        AnsweredMeanwhile: there is one.
    """
    waits = [
        reply
        for reply in open_replies(session, conversation.id)
        if shown is not None and reply.id > shown and _stands_between(reply, actor.id)
    ]
    said = seen < conversation.last_sequence and session.scalar(
        select(exists().where(*_others(conversation.id, actor.id, seen)))
    )
    if waits or said:
        raise AnsweredMeanwhile(seen, conversation.last_sequence)


def _others(conversation_id: int, actor_id: str, seen: int) -> tuple[Any, ...]:
    return (
        Message.conversation_id == conversation_id,
        Message.sequence > seen,
        Message.kind == MessageKind.REPLY,
        Message.author_id != actor_id,
    )


def _stands_between(reply: PendingReply, actor_id: str) -> bool:
    return reply.state is PendingState.PENDING and reply.author_id != actor_id


def _taken_before(session: Session, key: str) -> Taken | None:
    """What became of the same words when they came first."""
    if message := service.sent_before(session, key):
        return Taken(message=message)
    reply = session.scalars(select(PendingReply).where(PendingReply.idempotency_key == key)).one_or_none()
    return None if reply is None else Taken(pending=reply)


def _waiting(session: Session, conversation_id: int, *, up_to: int | None = None) -> list[PendingReply]:
    return [
        reply
        for reply in open_replies(session, conversation_id)
        if reply.state is PendingState.PENDING and (up_to is None or reply.id <= up_to)
    ]


def _find(session: Session, conversation_id: int, pending_id: int) -> PendingReply:
    found = session.scalars(
        select(PendingReply)
        .where(PendingReply.id == pending_id, PendingReply.conversation_id == conversation_id)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if found is None:
        raise NotFound("There is no such reply.")
    return found
