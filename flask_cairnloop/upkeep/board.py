"""How well the published articles answer, over time: what the knowledge base can be judged by, and steered with.

Counted is what asked the articles and left a row: every draft that was made, with what was found for it, and every
question that was kept because nothing answered it. What somebody looked up and found leaves none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session, aliased

from flask_cairnloop.drafting import quality
from flask_cairnloop.drafting.models import Draft
from flask_cairnloop.drafting.quality import Quality
from flask_cairnloop.knowledge.models import Article, ArticleStanding, ArticleState, Revision
from flask_cairnloop.retrieval.models import PastAnswer
from flask_cairnloop.retrieval.types import Strength
from flask_cairnloop.upkeep.models import GapCandidate, GapEvent, GapQuestion
from flask_cairnloop.upkeep.suggestion_models import ArticleSuggestion

MOST: Final = 10  # rows of a list
SETTLED: Final = timedelta(days=30)  # an article younger than this has had no time to be used
FEWEST: Final = 3  # decided drafts, from which an article is judged by them


@dataclass(frozen=True, slots=True)
class Span:
    """One step of a time: how many questions the articles answered surely, in part, and not at all."""

    begins: datetime
    answered: int = 0
    partly: int = 0
    unanswered: int = 0

    @property
    def asked(self) -> int:
        return self.answered + self.partly + self.unanswered


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A gap, how often it was asked in a time, and in the time of the same length before."""

    candidate_id: int
    label: str | None
    asked: int
    before: int


@dataclass(frozen=True, slots=True)
class Unused:
    """A published article that nothing rested on. Votes are those of visitors, ever."""

    article_id: int
    title: str
    published_at: datetime
    yes: int
    no: int


@dataclass(frozen=True, slots=True)
class Reworked:
    """An article whose drafts people change or throw away.

    Args:
        decided: drafts citing it that somebody decided on.
        share: of them, those changed or thrown away.
        changed: median share of words changed in those sent with changes.
    """

    article_id: int
    title: str
    decided: int
    edited: int
    discarded: int
    changed: float | None

    @property
    def share(self) -> float:
        return (self.edited + self.discarded) / self.decided


@dataclass(frozen=True, slots=True)
class Publication:
    """What a suggestion that was published has come to.

    Args:
        since: how often its gap was asked since.
        cited: drafts of the time that rest on the article.
    """

    suggestion: ArticleSuggestion
    title: str
    since: int
    cited: int


@dataclass(frozen=True, slots=True)
class Board:
    """All of it for a time."""

    spans: tuple[Span, ...]
    fates: Quality
    unanswered: tuple[Unanswered, ...]
    unused: tuple[Unused, ...]
    reworked: tuple[Reworked, ...]
    publications: tuple[Publication, ...]

    @property
    def total(self) -> Span:
        return Span(
            self.spans[0].begins,
            sum(span.answered for span in self.spans),
            sum(span.partly for span in self.spans),
            sum(span.unanswered for span in self.spans),
        )


def board(session: Session, *, since: datetime, until: datetime, step: timedelta) -> Board:
    """Everything about a time. Eight queries, each over what happened in it.

    Args:
        since, until: from the one moment, up to the other without it.
        step: of one span.
    """
    by_article = quality.by_article(session, since=since, until=until)
    engines = quality.by_engine(session, since=since, until=until).values()
    return Board(
        _spans(session, since, until, step),
        _together(engines),
        _unanswered(session, since, until),
        _unused(session, since, min(since, until - SETTLED), set(by_article)),
        _reworked(session, by_article),
        _publications(session, since, until, by_article),
    )


def _spans(session: Session, since: datetime, until: datetime, step: timedelta) -> tuple[Span, ...]:
    seconds = step.total_seconds()
    place = func.floor(func.extract("epoch", Draft.created_at - since) / seconds)
    counted = (
        select(place.label("place"), Draft.grounding, func.count().label("drafts"))
        .where(Draft.created_at >= since, Draft.created_at < until, Draft.grounding.is_not(None))
        .group_by("place", Draft.grounding)
    )
    found: dict[int, dict[Strength, int]] = {}
    for row in session.execute(counted):
        found.setdefault(int(row.place), {})[row.grounding] = row.drafts
    spans = []
    for number in range(max(1, round((until - since) / step + 0.499))):
        of_it = found.get(number, {})
        strengths = (of_it.get(strength, 0) for strength in (Strength.STRONG, Strength.PARTIAL, Strength.NONE))
        spans.append(Span(since + number * step, *strengths))
    return tuple(spans)


