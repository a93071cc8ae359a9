"""What can be done with articles. Every function takes a session, names its actor and never commits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from flask_cairnloop import signals
from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.errors import IllegalTransition, InvalidInput, NotFound
from flask_cairnloop.jobs import publish as publish_event
from flask_cairnloop.jobs import send_signal
from flask_cairnloop.knowledge.models import Article, ArticleState, Audience, Revision, RevisionState
from flask_cairnloop.knowledge.rendering import BODY_LIMIT, render
from flask_cairnloop.retrieval import indexing

TITLE_LIMIT: Final = 300
TAG_LIMIT: Final = 50
_SLUG = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,198}[A-Za-z0-9])?")

__all__ = ["archive", "draft_of", "publish", "published_revision", "reindex", "render", "save_article"]


def save_article(
    session: Session,
    *,
    slug: str,
    title: str,
    body: str,
    actor: Actor,
    category: str | None = None,
    tags: Sequence[str] = (),
    audience: Audience = Audience.PUBLIC,
    language: str | None = None,
    source_url: str | None = None,
) -> Article:
    """Create an article, or bring the one with this slug up to date.

    New words become a draft revision that replaces an earlier draft; the same words as the newest revision make none.
    What describes the article (category, tags, audience, language, source) changes at once.

    Raises:
        InvalidInput: a value is empty, too long or not acceptable.
    """
    title = re.sub(r"[^\S\n]+", " ", title.strip())
    body = plain_lines(body).strip()
    category, language, source_url = (_line(value or "") or None for value in (category, language, source_url))
    tags = list(dict.fromkeys(word for tag in tags if (word := _line(tag))))
    _check(slug, title, body, category, tags, language, source_url)
    moment = now()
    session.execute(
        insert(Article)
        .values(
            slug=slug,
            title=title,
            state=ArticleState.DRAFT,
            audience=audience,
            tags=[],
            created_at=moment,
            updated_at=moment,
        )
        .on_conflict_do_nothing(index_elements=[Article.slug])
    )
    article = session.scalars(
        select(Article).where(Article.slug == slug).with_for_update().execution_options(populate_existing=True)
    ).one()
    described = {
        "category": category,
        "tags": tags,
        "audience": audience,
        "language": language,
        "source_url": source_url,
    }
    changed = sorted(name for name, value in described.items() if getattr(article, name) != value)
    for name in changed:
        setattr(article, name, described[name])
    revised = _revise(session, article, title, body, actor)
    if changed or revised:
        article.updated_at = moment
        record(session, actor, "article.save", "article", article.id, described=changed, revised=revised)
        publish_event(session, "console", "article", article_id=article.id)
    return article


def _line(text: str) -> str:
    return " ".join(text.split())


def plain_lines(text: str) -> str:
    """Text whose lines end as those of our files do: a browser sends others."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def publish(session: Session, article_id: int, *, actor: Actor) -> Revision:
    """Make an article's draft the one that is found; the revision before it is superseded in the same transaction.

    An archived article without a draft comes back with the revision it had.

    Raises:
        NotFound: there is no such article.
        IllegalTransition: there is nothing to publish.
    """
    article = _locked(session, article_id)
    draft = draft_of(session, article_id)
    before = published_revision(session, article_id)
    if draft is None and (before is None or article.state is ArticleState.PUBLISHED):
        raise IllegalTransition("article", "without a new draft", "be published")
    moment = now()
    if draft is not None:
        if before is not None:
            before.state = RevisionState.SUPERSEDED
            session.flush()  # one published revision a time: the old one leaves before the new one comes
        draft.state, draft.published_at = RevisionState.PUBLISHED, moment
    revision = draft or before
    assert revision is not None  # noqa: S101 - one of the two is there, see above
    article.state, article.title, article.updated_at = ArticleState.PUBLISHED, revision.title, moment
    session.flush()
    indexing.request(session, article_id)
    record(session, actor, "article.publish", "article", article_id, revision_id=revision.id, number=revision.number)
    publish_event(session, "console", "article", article_id=article_id)
    send_signal(session, signals.article_published, article_id=article_id, revision_id=revision.id)
    return revision


