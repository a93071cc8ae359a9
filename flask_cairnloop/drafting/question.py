"""What is being asked: the customer's own latest words, and what has been said before."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop.conversations.attachments import spoken
from flask_cairnloop.conversations.models import SPOKEN, Conversation, Message, MessageKind
from flask_cairnloop.drafting.models import Draft
from flask_cairnloop.drafting.types import DraftKind, Turn
from flask_cairnloop.retrieval.grounding import FEW_WORDS

QUESTION_LENGTH = 1500
TURNS = 20
SAME_TOPIC: Final = 0.2  # likeness from which words still belong to what was asked before
_WORD: Final = re.compile(r"\w+")

# For each question, how alike each text is to it, 0 to 1, in order. Asked once, it may call an embedder twice.
Likeness = Callable[[Sequence[str], Sequence[str]], Sequence[Sequence[float]]]


@dataclass(frozen=True, slots=True)
class Asked:
    """The question of a conversation as it stands.

    Args:
        question: the words to search for.
        turns: the newest messages the customer can see, oldest first.
        clarifications: how many of our questions in a row the customer has answered since our last real reply.
        subject: of the conversation.
        words: what the customer has said since our last real reply, oldest first.
    """

    question: str
    turns: tuple[Turn, ...]
    clarifications: int
    subject: str = ""
    words: tuple[str, ...] = ()


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
            Message.kind.in_(SPOKEN),
            *(() if before is None else (Message.sequence < before,)),
        )
        .order_by(Message.sequence.desc())
        .limit(TURNS)
    ).all()
    words: list[str] = []
    clarifications = 0
    for message, kind in rows:  # newest first
        if message.kind is MessageKind.CUSTOMER:
            if message.body:  # of a file alone there is nothing to search by; the subject stays
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
            spoken(message.data),
        )
        for message, _ in reversed(rows)
    )
    said = tuple(words[::-1])
    return Asked(build(conversation.subject, said), turns, clarifications, conversation.subject, said)


def on_topic(asked: Asked, likeness: Likeness) -> Asked:
    """The question as it stands when the customer, asked by us, has turned to something else: only their newest words.

    What was asked about the topic before does not count against the new one. Few words are an answer to our question,
    however little they are like it.

    Args:
        likeness: how alike texts are to questions, 0 to 1.
    """
    if not asked.clarifications or len(asked.words) < 2:
        return asked
    *before, newest = asked.words
    if len(_WORD.findall(newest)) <= FEW_WORDS or likeness([newest], ["\n".join(before)])[0][0] >= SAME_TOPIC:
        return asked
    return replace(asked, question=build("", (newest,)), clarifications=0)


def build(subject: str, words: Sequence[str]) -> str:
    """The subject, where it says something the words do not, and the words; the newest are kept when it grows long."""
    text = "\n".join(word.strip() for word in words)
    if not text:
        return subject
    repeated = " ".join(text.split()).lower().startswith(subject.rstrip("…").lower())
    room = QUESTION_LENGTH if repeated else QUESTION_LENGTH - len(subject) - 1
    text = text[-room:]
    return text if repeated or not subject else f"{subject}\n{text}"
