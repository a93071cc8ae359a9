"""What customers said of the help over a time, as the console reports it. A fixed number of queries, by the indexes of
``ratings``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, func, select, tuple_
from sqlalchemy.orm import Session

from flask_cairnloop.conversations.models import Conversation, ConversationTag, CustomerRecord, Rating, Tag
from flask_cairnloop.paging import Cursor

FEW: Final = 5  # fewer ratings have no average: one of them would move it by most of a point
COMMENTS: Final = 25  # on a page
GROUPS: Final = 50


@dataclass(frozen=True, slots=True)
class Tally:
    """Ratings, counted.

    Args:
        scores: how many of each, from 1 to 5.
    """

    scores: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)

    @property
    def count(self) -> int:
        return sum(self.scores)

    @property
    def mean(self) -> float | None:
        """The average; ``None`` where there are too few to have one."""
        if self.count < FEW:
            return None
        return sum(score * number for score, number in enumerate(self.scores, 1)) / self.count

    def up_to(self, score: int) -> int:
        """How many are no better than this."""
        return sum(self.scores[:score])


@dataclass(frozen=True, slots=True)
class Span:
    """One step of a time: a day or more."""

    begins: datetime
    tally: Tally


@dataclass(frozen=True, slots=True)
class Report:
    """Ratings of a time.

    Args:
        asked: how many customers were asked in it, whether they answered or not.
        answered: how many of those have.
        spans: oldest first, those without a rating among them.
        people: by the id of who had the conversation when it was resolved; their names; the most rated first.
        tags: by the name of the tag.
    """

    tally: Tally
    asked: int
    answered: int
    spans: Sequence[Span]
    people: Sequence[tuple[str, str, Tally]]
    tags: Sequence[tuple[str, Tally]]


@dataclass(frozen=True, slots=True)
class Said:
    """A comment, with the conversation it is about and its customer."""

    rating: Rating
    conversation: Conversation
    customer: CustomerRecord


def report(session: Session, *, since: datetime, until: datetime, step: timedelta) -> Report:
    """What was said in a time. Four queries."""
    given = (Rating.score.is_not(None), Rating.rated_at >= since, Rating.rated_at < until)
    seconds = int(step.total_seconds())
    number = func.floor(func.extract("epoch", Rating.rated_at - since) / seconds)
    by_step: dict[int, Tally] = {
        int(row[0]): _tally(row[1:])
        for row in session.execute(select(number, *_scores()).where(*given).group_by(number))
    }
    steps = -(-int((until - since).total_seconds()) // seconds)
    asked, answered = session.execute(
        select(func.count(), func.count(Rating.score)).where(Rating.asked_at >= since, Rating.asked_at < until)
    ).one()
    name = func.max(Rating.assignee_name)
    people = session.execute(
        select(Rating.assignee_id, name, *_scores())
        .where(*given, Rating.assignee_id.is_not(None))
        .group_by(Rating.assignee_id)
        .order_by(func.count().desc(), Rating.assignee_id)
        .limit(GROUPS)
    )
    tags = session.execute(
        select(Tag.name, *_scores())
        .join(ConversationTag, ConversationTag.conversation_id == Rating.conversation_id)
        .join(Tag, Tag.id == ConversationTag.tag_id)
        .where(*given)
        .group_by(Tag.id, Tag.name)
        .order_by(func.count().desc(), Tag.name)
        .limit(GROUPS)
    )
    return Report(
        tally=_sum(by_step.values()),
        asked=asked,
        answered=answered,
        spans=[Span(since + step * at, by_step.get(at, Tally())) for at in range(steps)],
        people=[(row[0], row[1] or row[0], _tally(row[2:])) for row in people],
        tags=[(row[0], _tally(row[1:])) for row in tags],
    )


def comments(
    session: Session, *, since: datetime, until: datetime, up_to: int = 5, after: Cursor | None = None
) -> list[Said]:
    """Comments of a time, newest first, one more than a page holds. One query.

    Args:
        up_to: only beside ratings that are no better than this.
    """
    statement = (
        select(Rating, Conversation, CustomerRecord)
        .join(Conversation, Conversation.id == Rating.conversation_id)
        .join(CustomerRecord, CustomerRecord.id == Conversation.customer_id)
        .where(Rating.comment.is_not(None), Rating.rated_at >= since, Rating.rated_at < until, Rating.score <= up_to)
        .order_by(Rating.rated_at.desc(), Rating.id.desc())
        .limit(COMMENTS + 1)
    )
    if after is not None:
        statement = statement.where(tuple_(Rating.rated_at, Rating.id) < tuple_(after.at, after.id))
    return [Said(*row) for row in session.execute(statement)]


def _scores() -> list[ColumnElement[Any]]:
    return [func.count().filter(Rating.score == score) for score in range(1, 6)]


def _tally(counts: Sequence[Any]) -> Tally:
    one, two, three, four, five = (int(count) for count in counts)
    return Tally((one, two, three, four, five))


def _sum(tallies: Iterable[Tally]) -> Tally:
    columns = zip(*(tally.scores for tally in tallies), strict=True)
    return _tally([sum(numbers) for numbers in columns] or [0] * 5)
