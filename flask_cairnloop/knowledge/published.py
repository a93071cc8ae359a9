"""The published articles as machines read them: listed by number, and whole."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from flask_cairnloop.knowledge.models import Article, ArticleState, Audience, Revision, RevisionState


@dataclass(frozen=True, slots=True)
class Published:
    """An article as a list of them names it. ``size``: of its text, in bytes."""

    id: int
    slug: str
    title: str
    size: int
    published_at: datetime


def page(
    session: Session, *, audience: Audience | None, tags: Collection[str] | None, after: int, limit: int
) -> list[Published]:
    """Articles by number, from the one after a number on. One query.

    Args:
        audience, tags: as of :func:`flask_cairnloop.search`.
    """
    wanted = select(
        Article.id, Article.slug, Revision.title, func.octet_length(Revision.body), Revision.published_at
    ).where(Article.id > after)
    return [
        Published(*row) for row in session.execute(_within(wanted, audience, tags).order_by(Article.id).limit(limit))
    ]


def body(session: Session, slug: str, *, audience: Audience | None, tags: Collection[str] | None) -> str | None:
    """The published words of an article, as Markdown; ``None`` where there is none to be read. One query."""
    if "\x00" in slug or slug.encode(errors="ignore").decode() != slug:  # no row can hold it
        return None
    found: str | None = session.scalar(_within(select(Revision.body).where(Article.slug == slug), audience, tags))
    return found


def _within(statement: Select, audience: Audience | None, tags: Collection[str] | None) -> Any:  # type: ignore[type-arg]
    statement = statement.select_from(Article).join(
        Revision, (Revision.article_id == Article.id) & (Revision.state == RevisionState.PUBLISHED)
    )
    statement = statement.where(Article.state == ArticleState.PUBLISHED)
    if audience is not None:
        statement = statement.where(Article.audience == audience)
    if tags is not None:
        statement = statement.where(Article.tags.overlap(sorted(tags)))
    return statement
