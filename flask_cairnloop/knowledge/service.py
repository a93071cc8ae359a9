"""What can be done with articles. Every function takes a session, names its actor and never commits."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from flask_cairnloop import signals
from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.errors import IllegalTransition, InvalidInput, NotFound, StaleArticle
from flask_cairnloop.files import service as files
from flask_cairnloop.jobs import enqueue, send_signal
from flask_cairnloop.jobs import publish as publish_event
from flask_cairnloop.knowledge.models import Article, ArticleFile, ArticleState, Audience, Revision, RevisionState
from flask_cairnloop.knowledge.rendering import BODY_LIMIT, files_named, render
from flask_cairnloop.retrieval import indexing

TITLE_LIMIT: Final = 300
TAG_LIMIT: Final = 50
_SLUG = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,198}[A-Za-z0-9])?")

PUBLISH: Final = "knowledge.publish"  # the job that publishes at a set time
LONGEST_SCHEDULE: Final = timedelta(days=366)
PROBLEM_LENGTH: Final = 500

__all__ = [
    "Words",
    "archive",
    "create_article",
    "discard_draft",
    "draft_of",
    "edit_article",
    "publish",
    "published_revision",
    "reindex",
    "render",
    "restore_revision",
    "save_article",
    "schedule",
    "slugify",
    "unarchive",
    "unschedule",
    "verify",
]


@dataclass(frozen=True, slots=True)
class Words:
    """All that an editor writes of an article.

    Args:
        slug: empty for the one it has, or, of a new article, one made from the title.
    """

    slug: str
    title: str
    body: str
    category: str | None = None
    tags: tuple[str, ...] = ()
    audience: Audience = Audience.PUBLIC
    language: str | None = None

    @property
    def described(self) -> dict[str, Any]:
        """What describes the article, and changes at once."""
        return {
            "slug": self.slug,
            "category": self.category,
            "tags": list(self.tags),
            "audience": self.audience,
            "language": self.language,
        }

    def clean(self) -> Words:
        """The same, without what people type around their words.

        Raises:
            InvalidInput: a value is empty, too long or not acceptable.
        """
        tags = tuple(dict.fromkeys(word for tag in self.tags if (word := _line(tag))))
        title = _line(self.title)
        cleaned = Words(
            self.slug.strip() or slugify(title),
            title,
            plain_lines(self.body).strip(),
            _line(self.category or "") or None,
            tags,
            self.audience,
            _line(self.language or "") or None,
        )
        _check(cleaned.slug, title, cleaned.body, cleaned.category, tags, cleaned.language, None)
        return cleaned


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
    _saved(session, article, changed, revised=revised, actor=actor)
    return article


def _line(text: str) -> str:
    return " ".join(text.split())


def plain_lines(text: str) -> str:
    """Text whose lines end as those of our files do: a browser sends others."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def create_article(session: Session, words: Words, *, actor: Actor) -> Article:
    """Begin an article with a draft.

    Without a slug of its own it gets one made from its title, with a number where that is taken.

    Raises:
        InvalidInput: a value is empty, too long or not acceptable, or the slug is another article's.
    """
    chosen, words = bool(words.slug.strip()), words.clean()
    moment = now()
    for slug in _slugs(words.slug, 1 if chosen else 50):
        made = session.scalar(
            insert(Article)
            .values(
                title=words.title,
                state=ArticleState.DRAFT,
                created_at=moment,
                updated_at=moment,
                edits=0,
                **words.described | {"slug": slug},
            )
            .on_conflict_do_nothing(index_elements=[Article.slug])
            .returning(Article.id)
        )
        if made is not None:
            article = _locked(session, made)
            _revise(session, article, words.title, words.body, actor)
            _saved(session, article, sorted(words.described), revised=True, actor=actor)
            return article
    raise InvalidInput("slug", "Another article has this slug.")


def edit_article(session: Session, article_id: int, words: Words, *, edits: int, actor: Actor) -> Article:
    """Keep what an editor has written: its words as the draft, what describes the article at once.

    Args:
        edits: the article's, as the editor had them before writing.

    Raises:
        NotFound: there is no such article.
        StaleArticle: somebody else has saved meanwhile. What is to be saved may be just what is there already, as when
            an answer got lost: then nothing is done, and nothing is wrong.
        InvalidInput: a value is empty, too long or not acceptable, or the slug is another article's.
    """
    article = _locked(session, article_id)
    words = (words if words.slug.strip() else replace(words, slug=article.slug)).clean()
    changed = sorted(name for name, value in words.described.items() if getattr(article, name) != value)
    if not changed and _is_newest(session, article_id, words.title, words.body):
        return article
    _hold_to(article, edits)
    if "slug" in changed and session.scalar(select(Article.id).where(Article.slug == words.slug)):
        raise InvalidInput("slug", "Another article has this slug.")
    try:
        with session.begin_nested():
            for name in changed:
                setattr(article, name, words.described[name])
    except IntegrityError as fault:  # somebody else took it at the same moment
        raise InvalidInput("slug", "Another article has this slug.") from fault
    revised = _revise(session, article, words.title, words.body, actor)
    _saved(session, article, changed, revised=revised, actor=actor)
    return article


