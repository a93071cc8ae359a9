"""What is being asked: the customer's own latest words, and what has been said before."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop.conversations.models import Conversation, Message, MessageKind
from flask_cairnloop.drafting.models import Draft
from flask_cairnloop.drafting.types import DraftKind, Turn

QUESTION_LENGTH = 1500
TURNS = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """The question of a conversation as it stands.

    Args:
        question: the words to search for.
        turns: the newest messages the customer can see, oldest first.
        clarifications: how many of our questions in a row the customer has answered since our last real reply.
    """

    question: str
    turns: tuple[Turn, ...]
    clarifications: int


def read(session: Session, conversation: Conversation, *, before: int | None = None) -> Asked:
    """Read the question of a conversation. Notes and events are never part of it.

    Args:
        before: sequence of a message; the question is read as it stood when that came. As it stands now if left out.
    """
    rows = session.execute(
        select(Message, Draft.kind)
        .outerjoin(Draft, Draft.id == Message.draft_id)
        .where(
            Message.conversation_id == conversation.id,
            Message.kind.in_((MessageKind.CUSTOMER, MessageKind.REPLY)),
            *(() if before is None else (Message.sequence < before,)),
        )
        .order_by(Message.sequence.desc())
        .limit(TURNS)
    ).all()
    words: list[str] = []
    clarifications = 0
    for message, kind in rows:  # newest first
        if message.kind is MessageKind.CUSTOMER:
            words.append(message.body)
        elif kind is DraftKind.CLARIFICATION:
            clarifications += 1  # the answer to our question belongs to what was asked before it
        else:
            break
    turns = tuple(
        Turn(
            "customer" if message.kind is MessageKind.CUSTOMER else "team",
            message.author_name,
            message.body,
            message.created_at,
        )
        for message, _ in reversed(rows)
    )
    return Asked(build(conversation.subject, words[::-1]), turns, clarifications)


def build(subject: str, words: list[str]) -> str:
    """The subject, where it says something the words do not, and the words; the newest are kept when it grows long."""
    text = "\n".join(word.strip() for word in words)
    repeated = " ".join(text.split()).lower().startswith(subject.rstrip("…").lower())
    room = QUESTION_LENGTH if repeated else QUESTION_LENGTH - len(subject) - 1
    text = text[-room:]
    return text if repeated else f"{subject}\n{text}"
