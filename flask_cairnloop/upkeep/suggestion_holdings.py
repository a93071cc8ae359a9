"""What suggestions hold about a customer: words of the team that were said to them, and titles that are questions.

What is published has been read by people and is an article; nothing of it goes. Of everything else, what rests on the
customer's conversations goes: paragraphs with their sources, and a title that is their question.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import cast, func, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from flask_cairnloop.conversations.models import Conversation
from flask_cairnloop.database.base import word
from flask_cairnloop.upkeep import clustering, marks, suggestions
from flask_cairnloop.upkeep.article_engine import headline
from flask_cairnloop.upkeep.models import QUESTION_LENGTH, GapEvent, GapQuestion
from flask_cairnloop.upkeep.suggestion_models import (
    ArticleSuggestion,
    SuggestionKind,
    SuggestionQuestion,
    SuggestionState,
)
from flask_cairnloop.upkeep.writing import TO_WRITE, digest_of
from flask_cairnloop.wording import paragraphs

_CASES: Final = word("$[*].conversation_id")
GONE: Final = "What stood here rested on a customer who was forgotten."
UNTITLED: Final = "Untitled"


def forget_suggestions(session: Session, customer_id: int) -> int:
    """Take out what suggestions hold about a customer. Returns of how many.

    Called before their gaps are forgotten. One that nobody has edited is written anew without them.
    """
    clustering.lock(session)
    theirs = set(session.scalars(select(Conversation.id).where(Conversation.customer_id == customer_id)))
    if not theirs:
        return 0
    words = [
        *session.scalars(select(GapEvent.question).where(GapEvent.conversation_id.in_(theirs))),
        *session.scalars(select(SuggestionQuestion.question).where(SuggestionQuestion.conversation_id.in_(theirs))),
    ]
    asked = {marks.fingerprint(headline(question)) for question in words if question}
    rows = _concerned(session, theirs)
    for suggestion in rows:
        _take_out(session, suggestion, theirs, asked)
    session.execute(
        update(ArticleSuggestion)
        .where(ArticleSuggestion.conversation_id.in_(theirs), ArticleSuggestion.state.in_(("rejected", "published")))
        .values(conversation_id=None)
        .execution_options(synchronize_session=False)
    )
    gone = session.scalars(select(SuggestionQuestion).where(SuggestionQuestion.conversation_id.in_(theirs))).all()
    for row in gone:
        session.delete(row)
    session.flush()
    return len(rows)


def export_suggestions(session: Session, customer_id: int) -> list[dict[str, Any]]:
    """What was noted of a customer's conversations to write articles from, as plain values that JSON can carry."""
    theirs = set(session.scalars(select(Conversation.id).where(Conversation.customer_id == customer_id)))
    return [
        {
            "suggestion": suggestion.id,
            "conversation": source["conversation_id"],
            "title": source["title"],
            "words": source["content"],
        }
        for suggestion in _resting(session, theirs)
        for source in suggestion.sources
        if source.get("conversation_id") in theirs
    ]


def _resting(session: Session, conversations: Collection[int]) -> list[ArticleSuggestion]:
    if not conversations:
        return []
    numbers = func.jsonb_path_query_array(ArticleSuggestion.sources, _CASES, type_=JSONB)
    on_any = or_(*(numbers.contains(cast([number], JSONB)) for number in sorted(conversations)))
    return list(session.scalars(select(ArticleSuggestion).where(on_any).order_by(ArticleSuggestion.id)))


def _concerned(session: Session, theirs: Collection[int]) -> list[ArticleSuggestion]:
    """Suggestions that rest on their conversations, came from one, or may be titled with a question of theirs."""
    gaps = (
        select(GapQuestion.candidate_id)
        .join(GapEvent, GapEvent.question_id == GapQuestion.id)
        .where(GapEvent.conversation_id.in_(theirs))
    )
    from_them = or_(ArticleSuggestion.conversation_id.in_(theirs), ArticleSuggestion.candidate_id.in_(gaps))
    found = {row.id: row for row in _resting(session, theirs)}
    found |= {row.id: row for row in session.scalars(select(ArticleSuggestion).where(from_them))}
    ids = sorted(found)
    locked = select(ArticleSuggestion).where(ArticleSuggestion.id.in_(ids)).order_by(ArticleSuggestion.id)
    return list(session.scalars(locked.with_for_update().execution_options(populate_existing=True)))


def _take_out(session: Session, suggestion: ArticleSuggestion, theirs: Collection[int], asked: Collection[str]) -> None:
    gone = {each["number"] for each in suggestion.sources if each.get("conversation_id") in theirs}
    suggestion.sources = [each for each in suggestion.sources if each["number"] not in gone]
    if suggestion.state is SuggestionState.PUBLISHED:
        return
    body, cut = _without(suggestion, gone)
    title = suggestion.title
    if suggestion.kind is SuggestionKind.ARTICLE and marks.fingerprint(title[:QUESTION_LENGTH]) in asked:
        title = UNTITLED if body else ""
    if (title, body) == (suggestion.title, suggestion.body):
        return
    edited, state = suggestions.is_edited(suggestion), suggestion.state
    suggestions.without_words(session, suggestion, title, body, forget_claims=cut)
    anew = not edited and state is not SuggestionState.REJECTED and suggestion.conversation_id not in theirs
    if anew or state is SuggestionState.GENERATING:
        suggestions.write_again(session, suggestion)


def _without(suggestion: ArticleSuggestion, gone: Collection[int]) -> tuple[str, set[str]]:
    """The text without the paragraphs that rest on these sources, and the digests of those.

    What an engine wrote that rests on nothing, such as a heading, may be somebody's question: it goes as well.
    """
    lost = {digest for digest, numbers in suggestion.claims.items() if not numbers or set(numbers) & set(gone)}
    kept = [part for part in paragraphs(suggestion.body) if digest_of(part) not in lost]
    body = "".join(kept).strip()
    return body or (TO_WRITE.format(GONE) if suggestion.body else ""), lost