def restore_revision(session: Session, article_id: int, number: int, *, edits: int, actor: Actor) -> Revision | None:
    """Make the words of an older revision the draft again. What is published stays until the draft is.

    Returns:
        The draft; ``None`` where those words are published, and the draft that there was is gone.

    Raises:
        NotFound: there is no such article, or no such revision of it.
        StaleArticle: somebody has saved since ``edits``; the draft that would be replaced is not the one that was seen.
        IllegalTransition: the revision is the draft.
    """
    article = _locked(session, article_id)
    _hold_to(article, edits)
    old = session.scalars(
        select(Revision).where(Revision.article_id == article_id, Revision.number == number)
    ).one_or_none()
    if old is None:
        raise NotFound("There is no such revision.")
    if old.state is RevisionState.DRAFT:
        raise IllegalTransition("revision", "the draft", "be restored")
    draft = draft_of(session, article_id)
    if old.state is RevisionState.PUBLISHED:
        if draft is not None:
            session.delete(draft)
            session.flush()
    else:
        _revise(session, article, old.title, old.body, actor)
    article.edits += 1
    article.updated_at = now()
    session.flush()
    record(session, actor, "article.restore", "article", article_id, number=number, revision_id=old.id)
    publish_event(session, "console", "article", article_id=article_id)
    return draft_of(session, article_id)


def discard_draft(session: Session, article_id: int, *, edits: int, actor: Actor) -> bool:
    """Throw a draft away. An article of which nothing was ever published goes with it.

    Returns:
        Whether the article is still there.

    Raises:
        NotFound: there is no such article.
        StaleArticle: somebody has saved since ``edits``.
        IllegalTransition: it has no draft.
    """
    article = _locked(session, article_id)
    _hold_to(article, edits)
    draft = draft_of(session, article_id)
    if draft is None:
        raise IllegalTransition("article", "without a draft", "lose it")
    stays = article.state is not ArticleState.DRAFT
    record(session, actor, "article.discard", "article", article_id, number=draft.number, stays=stays)
    session.delete(draft)
    session.flush()
    if stays:
        _unscheduled(article)
        article.edits += 1
        article.updated_at = now()
    else:
        session.delete(article)
    session.flush()
    publish_event(session, "console", "article", article_id=article_id)
    return stays


def publish(session: Session, article_id: int, *, actor: Actor, edits: int | None = None) -> Revision:
    """Make an article's draft the one that is found; the revision before it is superseded in the same transaction.

    An archived article without a draft comes back with the revision it had.

    Args:
        edits: the article's, as whoever publishes had seen them; unseen words are not published.

    Raises:
        NotFound: there is no such article.
        IllegalTransition: there is nothing to publish.
        StaleArticle: somebody has saved since ``edits``.
    """
    article = _locked(session, article_id)
    if edits is not None:
        _hold_to(article, edits)
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
    _unscheduled(article)
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
    _unscheduled(article)
    session.flush()
    indexing.request(session, article_id)
    record(session, actor, "article.archive", "article", article_id)
    publish_event(session, "console", "article", article_id=article_id)
    return article


def unarchive(session: Session, article_id: int, *, actor: Actor) -> Article:
    """Bring an archived article back as it was when it was archived. A draft stays a draft.

    Raises:
        NotFound: there is no such article.
        IllegalTransition: it is not archived.
    """
    article = _locked(session, article_id)
    if article.state is not ArticleState.ARCHIVED:
        raise IllegalTransition("article", article.state.value, "be brought back")
    article.state, article.updated_at = ArticleState.PUBLISHED, now()
    session.flush()
    indexing.request(session, article_id)
    record(session, actor, "article.unarchive", "article", article_id)
    publish_event(session, "console", "article", article_id=article_id)
    return article


def schedule(session: Session, article_id: int, at: datetime, *, edits: int, actor: Actor) -> Article:
    """Have the draft published at a time, as it is now. A time that was set before is replaced.

    Args:
        at: a moment to come, with its time zone.

    Raises:
        NotFound: there is no such article.
        StaleArticle: somebody has saved since ``edits``.
        IllegalTransition: there is no draft.
        InvalidInput: the time is past, or more than a year away.
    """
    article = _locked(session, article_id)
    _hold_to(article, edits)
    draft = draft_of(session, article_id)
    if draft is None:
        raise IllegalTransition("article", "without a draft", "be published at a time")
    if not now() < at <= now() + LONGEST_SCHEDULE:
        raise InvalidInput("at", "Choose a time to come, within a year.")
    article.publish_at, article.publish_digest, article.publish_by = at, draft.digest, actor.name or actor.id
    article.publish_problem = None
    session.flush()
    arguments = {"article_id": article_id, "at": at.isoformat()}
    enqueue(session, PUBLISH, arguments, run_at=at, unique_key=f"{PUBLISH}:{article_id}")
    record(session, actor, "article.schedule", "article", article_id, revision_id=draft.id, at=at.isoformat())
    publish_event(session, "console", "article", article_id=article_id)
    return article


