"""What this room holds about a customer: how it is handed out, and how it goes."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import Text, case, delete, exists, func, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from flask_cairnloop.actors import ActorKind
from flask_cairnloop.clock import now
from flask_cairnloop.conversations.attachments import Attached, attached
from flask_cairnloop.conversations.models import (
    ERASED,
    FORGOTTEN,
    Conversation,
    ConversationTag,
    CustomerRecord,
    Message,
    MessageFile,
    MessageKind,
    PendingReply,
    PendingState,
    Priority,
    Rating,
    Tag,
    UnsentText,
)
from flask_cairnloop.files.links import FOLDER
from flask_cairnloop.files.models import File
from flask_cairnloop.files.service import ERASE, of_customer
from flask_cairnloop.jobs import enqueue

FORGOTTEN_ID = "forgotten"
KEYS_OF_A_JOB = 500
HELD = (PendingState.PENDING, PendingState.STOPPED)
_BY_CUSTOMER = Message.author_kind == ActorKind.CUSTOMER
# What stays of a message: its place, its kind and its time; of an event also what it was, which holds no words.
_WITHOUT_WORDS: dict[Any, Any] = {
    Message.body: case((Message.kind == MessageKind.EVENT, Message.body), else_=ERASED),
    # What the host wanted to hear again of a resolution is the host's to know, and may be about them.
    Message.data: case(
        (Message.kind == MessageKind.EVENT, Message.data.op("-")(literal("metadata", Text))), else_=literal({}, JSONB)
    ),
    Message.author_id: case((_BY_CUSTOMER, FORGOTTEN_ID), else_=Message.author_id),
    Message.author_name: case((_BY_CUSTOMER, FORGOTTEN), else_=Message.author_name),
    Message.client_id: None,
    Message.idempotency_key: None,
}


def forget_messages(session: Session, customer_id: int) -> int:
    """Erase the words of everybody in a customer's conversations, and the customer's own elsewhere.

    Returns:
        How many messages, replies, notes and events.
    """
    ref = session.get_one(CustomerRecord, customer_id).ref
    theirs = select(Conversation.id).where(Conversation.customer_id == customer_id)
    # A host may let one customer act in a conversation of another.
    acts = (_BY_CUSTOMER, Message.kind != MessageKind.CUSTOMER, Message.author_id == ref)
    elsewhere = select(Message.id).where(*acts, Message.conversation_id.not_in(theirs))
    _retell(session, elsewhere)
    erased = 0
    for which in (Message.id.in_(elsewhere), Message.conversation_id.in_(theirs)):
        statement = update(Message).where(which).values(_WITHOUT_WORDS)
        found = session.execute(statement.execution_options(synchronize_session=False))
        erased += found.rowcount  # type: ignore[attr-defined]
    return erased


def _retell(session: Session, messages: Any) -> None:
    """Take the words of these messages out of the first line of the conversations that show one of them as newest."""
    newest = (
        select(Message.conversation_id)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(Message.id.in_(messages), Message.created_at == Conversation.last_message_at)
    )
    session.execute(
        update(Conversation)
        .where(Conversation.id.in_(newest))
        .values(preview=ERASED, last_author_name=FORGOTTEN)
        .execution_options(synchronize_session=False)
    )


def forget_conversations(session: Session, customer_id: int) -> int:
    """Erase what a customer's conversations say beside their messages. From then on they take no words.

    Their messages are erased before. Returns how many conversations.
    """
    newest_author = (
        select(Message.author_name)
        .where(Message.conversation_id == Conversation.id, Message.kind != MessageKind.EVENT)
        .order_by(Message.sequence.desc())
        .limit(1)
        .scalar_subquery()
    )
    theirs = select(Conversation.id).where(Conversation.customer_id == customer_id)
    session.execute(delete(ConversationTag).where(ConversationTag.conversation_id.in_(theirs)))
    found = session.execute(
        update(Conversation)
        .where(Conversation.customer_id == customer_id)
        .values(
            subject=ERASED,
            preview=case((Conversation.preview == "", ""), else_=ERASED),
            last_author_name=newest_author,
            rating_until=None,
            rating_comment=None,
            erased_at=now(),
        )
        .execution_options(synchronize_session=False)
    )
    return int(found.rowcount)  # type: ignore[attr-defined]


def forget_ratings(session: Session, customer_id: int) -> int:
    """Erase what a customer said beside their ratings, and let their links lead nowhere. The numbers stay, with their
    times and who had the conversation. Returns how many."""
    theirs = select(Conversation.id).where(Conversation.customer_id == customer_id)
    found = session.execute(
        update(Rating)
        .where(Rating.conversation_id.in_(theirs))
        .values(comment=None, uuid=func.gen_random_uuid(), closes_at=func.least(Rating.closes_at, now()))
        .execution_options(synchronize_session=False)
    )
    return int(found.rowcount)  # type: ignore[attr-defined]


def export_ratings(session: Session, customer_id: int) -> list[dict[str, Any]]:
    """What a customer was asked of the help, and said, oldest first."""
    asked = session.scalars(
        select(Rating)
        .join(Conversation, Conversation.id == Rating.conversation_id)
        .where(Conversation.customer_id == customer_id)
        .order_by(Rating.conversation_id, Rating.resolution)
    )
    return [
        {
            "conversation": one.conversation_id,
            "asked_at": one.asked_at.isoformat(),
            "rating": one.score,
            "comment": one.comment,
            "rated_at": _moment(one.rated_at),
            "changed_at": _moment(one.changed_at),
        }
        for one in asked
    ]


def forget_files(session: Session, customer_id: int) -> int:
    """Delete every file of a customer's conversations, the team's and those of notes among them, and what they sent us
    that no message took. Their bytes go by a job, right after the commit.

    Returns:
        How many files.
    """
    found = stored_files(session, customer_id, lock=True)
    ids, keys = [file.id for file in found], [file.storage_key for file in found]
    for gone in (delete(MessageFile).where(MessageFile.file_id.in_(ids)), delete(File).where(File.id.in_(ids))):
        session.execute(gone, execution_options={"synchronize_session": False})
    for start in range(0, len(keys), KEYS_OF_A_JOB):
        enqueue(session, ERASE, {"keys": keys[start : start + KEYS_OF_A_JOB]})
    return len(ids)


def export_files(session: Session, customer_id: int) -> list[dict[str, Any]]:
    """What a customer sent us that no message took, oldest first. The others stand with their messages."""
    ref = session.get_one(CustomerRecord, customer_id).ref
    taken = exists().where(MessageFile.file_id == File.id)
    unsent = select(File).where(*of_customer(ref), ~taken)
    return [
        {
            "at": file.created_at.isoformat(),
            **_file(Attached(file.uuid, file.name, file.media_type, file.size)),
        }
        for file in session.scalars(unsent.order_by(File.id))
    ]


def stored_files(session: Session, customer_id: int, *, lock: bool = False) -> list[File]:
    """Every file of a customer's conversations, of replies that wait in them, and what they sent us that no message
    took."""
    ref = session.get_one(CustomerRecord, customer_id).ref
    with_messages = (
        select(MessageFile.file_id)
        .join(Message, Message.id == MessageFile.message_id)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(Conversation.customer_id == customer_id)
    )
    waiting = session.scalars(
        select(PendingReply.files)
        .join(Conversation, Conversation.id == PendingReply.conversation_id)
        .where(Conversation.customer_id == customer_id, PendingReply.state.in_(sorted(HELD)))
    )
    held = [UUID(file["id"]) for files in waiting for file in files]
    theirs = with_messages.union(select(File.id).where(*of_customer(ref)), select(File.id).where(File.uuid.in_(held)))
    statement = select(File).where(File.id.in_(theirs)).order_by(File.id)
    return list(session.scalars(statement.with_for_update() if lock else statement))


def path_of(uuid: UUID, name: str) -> str:
    """Where a file lies beside an export of its customer."""
    return f"{FOLDER}/{uuid}/{name}"


def _file(file: Attached) -> dict[str, Any]:
    path = path_of(file.uuid, file.name)
    return {"name": file.name, "type": file.media_type, "size": file.size, "path": path}


def forget_unsent(session: Session, customer_id: int) -> int:
    """Let go of what operators had written to a customer, or about them, and not sent. Returns how many texts."""
    theirs = select(Conversation.id).where(Conversation.customer_id == customer_id)
    gone = 0
    for model in (PendingReply, UnsentText):
        found = session.execute(
            delete(model).where(model.conversation_id.in_(theirs)).execution_options(synchronize_session=False)
        )
        gone += int(found.rowcount)  # type: ignore[attr-defined]
    return gone


def export_unsent(session: Session, customer_id: int) -> list[dict[str, Any]]:
    """What operators have written to a customer, or about them, and not sent: who of them is not said."""
    theirs = select(Conversation.id).where(Conversation.customer_id == customer_id)
    waiting = session.scalars(
        select(PendingReply)
        .where(PendingReply.conversation_id.in_(theirs), PendingReply.state.in_(HELD))
        .order_by(PendingReply.id)
    )
    texts = session.scalars(
        select(UnsentText)
        .where(UnsentText.conversation_id.in_(theirs))
        .order_by(UnsentText.conversation_id, UnsentText.edited_at)
    )
    return [
        *(
            _unsent(text.conversation_id, text.created_at, "reply", text.body)
            | ({"files": [path_of(UUID(file["id"]), file["name"]) for file in text.files]} if text.files else {})
            for text in waiting
        ),
        *(_unsent(text.conversation_id, text.edited_at, text.kind, text.body) for text in texts),
    ]


def _unsent(conversation_id: int, at: datetime, kind: str, body: str) -> dict[str, Any]:
    return {"conversation": conversation_id, "at": at.isoformat(), "kind": kind, "body": body}


def export_conversations(session: Session, customer_id: int) -> list[dict[str, Any]]:
    """Every conversation with its messages, and the notes about them, oldest first.

    Of our people only the names are there that the customer has read beside a reply.
    """
    conversations = session.scalars(
        select(Conversation).where(Conversation.customer_id == customer_id).order_by(Conversation.id)
    ).all()
    messages = session.scalars(
        select(Message)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(Conversation.customer_id == customer_id)
        .order_by(Message.conversation_id, Message.sequence)
    )
    said = {number: [*found] for number, found in groupby(messages, lambda message: message.conversation_id)}
    tags: dict[int, list[str]] = {}
    for number, name in session.execute(
        select(ConversationTag.conversation_id, Tag.name)
        .join(Tag, Tag.id == ConversationTag.tag_id)
        .join(Conversation, Conversation.id == ConversationTag.conversation_id)
        .where(Conversation.customer_id == customer_id)
        .order_by(Tag.name)
    ):
        tags.setdefault(number, []).append(name)
    comments = {one["conversation"]: one["comment"] for one in export_ratings(session, customer_id)}
    return [
        _conversation(found, said.get(found.id, []), tags.get(found.id, []), comments.get(found.id))
        for found in conversations
    ]


def _conversation(
    conversation: Conversation, messages: list[Message], tags: list[str], comment: str | None
) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "channel": conversation.channel,
        "subject": conversation.subject,
        "status": conversation.status.value,
        "opened_at": conversation.created_at.isoformat(),
        "resolved_at": _moment(conversation.resolved_at),
        "rating": conversation.rating,
        "rating_comment": comment if conversation.rating else None,
        "read_up_to": conversation.customer_seen,
        "priority": Priority(conversation.priority).word,
        "team": conversation.team,
        "snoozed_until": _moment(conversation.snoozed_until),
        "tags": tags,
        "messages": [_message(message) for message in messages],
    }


def _message(message: Message) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "sequence": message.sequence,
        "at": message.created_at.isoformat(),
        "kind": message.kind.value,
        "by": message.author_kind.value,
    }
    if message.kind is MessageKind.EVENT:
        plain["event"] = message.event.value if message.event else None
        if "rating" in message.data:
            plain["rating"] = message.data["rating"]
        if "metadata" in message.data:  # what the host's call said of a resolution
            plain["metadata"] = message.data["metadata"]
        return plain
    plain["body"] = message.body
    if files := attached(message.data):
        plain["files"] = [_file(file) for file in files]
    if message.kind is not MessageKind.NOTE:
        plain["author"] = message.author_name
    if message.kind is MessageKind.REPLY:
        plain["automatic"] = message.automatic
        plain["sources"] = [citation.get("title") for citation in message.data.get("citations", ())]
    return plain


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
