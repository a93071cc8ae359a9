"""Reads Markdown files with front matter and publishes them as articles. One file a transaction: the edge commits."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import frontmatter
import yaml
from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.config import Settings
from flask_cairnloop.errors import CairnloopError, InvalidInput, StorageUnavailable
from flask_cairnloop.files.storage import Storage
from flask_cairnloop.knowledge.attachments import bring, is_exported, look
from flask_cairnloop.knowledge.models import Article, ArticleState, Audience
from flask_cairnloop.knowledge.service import draft_of, publish, save_article, slugify
from flask_cairnloop.retrieval.chunking import first_heading, without_title

FILE_LIMIT: Final = 1_000_000  # bytes
_INSIDERS = re.compile(r"intern|privat|staff|team|employ|agent|operator|confid|restrict|secret|hidden|only|nobody|none")
SUFFIXES: Final = frozenset({".md", ".markdown"})


class ImportFailed(CairnloopError):
    """A file cannot become an article; the message says why, nothing was changed."""


class Outcome(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file and the slug it gets when its front matter names none.

    Args:
        root: the folder that was given: images and files beside the article are taken from within it. Its own when
            left out.
    """

    path: Path
    fallback_slug: str
    root: Path | None = None


@dataclass(frozen=True, slots=True)
class ParsedArticle:
    slug: str
    title: str
    body: str
    category: str | None
    tags: tuple[str, ...]
    language: str | None
    source_url: str | None
    audience: Audience
    foreign_audience: str | None = None  # what the file calls it, where that is none of our words


def find_files(paths: Sequence[Path]) -> Iterator[SourceFile]:
    """All Markdown files of the given files and folders, in a stable order; hidden ones and links are left alone."""
    for path in paths:
        if not path.is_dir():
            yield SourceFile(path, slugify(path.stem))
            continue
        for found in sorted(path.rglob("*")):
            inside = found.relative_to(path)
            if any(part.startswith(".") for part in inside.parts) or found.is_symlink() or is_exported(inside):
                continue
            if found.is_file() and found.suffix.lower() in SUFFIXES:
                yield SourceFile(found, slugify("-".join(inside.with_suffix("").parts)), path)


def parse(file: SourceFile) -> ParsedArticle:
    """Read one file.

    Raises:
        ImportFailed: it cannot be read, is too large, or its front matter is not understood.
    """
    try:
        if file.path.stat().st_size > FILE_LIMIT:
            raise ImportFailed(f"is larger than {FILE_LIMIT:,} bytes")
        text = file.path.read_text(encoding="utf-8-sig")
        post = frontmatter.loads(text)
    except OSError as fault:
        raise ImportFailed(f"cannot be read ({fault.strerror})") from fault
    except UnicodeDecodeError as fault:
        raise ImportFailed("is not UTF-8 text") from fault
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        raise ImportFailed("has front matter that is not valid YAML") from fault
    about = post.metadata
    audience, foreign = _audience(about)
    title = _text(about, "title") or first_heading(post.content) or file.path.stem.replace("-", " ").strip()
    return ParsedArticle(
        slug=_text(about, "slug") or file.fallback_slug,
        title=" ".join(title.split()),
        body=without_title(title, post.content),
        category=_text(about, "category") or next(iter(_texts(about, "topics")), None),
        tags=tuple(dict.fromkeys(_texts(about, "tags"))),
        language=_text(about, "language") or _text(about, "locale"),
        source_url=_text(about, "source"),
        audience=audience,
        foreign_audience=foreign,
    )


def with_files(
    session: Session,
    storage: Storage | None,
    file: SourceFile,
    article: ParsedArticle,
    settings: Settings,
    *,
    actor: Actor,
) -> tuple[ParsedArticle, dict[Path, str]]:
    """Bring in the images and files that a parsed file leads to within its root.

    Returns:
        The article with links that lead to them, and why others were not taken, by their paths.

    Raises:
        ImportFailed: the storage does not answer.
    """
    folder = file.path.parent
    found = look(article.body, folder, file.root or folder, settings, SUFFIXES)
    if not found.uploads:
        return article, found.refused
    if storage is None:
        return article, found.refused | {file.path: "Its images and files: CAIRNLOOP_FILE_STORAGE is not set."}
    try:
        body = bring(session, storage, article.body, found.uploads, actor=actor)
    except StorageUnavailable as fault:
        raise ImportFailed("has images or files that cannot be kept: the file storage does not answer") from fault
    return replace(article, body=body), found.refused


def import_file(session: Session, article: ParsedArticle, *, actor: Actor) -> Outcome:
    """Publish a parsed file. Running it again with the same words changes nothing.

    Raises:
        ImportFailed: a value is not acceptable for an article.
    """
    before = session.scalar(select(Article.updated_at).where(Article.slug == article.slug))
    try:
        saved = save_article(
            session,
            slug=article.slug,
            title=article.title,
            body=article.body,
            actor=actor,
            category=article.category,
            tags=article.tags,
            audience=article.audience,
            language=article.language,
            source_url=article.source_url,
        )
    except InvalidInput as fault:
        raise ImportFailed(f"cannot become an article: {fault.message}") from fault
    if draft_of(session, saved.id) is not None or saved.state is not ArticleState.PUBLISHED:
        publish(session, saved.id, actor=actor)
    if before is None:
        return Outcome.CREATED
    return Outcome.UPDATED if saved.updated_at != before else Outcome.UNCHANGED


def _text(about: dict[str, Any], key: str) -> str | None:
    value = about.get(key)
    if value is None:
        return None
    if isinstance(value, (dict, list)):
        raise ImportFailed(f'has a "{key}" that is not a single value')
    return str(value).strip() or None


def _texts(about: dict[str, Any], key: str) -> list[str]:
    value = about.get(key)
    if value is None:
        return []
    items = value if isinstance(value, list) else str(value).split(",")
    if isinstance(value, dict) or any(isinstance(item, (dict, list)) for item in items):
        raise ImportFailed(f'has "{key}" that are not a list of words')
    return [word for item in items if (word := str(item).strip())]


def _audience(about: dict[str, Any]) -> tuple[Audience, str | None]:
    """Who may be shown an article, and the word for it where it is another system's (``ITPro``): that is public.

    A word that may mean insiders is refused rather than guessed at.
    """
    named = _text(about, "audience")
    if named is None:
        return Audience.PUBLIC, None
    word = named.lower()
    if word in set(Audience):
        return Audience(word), None
    if _INSIDERS.search(word) or difflib.get_close_matches(word, [*Audience], 1):
        raise ImportFailed('has an "audience" that is neither public nor internal')
    return Audience.PUBLIC, named
