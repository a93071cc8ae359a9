"""What the console reads about articles: a keyset-paged list, the words of one, and how they became what they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, cast, exists, func, literal, or_, select, tuple_, union_all
from sqlalchemy.dialects.postgresql import REGCONFIG
from sqlalchemy.orm import Session, defer

from flask_cairnloop.context import current
from flask_cairnloop.database.base import quoted_schema, raw
from flask_cairnloop.database.words import beginnings
from flask_cairnloop.errors import NotFound
from flask_cairnloop.files.models import File
from flask_cairnloop.knowledge.models import (
    TITLE_TERMS,
    Article,
    ArticleFile,
    ArticleState,
    Audience,
    Revision,
    RevisionState,
)
from flask_cairnloop.paging import Cursor
from flask_cairnloop.retrieval.models import Chunk, PastAnswer

PAGE_SIZE = 50
READ = 500  # of the articles that the index on titles found

_BY_TITLE = "SELECT id FROM {schema}.articles WHERE {title} @@ to_tsquery('simple', :wanted) LIMIT :read".replace(
    "{title}", TITLE_TERMS
)
CHOICES = 200  # categories, tags and languages that a list offers to choose from, those of most articles first
QUERY_LENGTH = 200  # characters of a search that are looked at
USES = 100  # articles of which a file's page is told that they use it
HISTORY = 50  # revisions on a page


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which articles a list shows. What is ``None`` or empty narrows nothing.

    Args:
        words: found in title, slug, category or tags as they are, or in the text as a search would.
    """

    state: ArticleState | None = None
    words: str = ""
    audience: Audience | None = None
    category: str | None = None
    tag: str | None = None
    language: str | None = None

    @property
    def narrowed(self) -> bool:
        """Whether anything but the state narrows it."""
        return bool(self.words or self.audience or self.category or self.tag or self.language)


EVERYTHING = Wanted()


@dataclass(frozen=True, slots=True)
class ArticlePage:
    """One page of a list.

    Args:
        after: where the next page starts; ``None`` on the last one.
        drafts: ids of those that have a draft beside what is published.
        used: in how many answers each was cited.
    """

    articles: tuple[Article, ...]
    after: Cursor | None
    drafts: frozenset[int] = frozenset()
    used: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choices:
    """What there is to choose from, each with how many articles have it."""

    categories: tuple[tuple[str, int], ...]
    tags: tuple[tuple[str, int], ...]
    languages: tuple[tuple[str, int], ...]


def article_page(
    session: Session, wanted: Wanted = EVERYTHING, *, after: Cursor | None = None, limit: int = PAGE_SIZE
) -> ArticlePage:
    """One page of the articles that are wanted, newest change first. One query."""
    drafted = exists().where(Revision.article_id == Article.id, Revision.state == RevisionState.DRAFT)
    used = select(func.count()).where(PastAnswer.article_id == Article.id).scalar_subquery()
    statement = select(Article, drafted, used).order_by(Article.updated_at.desc(), Article.id.desc()).limit(limit + 1)
    statement = statement.where(*_conditions(wanted))
    if wanted.state is not None:
        statement = statement.where(Article.state == wanted.state)
    if after is not None:
        statement = statement.where(tuple_(Article.updated_at, Article.id) < tuple_(after.at, after.id))
    found = session.execute(statement).all()
    articles = tuple(row[0] for row in found[:limit])
    return ArticlePage(
        articles,
        Cursor(articles[-1].updated_at, articles[-1].id) if len(found) > limit else None,
        frozenset(row[0].id for row in found if row[1] and row[0].state is not ArticleState.DRAFT),
        {row[0].id: row[2] for row in found},
    )


def counts(session: Session, wanted: Wanted = EVERYTHING) -> dict[ArticleState, int]:
    """How many of the articles that are wanted are in each state. One query."""
    statement = select(Article.state, func.count()).where(*_conditions(wanted)).group_by(Article.state)
    return dict.fromkeys(ArticleState, 0) | {row[0]: row[1] for row in session.execute(statement)}


def choices(session: Session) -> Choices:
    """Categories, tags and languages of all articles. One query."""
    tag = select(func.unnest(Article.tags).label("tag")).subquery().c.tag
    parts = [
        select(literal(name).label("what"), value.label("value"), func.count().label("number"))
        .where(value.is_not(None))
        .group_by(value)
        .order_by(func.count().desc(), value)
        .limit(CHOICES)
        for name, value in (
            ("category", Article.category),
            ("tag", tag),
            ("language", Article.language),
        )
    ]
    found: dict[str, list[tuple[str, int]]] = {"category": [], "tag": [], "language": []}
    for what, value, number in session.execute(union_all(*(select(part.subquery()) for part in parts))):
        found[what].append((value, number))
    return Choices(*(tuple(sorted(found[name], key=lambda pair: pair[0].casefold())) for name in found))


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    """Everything but the state."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.audience is not None:
        conditions.append(Article.audience == wanted.audience)
    if wanted.category:
        conditions.append(Article.category == wanted.category)
    if wanted.language:
        conditions.append(Article.language == wanted.language)
    if wanted.tag:
        conditions.append(Article.tags.contains([wanted.tag]))
    words = " ".join(wanted.words.replace("\x00", " ").split())[:QUERY_LENGTH]
    if words:
        conditions.append(_said(words))
    return conditions


def _said(words: str) -> ColumnElement[bool]:
    """Whether an article says this: in what describes it, in published passages, or in its draft."""
    asked = func.websearch_to_tsquery(cast(current().settings.search_language, REGCONFIG), words)
    passages = select(Chunk.article_id).where(Chunk.terms.op("@@")(asked))
    draft = select(Revision.article_id).where(
        Revision.state == RevisionState.DRAFT,
        or_(Revision.title.icontains(words, autoescape=True), Revision.body.icontains(words, autoescape=True)),
    )
    return or_(
        Article.title.icontains(words, autoescape=True),
        Article.slug.icontains(words, autoescape=True),
        Article.category.icontains(words, autoescape=True),
        func.array_to_string(Article.tags, " ").icontains(words, autoescape=True),
        Article.id.in_(passages),
        Article.id.in_(draft),
    )


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


def draft_to_read(session: Session, article_id: int) -> Revision | None:
    """An article's draft without its words, if it has one. One query."""
    return session.scalars(
        select(Revision)
        .where(Revision.article_id == article_id, Revision.state == RevisionState.DRAFT)
        .options(defer(Revision.body, raiseload=True))
    ).one_or_none()


