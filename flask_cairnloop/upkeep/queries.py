"""What the console reads about questions that no article answers. Every list is read from an index, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.orm import Session, aliased

from flask_cairnloop.errors import NotFound
from flask_cairnloop.upkeep import scoring
from flask_cairnloop.upkeep.models import (
    GapCandidate,
    GapEvent,
    GapHistory,
    GapLink,
    GapQuestion,
    Shelf,
)
from flask_cairnloop.upkeep.scoring import Score

PAGE: Final = 50
QUESTIONS: Final = 20
EVENTS: Final = 30
STEPS: Final = 50
ALIKE: Final = 8


@dataclass(frozen=True, slots=True)
class Row:
    """A candidate in a list.

    Args:
        label: the question in its middle; ``None`` where its words are no longer kept.
    """

    candidate: GapCandidate
    label: str | None
    score: Score


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of a list, and where the next begins."""

    rows: tuple[Row, ...]
    after: tuple[float, int] | None


@dataclass(frozen=True, slots=True)
class Detail:
    """A candidate with everything that its page shows.

    Args:
        events: the newest, each as it was asked.
        history: the newest steps, with the label of the other where one is named.
        alike: those it may be merged into, most alike first.
    """

    row: Row
    questions: tuple[GapQuestion, ...]
    events: tuple[GapEvent, ...]
    history: tuple[GapHistory, ...]
    alike: tuple[Row, ...]


def listed(session: Session, shelf: Shelf, at: datetime, after: tuple[float, int] | None = None) -> Listed:
    """The candidates of a shelf, the highest score first. One query.

    Args:
        at: the moment that scores are of.
        after: rank and id of the last row of the page before.
    """
    found = _rows().where(GapCandidate.shelf == shelf)
    if after is not None:
        found = found.where(tuple_(GapCandidate.rank, GapCandidate.id) < after)
    ordered = found.order_by(GapCandidate.rank.desc(), GapCandidate.id.desc()).limit(PAGE + 1)
    rows = [_row(candidate, label, at) for candidate, label in session.execute(ordered)]
    last = rows[PAGE - 1].candidate if len(rows) > PAGE else None
    return Listed(tuple(rows[:PAGE]), None if last is None else (last.rank, last.id))


def shelf_counts(session: Session) -> dict[Shelf, int]:
    """How many candidates stand on each shelf. One query, by the index alone."""
    counted = select(GapCandidate.shelf, func.count()).group_by(GapCandidate.shelf)
    return {row[0]: row[1] for row in session.execute(counted)}


def uncounted(session: Session, before: datetime) -> int:
    """How many events were kept before a time and belong to no candidate yet, a thousand at most. One query."""
    waiting = select(GapEvent.id).where(GapEvent.question_id.is_(None), GapEvent.occurred_at < before).limit(1_000)
    return session.scalar(select(func.count()).select_from(waiting.subquery())) or 0


def detail(session: Session, candidate_id: int, at: datetime) -> Detail:
    """A candidate with its questions, its newest events and its history. Five queries.

    Raises:
        NotFound: there is no such candidate.
    """
    found = session.execute(_rows().where(GapCandidate.id == candidate_id)).one_or_none()
    if found is None:
        raise NotFound("There is no such gap.")
    of_it = GapQuestion.candidate_id == candidate_id
    questions = session.scalars(
        select(GapQuestion).where(of_it).order_by(GapQuestion.events.desc(), GapQuestion.id).limit(QUESTIONS)
    ).all()
    events = session.scalars(
        select(GapEvent)
        .where(GapEvent.question_id.in_(select(GapQuestion.id).where(of_it)))
        .order_by(GapEvent.id.desc())
        .limit(EVENTS)
    ).all()
    history = session.scalars(
        select(GapHistory).where(GapHistory.candidate_id == candidate_id).order_by(GapHistory.id.desc()).limit(STEPS)
    ).all()
    return Detail(
        _row(found[0], found[1], at), tuple(questions), tuple(events), tuple(history), alike(session, candidate_id, at)
    )


def alike(session: Session, candidate_id: int, at: datetime) -> tuple[Row, ...]:
    """The candidates whose questions are most alike this one's, without those that are over."""
    own, other = aliased(GapQuestion), aliased(GapQuestion)
    near = (
        select(other.candidate_id, func.sum(GapLink.likeness).label("alike"))
        .join(own, own.id == GapLink.question_id)
        .join(other, other.id == GapLink.other_id)
        .where(own.candidate_id == candidate_id, other.candidate_id != candidate_id)
        .group_by(other.candidate_id)
        .subquery()
    )
    found = _rows().join(near, near.c.candidate_id == GapCandidate.id)
    ordered = found.order_by(near.c.alike.desc(), GapCandidate.id).limit(ALIKE)
    return tuple(_row(candidate, label, at) for candidate, label in session.execute(ordered))


def _rows() -> Select[GapCandidate, str | None]:
    return select(GapCandidate, GapQuestion.question).outerjoin(GapQuestion, GapQuestion.id == GapCandidate.label_id)


def _row(candidate: GapCandidate, label: str | None, at: datetime) -> Row:
    score = scoring.score(candidate.events, candidate.askers, candidate.kinds, candidate.last_at, at)
    return Row(candidate, label, score)
