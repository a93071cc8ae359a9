"""What answers teach: the question behind a reply that cites an article, the one behind a draft that did not answer it,
and how a resolved conversation was answered.

All words are redacted before they are stored or embedded, by what is known of the customer.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload, load_only

from flask_cairnloop.config import LONGEST_HOOK
from flask_cairnloop.conversations.models import (
    Conversation,
    ConversationStatus,
    CustomerRecord,
    Message,
    MessageKind,
)
from flask_cairnloop.conversations.service import LEARN, LEARN_CASE
from flask_cairnloop.drafting import lifecycle, question
from flask_cairnloop.drafting.models import Draft
from flask_cairnloop.drafting.types import DraftKind
from flask_cairnloop.jobs import JobContext, job
from flask_cairnloop.knowledge.models import Article
from flask_cairnloop.privacy.redactor import names_of, redact
from flask_cairnloop.retrieval import memory, vectors
from flask_cairnloop.retrieval.embedding import EmbeddingFailed, embed
from flask_cairnloop.retrieval.models import PastQuestion
from flask_cairnloop.retrieval.types import Embedder
from flask_cairnloop.upkeep.misses import is_question
from flask_cairnloop.upkeep.models import GapReason, GapSource
from flask_cairnloop.upkeep.service import record_gap

log = logging.getLogger(__name__)

TIMEOUT: Final = 2 * LONGEST_HOOK + 60  # seconds: two models may have to embed a question
HEAVILY: Final = 0.5  # share of a draft's words that an operator changed: it was no answer
TRY_AGAIN: Final = timedelta(minutes=1)  # after an embedder has failed
LINK: Final = re.compile(r"https?://[^\s<>()\[\]\"']{1,2000}")


@job(LEARN, max_attempts=3, timeout=TIMEOUT)
def learn(context: JobContext, *, message_id: int) -> None:
    """Keep the question behind a reply as a view of the articles that the reply cites."""
    session = context.session
    reply = session.scalars(
        select(Message)
        .where(Message.id == message_id)
        .options(joinedload(Message.conversation).joinedload(Conversation.customer))
    ).one_or_none()
    if reply is None or (articles := _cited(session, reply)) == []:
        return
    conversation, answered = reply.conversation, _newest_words(session, reply.conversation_id, reply.sequence)
    if answered is None:
        return
    words = _redacted(conversation.customer, question.read(session, conversation, before=reply.sequence).question)
    embedders = vectors.wanted(session, context.cairnloop.hooks)
    context.release()
    made = _embed(embedders, words)
    person = _still_known(session, conversation.customer_id)
    if person is not None:
        kept = memory.remember(session, conversation.id, person, answered, words, articles)
        memory.withdraw_misses(session, conversation.id, answered)
        _keep_vectors(session, kept, made, embedders)
        _keep_edited(session, reply)


@job(lifecycle.LEARN_DISCARD, max_attempts=3, timeout=TIMEOUT)
def learn_discard(context: JobContext, *, conversation_id: int, draft_id: int) -> None:
    """Keep the question behind a discarded reply as one that no article answers, unless one has answered it since."""
    session = context.session
    row = session.execute(
        select(Draft, Conversation)
        .join(Conversation, Conversation.id == Draft.conversation_id)
        .where(Draft.id == draft_id, Draft.conversation_id == conversation_id, Draft.question != "")
        .options(joinedload(Conversation.customer), load_only(Draft.question, Draft.answers_sequence))
    ).one_or_none()
    if row is None:
        return
    found, conversation = row
    asked = found.answers_sequence
    words = _redacted(conversation.customer, found.question)
    embedders = vectors.wanted(session, context.cairnloop.hooks)
    context.release()
    made = _embed(embedders, words)
    person = _still_known(session, conversation.customer_id)
    if person is not None and not memory.answered_from(session, conversation_id, asked):
        kept = memory.remember(session, conversation_id, person, asked, words, ())
        _keep_vectors(session, kept, made, embedders)
        _keep_gap(session, words, GapSource.DRAFT, GapReason.DISCARDED, conversation_id)


def _keep_edited(session: Session, reply: Message) -> None:
    """Keep the question of a draft of which an operator changed most before it was sent."""
    if reply.draft_id is None:
        return
    found = session.execute(
        select(Draft.question, Draft.changed).where(Draft.id == reply.draft_id, Draft.kind == DraftKind.REPLY)
    ).one_or_none()
    if found is not None and (found.changed or 0.0) >= HEAVILY:
        _keep_gap(session, found.question, GapSource.DRAFT, GapReason.EDITED, reply.conversation_id)


def _keep_gap(session: Session, asked: str, source: GapSource, reason: GapReason, conversation_id: int) -> None:
    if is_question(asked):
        actor = lifecycle.SYSTEM
        record_gap(session, asked, source=source, reason=reason, actor=actor, conversation_id=conversation_id)


def _rests_on_articles(session: Session, conversation_id: int) -> bool:
    """Whether any reply of a conversation cites an article, or links to one."""
    replies = select(Message).where(Message.conversation_id == conversation_id, Message.kind == MessageKind.REPLY)
    return any(_cited(session, reply) for reply in session.scalars(replies.order_by(Message.sequence)))


def _cited(session: Session, reply: Message) -> list[int]:
    """The articles that a reply rests on: its draft's sources, and those whose address stands in it."""
    if reply.draft_id is not None:
        kind = session.scalar(select(Draft.kind).where(Draft.id == reply.draft_id))
        if kind is not DraftKind.REPLY:
            return []
    cited = {int(citation["article_id"]) for citation in reply.data.get("citations", ())}
    if links := {link.rstrip(".,;:!?") for link in LINK.findall(reply.body)}:
        cited.update(session.scalars(select(Article.id).where(Article.source_url.in_(links))))
    return sorted(cited)