def article_to_edit(session: Session, article_id: int) -> tuple[Article, Revision, Revision | None]:
    """An article, the words to go on writing (its draft, else those that were published), and the published revision.

    Two queries at the most.

    Raises:
        NotFound: there is no such article.
    """
    found = session.execute(
        select(Article, Revision)
        .join(Revision, Revision.article_id == Article.id)
        .where(Article.id == article_id, Revision.state != RevisionState.SUPERSEDED)
        .order_by((Revision.state == RevisionState.DRAFT).desc())
    ).all()
    if not found:
        raise NotFound("There is no such article.")
    article, newest = found[0]
    return article, newest, next((row[1] for row in found if row[1].state is RevisionState.PUBLISHED), None)


def history(
    session: Session, article_id: int, *, before: int | None = None, limit: int = HISTORY
) -> tuple[Article, Sequence[Revision], bool]:
    """An article's revisions without their words, newest first, and whether there are older ones. Two queries.

    Args:
        before: the number of the revision that the page before ended with.

    Raises:
        NotFound: there is no such article.
    """
    article = session.get(Article, article_id)
    if article is None:
        raise NotFound("There is no such article.")
    statement = (
        select(Revision)
        .where(Revision.article_id == article_id)
        .order_by(Revision.number.desc())
        .limit(limit + 1)
        .options(defer(Revision.body, raiseload=True))
    )
    if before is not None:
        statement = statement.where(Revision.number < before)
    found = session.scalars(statement).all()
    return article, found[:limit], len(found) > limit


def bodies(session: Session, article_id: int, numbers: Iterable[int]) -> dict[int, Revision]:
    """Revisions of an article with their words, by their numbers. One query."""
    statement = select(Revision).where(Revision.article_id == article_id, Revision.number.in_(list(numbers)))
    return {found.number: found for found in session.scalars(statement.execution_options(populate_existing=True))}


def standing(session: Session, ids: Iterable[int], slugs: Iterable[str]) -> dict[int | str, tuple[int, ArticleState]]:
    """Id and state of articles by what links call them: their ids, or their slugs. One query."""
    ids, slugs = list(ids), list(slugs)
    if not ids and not slugs:
        return {}
    statement = select(Article.id, Article.slug, Article.state).where(or_(Article.id.in_(ids), Article.slug.in_(slugs)))
    found: dict[int | str, tuple[int, ArticleState]] = {}
    for id_, slug, state in session.execute(statement):
        found[id_] = found[slug] = (id_, state)
    return found


@dataclass(frozen=True, slots=True)
class Use:
    """An article of which some revision uses a file.

    Args:
        public: whether anybody may read the words that use it: published now, and written for customers.
        current: whether its draft, or what is published of it, uses it; else only an older version does.
    """

    article_id: int
    title: str
    tags: tuple[str, ...]
    public: bool
    current: bool


def uses(session: Session, file_ids: Iterable[int]) -> dict[int, list[Use]]:
    """The articles that use each of these files, those that show it now first. One query at most."""
    ids = list(file_ids)
    if not ids:
        return {}
    published = (Revision.state == RevisionState.PUBLISHED) & (Article.state == ArticleState.PUBLISHED)
    public = func.bool_or(published & (Article.audience == Audience.PUBLIC))
    current = func.bool_or(Revision.state != RevisionState.SUPERSEDED)
    rows = session.execute(
        select(ArticleFile.file_id, Article.id, Article.title, Article.tags, public, current)
        .join(Revision, Revision.id == ArticleFile.revision_id)
        .join(Article, Article.id == Revision.article_id)
        .where(ArticleFile.file_id.in_(ids))
        .group_by(ArticleFile.file_id, Article.id)
        .order_by(public.desc(), current.desc(), Article.id)
        .limit(USES * len(ids))
    )
    found: dict[int, list[Use]] = {}
    for file_id, article_id, title, tags, is_public, is_current in rows:
        found.setdefault(file_id, []).append(Use(article_id, title, tuple(tags), is_public, is_current))
    return found


def files_of(session: Session, article_id: int) -> list[File]:
    """The files that an article's draft, or what is published of it, shows or links to. One query."""
    used = (
        select(ArticleFile.file_id)
        .join(Revision, Revision.id == ArticleFile.revision_id)
        .where(Revision.article_id == article_id, Revision.state != RevisionState.SUPERSEDED)
    )
    return list(session.scalars(select(File).where(File.id.in_(used)).order_by(File.name, File.id)))