def _together(engines: Collection[Quality]) -> Quality:
    """What became of the drafts of all engines."""
    discarded: dict[str, int] = {}
    for each in engines:
        for reason, count in each.discarded.items():
            discarded[reason] = discarded.get(reason, 0) + count
    names = ("made", "escalated", "approved", "automatic", "edited", "superseded", "withheld")
    sums: dict[str, Any] = {name: sum(getattr(each, name) for each in engines) for name in names}
    return Quality(**sums, discarded=discarded)


def _unanswered(session: Session, since: datetime, until: datetime) -> tuple[Unanswered, ...]:
    label = aliased(GapQuestion)
    now_asked = func.coalesce(func.sum(case((GapEvent.occurred_at >= since, GapEvent.times))), 0).label("asked")
    before = func.coalesce(func.sum(case((GapEvent.occurred_at < since, GapEvent.times))), 0).label("before")
    counted = (
        select(GapQuestion.candidate_id, now_asked, before)
        .join(GapEvent, GapEvent.question_id == GapQuestion.id)
        .where(GapEvent.occurred_at >= since - (until - since), GapEvent.occurred_at < until)
        .group_by(GapQuestion.candidate_id)
        .subquery()
    )
    rows = session.execute(
        select(counted.c.candidate_id, label.question, counted.c.asked, counted.c.before)
        .join(GapCandidate, GapCandidate.id == counted.c.candidate_id)
        .outerjoin(label, label.id == GapCandidate.label_id)
        .where(counted.c.asked > 0)
        .order_by(counted.c.asked.desc(), counted.c.candidate_id)
        .limit(MOST)
    )
    return tuple(Unanswered(row.candidate_id, row.question, int(row.asked), int(row.before)) for row in rows)


def _unused(session: Session, since: datetime, before: datetime, cited: Collection[int]) -> tuple[Unused, ...]:
    answered = set(session.scalars(select(PastAnswer.article_id).where(PastAnswer.created_at >= since).distinct()))
    first = (
        select(func.min(Revision.published_at))
        .where(Revision.article_id == Article.id)
        .correlate(Article)
        .scalar_subquery()
        .label("first")
    )
    rows = session.execute(
        select(Article.id, Article.title, first, ArticleStanding.yes, ArticleStanding.no)
        .outerjoin(ArticleStanding, ArticleStanding.article_id == Article.id)
        .where(
            Article.state == ArticleState.PUBLISHED,
            Article.id.not_in(answered | set(cited)),
            first < before,
        )
        .order_by(first, Article.id)
        .limit(MOST)
    )
    return tuple(Unused(row.id, row.title, row.first, row.yes or 0, row.no or 0) for row in rows)


def _reworked(session: Session, by_article: Mapping[int, Quality]) -> tuple[Reworked, ...]:
    judged = {}
    for article_id, of_it in by_article.items():
        decided = of_it.approved + of_it.edited + of_it.thrown_away
        if decided >= FEWEST and of_it.edited + of_it.thrown_away:
            judged[article_id] = (decided, of_it)
    titles = {
        row.id: row.title for row in session.execute(select(Article.id, Article.title).where(Article.id.in_(judged)))
    }
    found = [
        Reworked(article_id, titles[article_id], decided, of_it.edited, of_it.thrown_away, of_it.changed)
        for article_id, (decided, of_it) in judged.items()
        if article_id in titles
    ]
    return tuple(sorted(found, key=lambda each: (-each.share, -each.decided, each.article_id))[:MOST])


def _publications(
    session: Session, since: datetime, until: datetime, by_article: Mapping[int, Quality]
) -> tuple[Publication, ...]:
    asked_since = (
        select(func.coalesce(func.sum(GapEvent.times), 0))
        .join(GapQuestion, GapQuestion.id == GapEvent.question_id)
        .where(
            GapQuestion.candidate_id == ArticleSuggestion.candidate_id,
            GapEvent.occurred_at > ArticleSuggestion.published_at,
        )
        .correlate(ArticleSuggestion)
        .scalar_subquery()
    )
    rows = session.execute(
        select(ArticleSuggestion, Article.title, asked_since)
        .join(Article, Article.id == ArticleSuggestion.article_id)
        .where(ArticleSuggestion.published_at >= since, ArticleSuggestion.published_at < until)
        .order_by(ArticleSuggestion.published_at.desc(), ArticleSuggestion.id.desc())
        .limit(MOST)
    )
    nothing = Quality()
    return tuple(
        Publication(row[0], row[1], int(row[2]), by_article.get(row[0].article_id, nothing).made) for row in rows
    )