def unschedule(session: Session, article_id: int, *, actor: Actor) -> Article:
    """Take the time back. The draft stays.

    Raises:
        NotFound: there is no such article.
        IllegalTransition: no time is set.
    """
    article = _locked(session, article_id)
    if article.publish_at is None and article.publish_problem is None:
        raise IllegalTransition("article", "not scheduled", "be unscheduled")
    _unscheduled(article)
    session.flush()
    record(session, actor, "article.unschedule", "article", article_id)
    publish_event(session, "console", "article", article_id=article_id)
    return article


def publish_scheduled(session: Session, article_id: int, at: datetime, *, actor: Actor) -> Revision | None:
    """Publish what was to be published at this time, or note why not.

    Nothing is done where the time was taken back or replaced. A draft that was changed since is not what somebody
    decided to publish.
    """
    article = session.get(Article, article_id, with_for_update=True, populate_existing=True)
    if article is None or article.publish_at != at:
        return None
    by, digest = article.publish_by or "", article.publish_digest
    draft = draft_of(session, article_id)
    if draft is None:
        not_published(session, article, "There was no draft any more.", actor=actor)
        return None
    if draft.digest != digest:
        not_published(
            session, article, f"{draft.author_name} changed the draft after {by} had set the time.", actor=actor
        )
        return None
    return publish(session, article_id, actor=actor)


def not_published(session: Session, article: Article, reason: str, *, actor: Actor) -> None:
    """Note why an article was not published at the time that was set."""
    _unscheduled(article)
    article.publish_problem = reason[:PROBLEM_LENGTH]
    session.flush()
    record(session, actor, "article.not_published", "article", article.id)
    publish_event(session, "console", "article", article_id=article.id)


def verify(session: Session, article_id: int, *, actor: Actor) -> Article:
    """Note that somebody has read the published words and found them right.

    Raises:
        NotFound: there is no such article.
        IllegalTransition: it is not published.
    """
    article = _locked(session, article_id)
    if article.state is not ArticleState.PUBLISHED:
        raise IllegalTransition("article", article.state.value, "be verified")
    article.verified_at, article.verified_by = now(), actor.name or actor.id
    session.flush()
    record(session, actor, "article.verify", "article", article_id)
    publish_event(session, "console", "article", article_id=article_id)
    return article


def slugify(name: str) -> str:
    """A slug of letters and digits; names in other scripts keep their place by number."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:200].strip("-")
    return slug or "article-" + name.encode(errors="replace").hex()[:40]


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


def _hold_to(article: Article, edits: int) -> None:
    if article.edits != edits:
        raise StaleArticle(edits, article.edits)


def _saved(session: Session, article: Article, changed: Sequence[str], *, revised: bool, actor: Actor) -> None:
    if not changed and not revised:
        return
    article.updated_at = now()
    article.edits += 1
    session.flush()
    record(session, actor, "article.save", "article", article.id, described=list(changed), revised=revised)
    publish_event(session, "console", "article", article_id=article.id)


def _unscheduled(article: Article) -> None:
    article.publish_at = article.publish_digest = article.publish_by = article.publish_problem = None


def _slugs(slug: str, tries: int) -> list[str]:
    """A slug, and what to try where it is taken."""
    return [slug, *(f"{slug[:190]}-{number}" for number in range(2, tries + 1))]


def _digest(title: str, body: str) -> str:
    return hashlib.sha256(f"{title}\n{body}".encode()).hexdigest()


def _is_newest(session: Session, article_id: int, title: str, body: str) -> bool:
    current = draft_of(session, article_id) or published_revision(session, article_id)
    return current is not None and current.digest == _digest(title, body)


def _revise(session: Session, article: Article, title: str, body: str, actor: Actor) -> bool:
    """Keep the words as a draft, unless they are those of the newest revision. Returns whether anything changed."""
    digest = _digest(title, body)
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
        draft = Revision(article_id=article.id, number=newest + 1, state=RevisionState.DRAFT, **words)
        session.add(draft)
    session.flush()
    _use_files(session, draft)
    return True


def _use_files(session: Session, draft: Revision) -> None:
    """Note which files a draft shows or links to, so that they stay, and are seen by whoever may read it."""
    used = select(ArticleFile.file_id).where(ArticleFile.revision_id == draft.id)
    before = set(session.scalars(used))
    # Locked, so that none is being deleted at this moment as one that nothing uses.
    now_used = {file.id for file in files.found(session, files_named(draft.body), lock=True)}
    if gone := before - now_used:
        left = delete(ArticleFile).where(ArticleFile.revision_id == draft.id, ArticleFile.file_id.in_(gone))
        session.execute(left, execution_options={"synchronize_session": False})
        files.let_go(session, gone)
    session.add_all(ArticleFile(revision_id=draft.id, file_id=file_id) for file_id in now_used - before)
    session.flush()


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
