"""Operators who are named in notes, as ``@Mina Keller``, and are told of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Acting, ActorKind, as_actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.conversations.models import Conversation, Mention, Message
from flask_cairnloop.hooks import Operator
from flask_cairnloop.jobs import publish
from flask_cairnloop.realtime.events import operator_topic

MOST = 10  # mentions of one note: the directory is asked for each
COUNT_LIMIT = 99
PAGE_SIZE = 30
# Not in the middle of a word: an e-mail address mentions nobody.
_AT = re.compile(r"(?<![\w@./-])@(?=\w)")
_WORD = re.compile(r"[\w.'’-]+")


@dataclass(frozen=True, slots=True)
class Named:
    """Who is named in a text.

    Args:
        people: each once, in the order of the text.
        unknown: what was typed where nobody, or more than one, is meant.
    """

    people: tuple[Operator, ...]
    unknown: tuple[str, ...]


def named(text: str, directory: Callable[[str], Sequence[Operator]]) -> Named:
    """Whom a text names: by the whole name, or by the first one where only one operator has it.

    Args:
        directory: operators by the beginning of a name; the whole name is looked for among its answers.
    """
    people: dict[str, Operator] = {}
    unknown: dict[str, None] = {}
    for number, at in enumerate(_AT.finditer(text)):
        rest = " ".join(text[at.end() : at.end() + 250].partition("\n")[0].split())
        first = _WORD.match(rest)
        if first is None or number >= MOST:
            break
        found = _meant(rest, first[0], directory(first[0]))
        if found is None:
            unknown[first[0]] = None
        else:
            people[found.id] = found
    return Named(tuple(people.values()), tuple(unknown))


def _meant(rest: str, first: str, people: Sequence[Operator]) -> Operator | None:
    whole = [person for person in people if _begins_with(rest, person.name)]
    if whole:
        return max(whole, key=lambda person: len(person.name))
    word = first.rstrip(".'’-").casefold()
    called = [person for person in people if person.name.split()[0].casefold() == word]
    return called[0] if len(called) == 1 else None


def _begins_with(rest: str, name: str) -> bool:
    name = " ".join(name.split())
    after = rest[len(name) : len(name) + 1]
    return rest[: len(name)].casefold() == name.casefold() and not after.isalnum()


def tell(session: Session, note: Message, people: Sequence[Operator], *, actor: Acting) -> None:
    """Tell operators that a note names them. Once for each note, however often it is sent; never its author."""
    actor = as_actor(actor)
    told = [person for person in people if not (actor.kind is ActorKind.OPERATOR and person.id == actor.id)]
    if not told:
        return
    new = session.scalars(
        insert(Mention)
        .values(
            [
                {
                    "message_id": note.id,
                    "conversation_id": note.conversation_id,
                    "operator_id": person.id,
                    "created_at": now(),
                }
                for person in told
            ]
        )
        .on_conflict_do_nothing(index_elements=[Mention.message_id, Mention.operator_id])
        .returning(Mention.operator_id)
    ).all()
    if not new:
        return
    note.data = {**note.data, "mentions": [{"id": person.id, "name": person.name} for person in told]}
    about = note.conversation_id
    record(session, actor, "message.mention", "conversation", about, sequence=note.sequence, operators=list(new))
    for operator_id in new:
        topic = operator_topic(operator_id)
        publish(session, topic, "mention", conversation_id=note.conversation_id, sequence=note.sequence)


def tell_of_rating(session: Session, event: Message, operator_id: str) -> None:
    """Tell an operator that a customer of theirs was not helped well: by the same bell."""
    session.add(
        Mention(message_id=event.id, conversation_id=event.conversation_id, operator_id=operator_id, created_at=now())
    )
    topic = operator_topic(operator_id)
    about = {"conversation_id": event.conversation_id, "sequence": event.sequence}
    publish(session, topic, "mention", **about, because="rating")


# --- reading them -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mentioned:
    """A mention, with the note and where that stands."""

    mention: Mention
    note: Message
    conversation: Conversation


def unread(session: Session, operator_id: str) -> int:
    """How many mentions an operator has not read; at most ``COUNT_LIMIT + 1``. One query."""
    rows = select(Mention.id).where(Mention.operator_id == operator_id, Mention.read_at.is_(None))
    return session.scalar(select(func.count()).select_from(rows.limit(COUNT_LIMIT + 1).subquery())) or 0


def latest(session: Session, operator_id: str, *, before: int | None = None) -> list[Mentioned]:
    """An operator's mentions, newest first, from a place on. One query."""
    statement = (
        select(Mention, Message, Conversation)
        .join(Message, Message.id == Mention.message_id)
        .join(Conversation, Conversation.id == Mention.conversation_id)
        .where(Mention.operator_id == operator_id)
        .order_by(Mention.id.desc())
        .limit(PAGE_SIZE + 1)
    )
    if before is not None:
        statement = statement.where(Mention.id < before)
    return [Mentioned(*row) for row in session.execute(statement)]


def mark_read(
    session: Session,
    operator_id: str,
    *,
    mention_id: int | None = None,
    conversation_id: int | None = None,
    up_to: int | None = None,
) -> int:
    """Note that an operator has read mentions: one, those in a conversation up to a sequence, or all.

    Returns:
        How many they had not read before.
    """
    statement = update(Mention).where(Mention.operator_id == operator_id, Mention.read_at.is_(None))
    if mention_id is not None:
        statement = statement.where(Mention.id == mention_id)
    if conversation_id is not None:
        seen = select(Message.id).where(Message.conversation_id == conversation_id, Message.sequence <= (up_to or 0))
        statement = statement.where(Mention.conversation_id == conversation_id, Mention.message_id.in_(seen))
    done = session.execute(statement.values(read_at=now()).execution_options(synchronize_session=False))
    count = int(done.rowcount)  # type: ignore[attr-defined]
    if count:
        publish(session, operator_topic(operator_id), "mention")
    return count
