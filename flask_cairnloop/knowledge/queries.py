"""What the console reads about articles: a keyset-paged list, and the words of one."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session, defer

from flask_cairnloop.database.base import quoted_schema, raw
from flask_cairnloop.database.words import beginnings
from flask_cairnloop.errors import NotFound
from flask_cairnloop.knowledge.models import TITLE_TERMS, Article, ArticleState, Revision, RevisionState
from flask_cairnloop.paging import Cursor

PAGE_SIZE = 50
READ = 500  # of the articles that the index on titles found

_BY_TITLE = "SELECT id FROM {schema}.articles WHERE {title} @@ to_tsquery('simple', :wanted) LIMIT :read".replace(
    "{title}", TITLE_TERMS
)


@dataclass(frozen=True, slots=True)
class ArticlePage:
    articles: tuple[Article, ...]
    after: Cursor | None  # where the next page starts; None on the last one


def article_page(
    session: Session, state: ArticleState | None = None, *, after: Cursor | None = None, limit: int = PAGE_SIZE
) -> ArticlePage:
    """One page of the articles in a state, or of all, newest change first. One query."""
    statement = select(Article).order_by(Article.updated_at.desc(), Article.id.desc()).limit(limit + 1)
    if state is not None:
        statement = statement.where(Article.state == state)
    if after is not None:
        statement = statement.where(tuple_(Article.updated_at, Article.id) < tuple_(after.at, after.id))
    found = tuple(session.scalars(statement))
    articles = found[:limit]
    return ArticlePage(articles, Cursor(articles[-1].updated_at, articles[-1].id) if len(found) > limit else None)


def article_to_read(session: Session, article_id: int) -> tuple[Article, Revision]:
    """An article with its published words, or its draft where nothing was ever published. One query.

    Raises:
        NotFound: there is no such article.
    """
    found = session.execute(
        select(Article, Revision)
        .join(Revision, Revision.article_id == Article.id)
        .where(Article.id == article_id)
        .order_by((Revision.state == RevisionState.PUBLISHED).desc(), Revision.number.desc())
        .limit(1)
    ).first()
    if found is None:
        raise NotFound("There is no such article.")
    return found[0], found[1]


def articles_by_title(session: Session, typed: str, limit: int) -> list[Article]:
    """Articles whose title holds every word that was typed, or begins with it: published ones first. Two queries.

    Args:
        typed: words; the last one may be half of one.
    """
    wanted = beginnings(typed)
    if wanted is None:
        return []
    ids = session.scalars(raw(_BY_TITLE, quoted_schema(session)), {"wanted": wanted, "read": READ}).all()
    published_first = (Article.state == ArticleState.PUBLISHED).desc(), Article.updated_at.desc(), Article.id.desc()
    return list(session.scalars(select(Article).where(Article.id.in_(ids)).order_by(*published_first).limit(limit)))


def revision_of(session: Session, article_id: int, revision_id: int) -> Revision | None:
    """One revision of an article, without its words; ``None`` where it is not this article's."""
    return session.scalars(
        select(Revision)
        .where(Revision.id == revision_id, Revision.article_id == article_id)
        .options(defer(Revision.body, raiseload=True))
    ).one_or_none()
