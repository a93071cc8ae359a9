"""Files of messages: who may attach which, what a message says of them, and by which way they are found again.

A file is kept before, see :mod:`flask_cairnloop.files.keeping`, and is whose who sent it until a message takes it.
From then on it is a part of that message and of no other: it is seen by whoever may read it, and goes with it. What it
is called and how long it is stands with the message itself, so that a timeline is read as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor, ActorKind
from flask_cairnloop.context import current
from flask_cairnloop.conversations.models import (
    Conversation,
    CustomerRecord,
    Message,
    MessageFile,
    MessageKind,
)
from flask_cairnloop.errors import InvalidInput
from flask_cairnloop.files.content import SPOKEN
from flask_cairnloop.files.models import File, KeptFor

GONE = "One of the files is not there any more. Attach it again."
TO_CUSTOMERS = (MessageKind.CUSTOMER, MessageKind.REPLY)  # whose files the customer sees; never a note's


@dataclass(frozen=True, slots=True)
class Attached:
    """A file as its message tells of it."""

    uuid: UUID
    name: str
    media_type: str
    size: int
    width: int | None = None
    height: int | None = None


def attachable(session: Session, uuids: Sequence[UUID], *, actor: Actor) -> list[File]:
    """The files that a message is about to take, in this order, locked so that no other takes one.

    A customer attaches their own and nobody else's; the team, what the team has kept.

    Raises:
        InvalidInput: there are too many, one is twice there, not this actor's, taken already, or not there any more.
    """
    if not uuids:
        return []
    most = current().settings.attachment_limit
    if len(uuids) > most:
        raise InvalidInput(
            "files", f"A message takes at most {most} files." if most else "Messages take no files here."
        )
    found = {file.uuid: file for file in session.scalars(_free(actor).where(File.uuid.in_(list(uuids))))}
    if len(found) < len(uuids):
        raise InvalidInput("files", GONE)
    return [found[uuid] for uuid in uuids]


def check_number(number: int) -> None:
    """Hold a message to ``ATTACHMENT_LIMIT``.

    Raises:
        InvalidInput: these are more.
    """
    most = current().settings.attachment_limit
    if number > most:
        words = f"A message takes at most {most} file{'s' if most > 1 else ''}."
        raise InvalidInput("files", words if most else "Messages take no files here.")


def _free(actor: Actor) -> Select[File]:
    """Files that no message has yet and that this actor may give to one. Locked in one order, whoever asks."""
    taken = exists().where(MessageFile.file_id == File.id)
    theirs = (
        (File.author_kind == ActorKind.CUSTOMER, File.author_id == actor.id)
        if actor.kind is ActorKind.CUSTOMER
        else (File.author_kind != ActorKind.CUSTOMER,)
    )
    free = select(File).where(File.kept_for == KeptFor.MESSAGE, ~taken, *theirs)
    return free.order_by(File.id).with_for_update(of=File)


def attach(session: Session, message_id: int, files: Sequence[File]) -> None:
    """Give files to a message.

    Raises:
        InvalidInput: another message took one at the same moment.
    """
    if not files:
        return
    rows = [{"message_id": message_id, "position": place, "file_id": file.id} for place, file in enumerate(files)]
    given = insert(MessageFile).values(rows).on_conflict_do_nothing(index_elements=[MessageFile.file_id])
    if len(session.scalars(given.returning(MessageFile.file_id)).all()) < len(files):
        raise InvalidInput("files", GONE)


def told(files: Sequence[File]) -> dict[str, Any]:
    """What a message says of its files, as a part of its ``data``; nothing where it has none."""
    if not files:
        return {}
    return {
        "files": [
            {
                "id": str(file.uuid),
                "name": file.name,
                "type": file.media_type,
                "size": file.size,
                **({"width": file.width, "height": file.height} if file.width is not None else {}),
            }
            for file in files
        ]
    }


def attached(data: Any) -> tuple[Attached, ...]:
    """The files that a message's ``data`` tells of."""
    listed = data.get("files", ()) if isinstance(data, dict) else ()
    return tuple(
        Attached(UUID(each["id"]), each["name"], each["type"], each["size"], each.get("width"), each.get("height"))
        for each in listed
    )


def spoken(data: Any) -> tuple[str, ...]:
    """The same for whoever only needs to know that there was something: name and kind, nothing of what is in it."""
    return tuple(f"{file.name} ({SPOKEN.get(file.media_type, file.media_type)})" for file in attached(data))


@dataclass(frozen=True, slots=True)
class Found:
    """A file that was asked for, and where it was said."""

    file: File
    conversation_id: int
    customer_ref: str


def newest_files(bound: Connection, customer_ref: str, conversation_id: int, *, limit: int) -> list[Attached]:
    """The files that a customer sees in a conversation of theirs, from the newest messages on. One query."""
    rows = bound.execute(
        select(File.uuid, File.name, File.media_type, File.size)
        .join(MessageFile, MessageFile.file_id == File.id)
        .join(Message, Message.id == MessageFile.message_id)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .join(CustomerRecord, CustomerRecord.id == Conversation.customer_id)
        .where(Conversation.id == conversation_id, CustomerRecord.ref == customer_ref, Message.kind.in_(TO_CUSTOMERS))
        .order_by(Message.sequence.desc(), MessageFile.position)
        .limit(limit)
    )
    return [Attached(*row) for row in rows]


def in_a_conversation(session: Session, uuid: UUID) -> Found | None:
    """A file of any message, for the team, whose right to see the conversation is still to be asked. One query."""
    return _found(session, select_found(uuid))


def for_the_customer(session: Session, uuid: UUID) -> Found | None:
    """A file of a message that its customer may see; none of a note, and none of whoever was forgotten. One query."""
    seen = (Message.kind.in_(TO_CUSTOMERS), CustomerRecord.forgotten_at.is_(None))
    return _found(session, select_found(uuid).where(*seen))


def select_found(uuid: UUID) -> Select[File, int, str]:
    """The way from a file to whose conversation it stands in: by its message, and no other."""
    return (
        select(File, Conversation.id, CustomerRecord.ref)
        .join(MessageFile, MessageFile.file_id == File.id)
        .join(Message, Message.id == MessageFile.message_id)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .join(CustomerRecord, CustomerRecord.id == Conversation.customer_id)
        .where(File.uuid == uuid)
    )


def _found(session: Session, statement: Select[File, int, str]) -> Found | None:
    row = session.execute(statement).one_or_none()
    return None if row is None else Found(row[0], row[1], row[2])
