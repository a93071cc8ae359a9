"""Whether visitors found articles helpful. Services: they never commit.

A vote is its visitor's, not a decision of the desk: it has no entry in the audit log, and changes the order of results
only a little.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from flask_cairnloop.clock import now
from flask_cairnloop.knowledge.models import ArticleStanding, ArticleVote
from flask_cairnloop.privacy.redactor import redact

COMMENT_LENGTH: Final = 500
# Votes that are taken as given beforehand, half of them yes: few say little (the posterior mean of a symmetric Beta).
BEFOREHAND: Final = 8


@dataclass(frozen=True, slots=True)
class Votes:
    """How many found an article helpful, and how many did not."""

    yes: int = 0
    no: int = 0

    @property
    def standing(self) -> float:
        """From -1, unhelpful, to 1; 0 without votes."""
        return (self.yes - self.no) / (self.yes + self.no + BEFOREHAND)


def vote(
    session: Session, article_id: int, revision_id: int, *, visitor: str, helpful: bool, comment: str = ""
) -> None:
    """Keep what a visitor says of a revision, in place of what they said before.

    Args:
        visitor: a digest that stands for them.
        comment: what was missing, of an article that did not help; kept redacted, and cut at its length.
    """
    words = redact(" ".join(comment.replace("\x00", "").split()))[:COMMENT_LENGTH].strip() if not helpful else ""
    said: dict[str, Any] = {"helpful": helpful, "comment": words or None, "voted_at": now()}
    one = insert(ArticleVote).values(article_id=article_id, revision_id=revision_id, visitor=visitor, **said)
    if not helpful and not words:  # the same once more: what they wrote stays
        said["comment"] = ArticleVote.comment
    session.execute(one.on_conflict_do_update(index_elements=["revision_id", "visitor"], set_=said))


def counts(session: Session, article_ids: Collection[int]) -> dict[int, Votes]:
    """Votes of articles, over all their revisions; those that never had one are left out. One query at most."""
    if not article_ids:
        return {}
    rows = session.scalars(select(ArticleStanding).where(ArticleStanding.article_id.in_(article_ids)))
    return {row.article_id: Votes(row.yes, row.no) for row in rows}


def comments(session: Session, article_id: int, limit: int = 5) -> Sequence[ArticleVote]:
    """What visitors said was missing, newest first."""
    said = select(ArticleVote).where(
        ArticleVote.article_id == article_id, ArticleVote.helpful.is_(False), ArticleVote.comment.is_not(None)
    )
    return session.scalars(said.order_by(ArticleVote.voted_at.desc(), ArticleVote.id.desc()).limit(limit)).all()