def _newest_words(session: Session, conversation_id: int, before: int) -> int | None:
    """Sequence of the customer's newest words before a message."""
    return session.scalar(
        select(Message.sequence)
        .where(
            Message.conversation_id == conversation_id,
            Message.kind == MessageKind.CUSTOMER,
            Message.sequence < before,
        )
        .order_by(Message.sequence.desc())
        .limit(1)
    )


@job(LEARN_CASE, max_attempts=3, timeout=TIMEOUT)
def learn_case(context: JobContext, *, conversation_id: int) -> None:
    """Keep how a conversation was answered, while it stays resolved.

    Where no answer cited an article, its question is one that no article answers.
    """
    session = context.session
    conversation = session.scalars(
        select(Conversation).where(Conversation.id == conversation_id).options(joinedload(Conversation.customer))
    ).one_or_none()
    answer = None if conversation is None else _answer(session, conversation_id)
    if conversation is None or answer is None:
        return
    asked = session.execute(
        select(PastQuestion.sequence, PastQuestion.question)
        .where(PastQuestion.conversation_id == conversation_id)
        .order_by(PastQuestion.sequence)
        .limit(1)
    ).one_or_none()
    answered = _newest_words(session, conversation_id, answer.sequence)
    if asked is None and answered is None:
        return
    by_hand = not answer.automatic and not _rests_on_articles(session, conversation_id)
    person, title, resolution = conversation.customer, conversation.subject, answer.body
    title, resolution = _redacted(person, title), _redacted(person, resolution)
    if asked is None:
        read = question.read(session, conversation, before=_first_reply(session, conversation_id))
        words, embedders = _redacted(person, read.question), vectors.wanted(session, context.cairnloop.hooks)
    else:
        words, embedders = asked.question, []
    context.release()
    made = _embed(embedders, words)
    known = _still_known(session, conversation.customer_id)
    now_resolved = _resolved_at(session, conversation_id)
    if known is None or now_resolved is None:
        return
    sequence = answered if asked is None else asked.sequence
    kept = memory.remember(session, conversation_id, known, int(sequence or 0), words, ())
    _keep_vectors(session, kept, made, embedders)
    memory.keep_case(session, conversation_id, kept, title, resolution, now_resolved)
    if by_hand:
        _keep_gap(session, words, GapSource.REPLY, GapReason.BY_HAND, conversation_id)


def _answer(session: Session, conversation_id: int) -> Message | None:
    """The reply that tells most: the newest one with sources, as the last words are often only kind ones."""
    in_words = (Message.kind == MessageKind.REPLY, Message.body != "")  # a file alone tells nobody how it went
    replies = select(Message).where(Message.conversation_id == conversation_id, *in_words)
    with_sources = func.jsonb_exists(Message.data, "citations")
    return session.scalars(replies.order_by(with_sources.desc(), Message.sequence.desc()).limit(1)).one_or_none()


def _first_reply(session: Session, conversation_id: int) -> int | None:
    """Sequence of the first reply that was no question of ours."""
    return session.scalar(
        select(Message.sequence)
        .outerjoin(Draft, Draft.id == Message.draft_id)
        .where(
            Message.conversation_id == conversation_id,
            Message.kind == MessageKind.REPLY,
            Draft.kind.is_distinct_from(DraftKind.CLARIFICATION),
        )
        .order_by(Message.sequence)
        .limit(1)
    )


def _resolved_at(session: Session, conversation_id: int) -> datetime | None:
    """Since when the conversation is over, and stays so until this transaction ends; ``None`` when it goes on."""
    return session.scalar(
        select(Conversation.resolved_at)
        .where(Conversation.id == conversation_id, Conversation.status == ConversationStatus.RESOLVED)
        .with_for_update(read=True)
    )


def _redacted(person: CustomerRecord, text: str) -> str:
    names = names_of(ref=person.ref, name=person.name, email=person.email, organization=person.organization)
    return redact(text, names=names)


def _embed(embedders: Sequence[Embedder], words: str) -> dict[str, list[float]]:
    """The vector by each model. What cannot be embedded now is kept without, and embedded by a later job."""
    made = {}
    for embedder in embedders:
        try:
            made[embedder.model] = embed(embedder, [words], "query")[0]
        except EmbeddingFailed as fault:
            log.warning("An earlier question is kept without a vector for now: %s", fault)
    return made


def _keep_vectors(
    session: Session, question_id: int, made: dict[str, list[float]], embedders: Sequence[Embedder]
) -> None:
    memory.keep_vectors(session, {model: [(question_id, vector)] for model, vector in made.items()})
    if len(made) < len(embedders):
        memory.ask_for_vectors(session, TRY_AGAIN)


def _still_known(session: Session, customer_id: int) -> int | None:
    """The customer's id, unless they were forgotten; they cannot be until this transaction ends."""
    return session.scalar(
        select(CustomerRecord.id)
        .where(CustomerRecord.id == customer_id, CustomerRecord.forgotten_at.is_(None))
        .with_for_update(read=True)
    )
