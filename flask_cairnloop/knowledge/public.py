"""What of the articles anybody may read: published, for customers, and within the tags that the host gives out."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Select, func, select, tuple_
from sqlalchemy.orm import Session

from flask_cairnloop.config import Settings
from flask_cairnloop.database.base import quoted_schema, raw
from flask_cairnloop.errors import NotFound
from flask_cairnloop.hooks import Hooks
from flask_cairnloop.knowledge.models import Article, ArticleStanding, ArticleState, Audience, Revision, RevisionState
from flask_cairnloop.knowledge.votes import BEFOREHAND
from flask_cairnloop.paging import Cursor

PAGE_SIZE: Final = 30
USEFUL: Final = 6
RELATED: Final = 4
SITEMAP_BATCH: Final = 1_000
SITEMAP_LIMIT: Final = 50_000  # addresses in one sitemap, see https://www.sitemaps.org/protocol.html

# What is written and not published yet shows in nothing: its time neither.
_PUBLISHED: Final = (Revision, (Revision.article_id == Article.id) & (Revision.state == RevisionState.PUBLISHED))
Tags = frozenset[str] | None  # all articles, or those with one of these tags


@dataclass(frozen=True, slots=True)
class Shelf:
    """A category, and how many articles are in it. ``name`` is ``None`` for those without one."""

    name: str | None
    count: int


@dataclass(frozen=True, slots=True)
class ShelfPage:
    """One page of a list. ``after``: where the next one starts; ``None`` on the last."""

    articles: tuple[Article, ...]
    after: Cursor | None


def public_tags(settings: Settings, hooks: Hooks) -> Tags:
    """Within which tags anybody may read. Where the host narrows articles by who asks, none, unless it says which."""
    if settings.help_tags:
        return frozenset(settings.help_tags)
    return frozenset() if hooks.configured("ARTICLE_SCOPE") else None


def shelves(session: Session, tags: Tags) -> list[Shelf]:
    """All categories, by name, those without one last. One query."""
    rows = session.execute(_public(select(Article.category, func.count()), tags).group_by(Article.category))
    return sorted((Shelf(*row) for row in rows), key=lambda shelf: (shelf.name is None, (shelf.name or "").casefold()))


def languages(session: Session, tags: Tags) -> list[str]:
    """The languages that articles say they are in, if they are several. One query."""
    wanted = _public(select(Article.language).distinct(), tags).where(Article.language.is_not(None))
    found = sorted(language for language in session.scalars(wanted) if language)
    return found if len(found) > 1 else []


def on_shelf(
    session: Session,
    tags: Tags,
    *,
    category: str | None = None,
    tag: str | None = None,
    language: str | None = None,
    after: Cursor | None = None,
) -> ShelfPage:
    """Articles of a category, of a tag, in a language, or all, those published last first. One query."""
    wanted = _public(select(Article, Revision.published_at), tags).join(*_PUBLISHED)
    wanted = wanted.order_by(Revision.published_at.desc(), Article.id.desc())
    if category is not None:
        wanted = wanted.where(Article.category == category)
    if tag is not None:
        wanted = wanted.where(Article.tags.contains([tag]))
    if language is not None:
        wanted = wanted.where(Article.language == language)
    if after is not None:
        wanted = wanted.where(tuple_(Revision.published_at, Article.id) < tuple_(after.at, after.id))
    found = session.execute(wanted.limit(PAGE_SIZE + 1)).all()
    shown = found[:PAGE_SIZE]
    more = Cursor(shown[-1][1], shown[-1][0].id) if len(found) > PAGE_SIZE else None
    return ShelfPage(tuple(row[0] for row in shown), more)


def useful(session: Session, tags: Tags) -> list[Article]:
    """The articles that visitors found most helpful, then the newest. One query."""
    votes = ArticleStanding.yes + ArticleStanding.no
    standing = (ArticleStanding.yes - ArticleStanding.no) / (votes + float(BEFOREHAND))
    wanted = select(Article).outerjoin(ArticleStanding, ArticleStanding.article_id == Article.id)
    wanted = _public(wanted, tags).join(*_PUBLISHED)
    best_first = func.coalesce(standing, 0.0).desc(), Revision.published_at.desc(), Article.id.desc()
    return list(session.scalars(wanted.order_by(*best_first).limit(USEFUL)))


def by_slug(session: Session, slug: str, tags: Tags) -> tuple[Article, Revision]:
    """An article with its published words. One query.

    Raises:
        NotFound: there is none that anybody may read.
    """
    if "\x00" in slug:
        raise NotFound("There is no such article.")
    found = session.execute(
        _public(select(Article, Revision), tags).join(*_PUBLISHED).where(Article.slug == slug)
    ).one_or_none()
    if found is None:
        raise NotFound("There is no such article.")
    return found[0], found[1]


def slugs(session: Session, article_ids: Collection[int], tags: Tags) -> dict[int, str]:
    """What addresses call those of some articles that anybody may read. One query at most."""
    if not article_ids:
        return {}
    rows = session.execute(_public(select(Article.id, Article.slug), tags).where(Article.id.in_(article_ids)))
    return {article_id: slug for article_id, slug in rows}  # noqa: C416 - rows are no pairs to mypy


_RELATED = """
SELECT id FROM {schema}.articles AS other
WHERE state = 'published' AND audience = 'public' AND id <> :id AND (tags && :mine OR category = :category)
    AND (CAST(:tags AS text[]) IS NULL OR tags && CAST(:tags AS text[]))
ORDER BY (SELECT count(*) FROM unnest(tags) AS tag WHERE tag = ANY(:mine)) DESC,
    (category = :category) DESC NULLS LAST, id DESC
LIMIT :limit
"""


def related(session: Session, article: Article, tags: Tags) -> list[Article]:
    """Articles about the same: with most tags in common, then of its category. Two queries."""
    values = {
        "id": article.id,
        "mine": list(article.tags),
        "category": article.category,
        "tags": None if tags is None else sorted(tags),
        "limit": RELATED,
    }
    ids = list(session.scalars(raw(_RELATED, quoted_schema(session)), values))
    found = {one.id: one for one in session.scalars(select(Article).where(Article.id.in_(ids)))} if ids else {}
    return [found[id_] for id_ in ids if id_ in found]


def everything(session: Session, tags: Tags) -> Iterator[tuple[str, datetime]]:
    """Slug and last change of every public article, for robots."""
    wanted = _public(select(Article.id, Article.slug, Revision.published_at), tags).join(*_PUBLISHED)
    wanted = wanted.order_by(Article.id)
    after, told = 0, 0
    while told < SITEMAP_LIMIT:
        rows = session.execute(wanted.where(Article.id > after).limit(SITEMAP_BATCH)).all()
        for article_id, slug, published_at in rows:
            yield slug, published_at
            after = article_id
        told += len(rows)
        if len(rows) < SITEMAP_BATCH:
            return


def _public(statement: Select, tags: Tags) -> Select:  # type: ignore[type-arg]
    conditions: list[ColumnElement[bool]] = [
        Article.state == ArticleState.PUBLISHED,
        Article.audience == Audience.PUBLIC,
    ]
    if tags is not None:
        conditions.append(Article.tags.overlap(sorted(tags)))
    return statement.where(*conditions)
