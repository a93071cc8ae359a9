"""Writes published articles as the Markdown files that ``kb import`` reads: what comes back is what went out."""

from __future__ import annotations

from collections.abc import Generator
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import yaml
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flask_cairnloop.knowledge.models import Article, ArticleState, Revision, RevisionState
from flask_cairnloop.retrieval.chunking import without_title

BATCH: Final = 100  # articles held in memory at a time


class Outcome(StrEnum):
    WRITTEN = "written"
    UNCHANGED = "unchanged"


def published(session: Session) -> Generator[tuple[Article, Revision]]:
    """Every published article with its published words, as they are at one moment, by slug. To be closed."""
    statement = (
        select(Article, Revision)
        .join(Revision, Revision.article_id == Article.id)
        .where(Article.state == ArticleState.PUBLISHED, Revision.state == RevisionState.PUBLISHED)
        .order_by(Article.slug)
        .execution_options(yield_per=BATCH)
    )
    with session.execute(statement) as rows:
        yield from rows


def counts(session: Session) -> dict[ArticleState, int]:
    """How many articles are in each state."""
    rows = session.execute(select(Article.state, func.count()).group_by(Article.state))
    return dict(iter(rows))


def document(article: Article, revision: Revision) -> str:
    """An article as a Markdown file with front matter."""
    about: dict[str, Any] = {
        "title": revision.title,
        "slug": article.slug,
        "audience": article.audience.value,
        "category": article.category,
        "tags": list(article.tags) or None,
        "language": article.language,
        "source": article.source_url,
    }
    front = yaml.safe_dump(
        {key: value for key, value in about.items() if value is not None},
        allow_unicode=True,
        sort_keys=False,
        width=float("inf"),
    )
    return f"---\n{front}---\n\n{_under_title(revision.title, revision.body)}\n"


def _under_title(title: str, body: str) -> str:
    """The body below its title as a heading, which an import takes off again."""
    text = f"# {title}\n\n{body}"
    if without_title(title, text) == body:
        return text
    # A title that is something else in Markdown. Where the body itself begins with it, it has to stand there twice.
    rest = without_title(title, body)
    return body if rest == body else f"{body.removesuffix(rest)}\n{body}"


class Names:
    """File names for articles: slugs, told apart where a disk does not tell capitals from small letters."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, article: Article) -> str:
        """The name of an article's file."""
        name = f"{article.slug}.md"
        if name.casefold() in self._taken:
            name = f"{article.slug}.{article.id}.md"
        self._taken.add(name.casefold())
        return name


def write(path: Path, text: str | bytes) -> Outcome:
    """Put a file there whole or not at all; one that says the same already is left alone.

    Raises:
        OSError: it could not be written.
    """
    words = text.encode() if isinstance(text, str) else text
    if path.is_file() and path.read_bytes() == words:
        return Outcome.UNCHANGED
    beside = path.with_name(f".{path.name}.part")  # hidden: an import does not read it
    try:
        beside.write_bytes(words)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return Outcome.WRITTEN