def archive(session: Session, article_id: int, *, actor: Actor) -> Article:
    """Take a published article out of search at once. Its words stay.

    Raises:
        NotFound: there is no such article.
        IllegalTransition: it is not published.
    """
    article = _locked(session, article_id)
    if article.state is not ArticleState.PUBLISHED:
        raise IllegalTransition("article", article.state.value, "be archived")
    article.state, article.updated_at = ArticleState.ARCHIVED, now()
    session.flush()
    indexing.request(session, article_id)
    record(session, actor, "article.archive", "article", article_id)
    publish_event(session, "console", "article", article_id=article_id)
    return article


def reindex(session: Session, article_id: int, *, actor: Actor) -> None:
    """Ask for an article to be indexed again at once, as after a failure.

    Raises:
        NotFound: there is no such article.
    """
    _locked(session, article_id)
    indexing.request(session, article_id)
    record(session, actor, "article.index", "article", article_id)
    publish_event(session, "console", "article", article_id=article_id)


def draft_of(session: Session, article_id: int) -> Revision | None:
    """The revision being worked on, if there is one."""
    return _revision(session, article_id, RevisionState.DRAFT)


def published_revision(session: Session, article_id: int) -> Revision | None:
    """The revision that was published last, if there is one; found by search while the article is published."""
    return _revision(session, article_id, RevisionState.PUBLISHED)


def _revision(session: Session, article_id: int, state: RevisionState) -> Revision | None:
    return session.scalars(
        select(Revision).where(Revision.article_id == article_id, Revision.state == state)
    ).one_or_none()


def _locked(session: Session, article_id: int) -> Article:
    article = session.get(Article, article_id, with_for_update=True, populate_existing=True)
    if article is None:
        raise NotFound("There is no such article.")
    return article


def _revise(session: Session, article: Article, title: str, body: str, actor: Actor) -> bool:
    """Keep the words as a draft, unless they are those of the newest revision. Returns whether anything changed."""
    digest = hashlib.sha256(f"{title}\n{body}".encode()).hexdigest()
    draft = draft_of(session, article.id)
    current = draft or published_revision(session, article.id)
    if current is not None and current.digest == digest:
        return False
    if article.state is ArticleState.DRAFT:
        article.title = title  # a published article keeps its title until the new one is published
    words = {
        "title": title,
        "body": body,
        "digest": digest,
        "author_id": actor.id,
        "author_name": actor.name,
        "created_at": now(),
    }
    if draft is not None:
        for name, value in words.items():
            setattr(draft, name, value)
    else:
        newest = session.scalar(select(func.max(Revision.number)).where(Revision.article_id == article.id)) or 0
        session.add(Revision(article_id=article.id, number=newest + 1, state=RevisionState.DRAFT, **words))
    session.flush()
    return True


def _check(
    slug: str,
    title: str,
    body: str,
    category: str | None,
    tags: Sequence[str],
    language: str | None,
    source_url: str | None,
) -> None:
    if not _SLUG.fullmatch(slug):
        raise InvalidInput("slug", "A slug has 1 to 200 letters of a to z, digits, dots, dashes or underscores.")
    if not 0 < len(title) <= TITLE_LIMIT or "\n" in title:
        raise InvalidInput("title", f"A title is one line of 1 to {TITLE_LIMIT} characters.")
    if not body:
        raise InvalidInput("body", "The article has no text.")
    if len(body) > BODY_LIMIT:
        raise InvalidInput("body", f"The article is longer than {BODY_LIMIT:,} characters.")
    if "\x00" in title + body + (category or "") + "".join(tags) + (language or "") + (source_url or ""):
        raise InvalidInput("body", "The article holds a character (NUL) that text cannot hold.")
    if category is not None and len(category) > 200:
        raise InvalidInput("category", "A category has at most 200 characters.")
    if len(tags) > TAG_LIMIT or any(not 0 < len(tag) <= 100 for tag in tags):
        raise InvalidInput("tags", f"An article has at most {TAG_LIMIT} tags of 1 to 100 characters.")
    if language is not None and len(language) > 35:
        raise InvalidInput("language", "A language tag has at most 35 characters.")
    if source_url is not None and (len(source_url) > 2000 or not re.match(r"https?://", source_url)):
        raise InvalidInput("source", "A source is a web address of at most 2,000 characters.")
