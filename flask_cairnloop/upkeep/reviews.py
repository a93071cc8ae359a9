"""What the console reads about suggestions. Every list is read from an index, page by page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.orm import Session, aliased

from flask_cairnloop.errors import NotFound
from flask_cairnloop.knowledge.models import Article, Revision
from flask_cairnloop.paging import Cursor
from flask_cairnloop.upkeep.models import GapCandidate, GapQuestion, Shelf
from flask_cairnloop.upkeep.suggestion_models import (
    ArticleSuggestion,
    SuggestionHistory,
    SuggestionQuestion,
    SuggestionState,
)

PAGE: Final = 30
STEPS: Final = 50
S = SuggestionState


class Lane(StrEnum):
    """Which list a suggestion stands in."""

    REVIEW = "review"  # waits for somebody: to be decided on, resolved, or tried again
    WRITING = "writing"
    APPROVED = "approved"
    CHANGES = "changes"
    DEFERRED = "deferred"
    REJECTED = "rejected"
    PUBLISHED = "published"


STATES: Final[Mapping[Lane, tuple[SuggestionState, ...]]] = {
    Lane.REVIEW: (S.PENDING, S.STALE, S.CONFLICT, S.FAILED),
    Lane.APPROVED: (S.APPROVED,),
    Lane.CHANGES: (S.CHANGES,),
    Lane.WRITING: (S.GENERATING,),
    Lane.DEFERRED: (S.DEFERRED,),
    Lane.REJECTED: (S.REJECTED,),
    Lane.PUBLISHED: (S.PUBLISHED,),
}
LANE_OF: Final = {state: lane for lane, states in STATES.items() for state in states}


@dataclass(frozen=True, slots=True)
class Row:
    """A suggestion in a list.

    Args:
        question: that stands for its gap; ``None`` where it came from a conversation, or the words are no longer kept.
        events: how often that was asked.
        target: title of the published article that it changes.
    """

    suggestion: ArticleSuggestion
    question: str | None
    events: int | None
    target: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a suggestion, with how it was answered before and after."""

    row: SuggestionQuestion
    words: str | None


@dataclass(frozen=True, slots=True)
class Detail:
    """A suggestion with everything that its page shows."""

    row: Row
    base: Revision | None
    questions: tuple[Asked, ...]
    history: tuple[SuggestionHistory, ...]


def listed(
    session: Session, lane: Lane, after: Cursor | None = None, reviewer_id: str | None = None
) -> tuple[tuple[Row, ...], Cursor | None]:
    """The suggestions of a lane, those changed last first, and where the next page begins. One query.

    Args:
        reviewer_id: only those that this operator is to review.
    """
    found = _rows().where(ArticleSuggestion.state.in_(STATES[lane]))
    if reviewer_id is not None:
        found = found.where(ArticleSuggestion.reviewer_id == reviewer_id)
    if after is not None:
        found = found.where(tuple_(ArticleSuggestion.updated_at, ArticleSuggestion.id) < (after.at, after.id))
    ordered = found.order_by(ArticleSuggestion.updated_at.desc(), ArticleSuggestion.id.desc()).limit(PAGE + 1)
    rows = tuple(Row(*row) for row in session.execute(ordered))
    more = rows[PAGE - 1].suggestion if len(rows) > PAGE else None
    return rows[:PAGE], None if more is None else Cursor(more.updated_at, more.id)


def counts(session: Session) -> dict[Lane, int]:
    """How many stand in each lane. One query, by the index alone."""
    counted = select(ArticleSuggestion.state, func.count()).group_by(ArticleSuggestion.state)
    found = dict.fromkeys(Lane, 0)
    for state, number in session.execute(counted):
        found[LANE_OF[state]] += number
    return found


def waiting_count(session: Session) -> int:
    """How many wait for a review: what :func:`listed` lists of :attr:`Lane.REVIEW`. One query, by the index alone."""
    return session.scalar(_waiting()) or 0


def waiting_counts(session: Session) -> tuple[int, int]:
    """How many gaps wait for a decision, and how many suggestions for a review. One query."""
    gaps = select(func.count()).where(GapCandidate.shelf == Shelf.ASKING).scalar_subquery()
    found = session.execute(select(gaps, _waiting().scalar_subquery())).one()
    return found[0], found[1]


def _waiting() -> Select[int]:
    return select(func.count()).where(ArticleSuggestion.state.in_(STATES[Lane.REVIEW]))


def detail(session: Session, suggestion_id: int) -> Detail:
    """A suggestion with its questions, what it began with and its history. Four queries at most.

    Raises:
        NotFound: there is no such suggestion.
    """
    found = session.execute(_rows().where(ArticleSuggestion.id == suggestion_id)).one_or_none()
    if found is None:
        raise NotFound("There is no such suggestion.")
    row = Row(*found)
    asked = session.execute(
        select(SuggestionQuestion, func.coalesce(SuggestionQuestion.question, GapQuestion.question))
        .outerjoin(GapQuestion, GapQuestion.id == SuggestionQuestion.question_id)
        .where(SuggestionQuestion.suggestion_id == suggestion_id)
        .order_by(SuggestionQuestion.id)
    ).all()
    history = session.scalars(
        select(SuggestionHistory)
        .where(SuggestionHistory.suggestion_id == suggestion_id)
        .order_by(SuggestionHistory.id.desc())
        .limit(STEPS)
    ).all()
    base_id = row.suggestion.base_revision_id
    base = None if base_id is None else session.get(Revision, base_id)
    return Detail(row, base, tuple(Asked(each[0], each[1]) for each in asked), tuple(history))


def last_step(session: Session, suggestion_id: int) -> SuggestionHistory | None:
    """What happened to a suggestion last. One query."""
    steps = select(SuggestionHistory).where(SuggestionHistory.suggestion_id == suggestion_id)
    return session.scalars(steps.order_by(SuggestionHistory.id.desc()).limit(1)).one_or_none()


def of_candidate(session: Session, candidate_id: int) -> ArticleSuggestion | None:
    """The newest suggestion for a gap. One query."""
    newest = select(ArticleSuggestion).where(ArticleSuggestion.candidate_id == candidate_id)
    return session.scalars(newest.order_by(ArticleSuggestion.id.desc()).limit(1)).one_or_none()


def published_since(session: Session, since: datetime, limit: int) -> list[Row]:
    """What was published of suggestions from a time on, the newest first. One query."""
    found = _rows().where(ArticleSuggestion.published_at >= since)
    ordered = found.order_by(ArticleSuggestion.published_at.desc(), ArticleSuggestion.id.desc()).limit(limit)
    return [Row(*row) for row in session.execute(ordered)]


def _rows() -> Select[ArticleSuggestion, str | None, int | None, str | None]:
    label = aliased(GapQuestion)
    return (
        select(ArticleSuggestion, label.question, GapCandidate.events, Article.title)
        .outerjoin(GapCandidate, GapCandidate.id == ArticleSuggestion.candidate_id)
        .outerjoin(label, label.id == GapCandidate.label_id)
        .outerjoin(Article, Article.id == ArticleSuggestion.article_id)
    )
