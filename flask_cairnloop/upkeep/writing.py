"""What goes into an engine that writes a suggestion and what comes out, as plain values; and the text made of it. Pure.

A revision is never a new text: it says what comes where in the published one, and everything else of that stays.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from flask_cairnloop.knowledge.models import Audience
from flask_cairnloop.knowledge.rendering import BODY_LIMIT
from flask_cairnloop.upkeep.suggestion_models import SuggestionKind
from flask_cairnloop.wording import paragraphs

TITLE_LIMIT: Final = 300
SUMMARY_LENGTH: Final = 500
ENGINE_LENGTH: Final = 100
MOST_PARAGRAPHS: Final = 200
# What an engine leaves for a person to say, alone in its line. Nothing that holds one can be approved.
TO_WRITE: Final = "[To write: {}]"
_OPEN: Final = re.compile(r"^\s*(?:[-*+]\s+|\d+[.)]\s+)?\[To write:[^\n]*\]\s*$", re.MULTILINE)


class SourceKind(StrEnum):
    ARTICLE = "article"  # a published one: what it says has been reviewed
    CASE = "case"  # how the team answered a conversation: nobody has reviewed it


@dataclass(frozen=True, slots=True)
class Source:
    """Something that a suggestion may rest on.

    Args:
        number: from 1, by which paragraphs name it.
        title: of the article, or of the conversation, redacted.
        content: the passage, or the team's words, redacted.
        conversation_id: of a case; an article's is ``None``.
        slug: of an article, by which others link to it.
    """

    number: int
    kind: SourceKind
    title: str
    heading: str
    content: str
    article_id: int | None = None
    revision_id: int | None = None
    chunk_id: int | None = None
    conversation_id: int | None = None
    slug: str = ""


@dataclass(frozen=True, slots=True)
class Brief:
    """Everything an engine may use to write one suggestion.

    Args:
        suggestion_id: of the suggestion that is written.
        kind: whether a new article is asked for, or changes of a published one.
        questions: what it is to answer, redacted, the one that stands for them first.
        sources: the evidence, best first. Public articles and cases only.
        title, base: of the published article that is to be changed; empty for a new one.
        language: of that article, where it says so.
    """

    suggestion_id: int
    kind: SuggestionKind
    questions: tuple[str, ...]
    sources: tuple[Source, ...]
    title: str = ""
    base: str = ""
    language: str | None = None

    @property
    def paragraphs(self) -> tuple[str, ...]:
        """The published text, paragraph by paragraph: what places count."""
        return tuple(paragraphs(self.base))


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A piece of Markdown with what it rests on.

    Args:
        text: one paragraph, heading, list or block of code, or several with empty lines between.
        sources: numbers of the sources that say so. None: it is no statement, like a heading or :data:`TO_WRITE`.
        after: of a revision, the paragraph of the base that it follows, from 0; -1 for the beginning.
        instead: of a revision, whether it takes that paragraph's place.
    """

    text: str
    sources: tuple[int, ...] = ()
    after: int = -1
    instead: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """A suggestion as an engine writes it.

    Args:
        title: of the article.
        paragraphs: of a new article all of it, of a revision what is new, in reading order.
        summary: one sentence for who reviews it.
        engine: name and version of what wrote it.
    """

    title: str
    paragraphs: tuple[Paragraph, ...]
    summary: str
    engine: str


@dataclass(frozen=True, slots=True)
class Text:
    """The whole article as it is suggested.

    Args:
        claims: for the digest of each new paragraph, the numbers of what it rests on.
    """

    title: str
    body: str
    claims: Mapping[str, tuple[int, ...]]


class Unusable(ValueError):
    """What an engine wrote cannot be suggested. Its words name what is wrong and hold nothing that was written."""


def text_of(brief: Brief, written: Written) -> Text:
    """The article that an engine's paragraphs make.

    Raises:
        Unusable: it is no text, too long, names a source or a place that there is not, or changes nothing.
    """
    _check(brief, written)
    claims: dict[str, tuple[int, ...]] = {}
    for each in written.paragraphs:
        for part in paragraphs(each.text):
            if part.strip():
                claims[digest_of(part)] = each.sources
    if brief.kind is SuggestionKind.ARTICLE:
        body = _joined(each.text for each in written.paragraphs)
    else:
        body = _patched(brief.paragraphs, written.paragraphs)
    if not body or len(body) > BODY_LIMIT:
        raise Unusable("the text is empty or too long")
    if brief.kind is SuggestionKind.REVISION and (written.title, body) == (brief.title, brief.base.strip()):
        raise Unusable("it changes nothing")
    return Text(written.title, body, claims)


def digest_of(paragraph: str) -> str:
    """What stands for a paragraph, however it is spaced."""
    return hashlib.sha256(" ".join(paragraph.split()).encode(errors="replace")).hexdigest()


def content_digest(
    title: str, body: str, audience: Audience, category: str | None, tags: Sequence[str], language: str | None
) -> str:
    """What stands for all words of a suggestion: an approval holds for these and no others."""
    parts = (title, body, audience.value, category or "", "\x1f".join(tags), language or "")
    return hashlib.sha256("\x1e".join(parts).encode(errors="replace")).hexdigest()


def is_open(body: str) -> bool:
    """Whether something in it is still to be written."""
    return _OPEN.search(body) is not None


def kept_claims(body: str, claims: Mapping[str, Any]) -> dict[str, Any]:
    """The claims of those paragraphs that stand in a text."""
    there = {digest_of(part) for part in paragraphs(body)}
    return {digest: numbers for digest, numbers in claims.items() if digest in there}


def _check(brief: Brief, written: Written) -> None:
    if not (_line(written.title, TITLE_LIMIT) and _line(written.engine, ENGINE_LENGTH)):
        raise Unusable("the title or the engine is no line of text")
    if not _storable(written.summary):
        raise Unusable("the summary is no text")
    if not 0 < len(written.paragraphs) <= MOST_PARAGRAPHS:
        raise Unusable("it has no paragraph, or too many")
    numbers = {source.number for source in brief.sources}
    places = len(brief.paragraphs)
    for each in written.paragraphs:
        if not _storable(each.text) or not each.text.strip():
            raise Unusable("a paragraph is no text")
        if not set(each.sources) <= numbers:
            raise Unusable("a paragraph names a source that was not given")
        if not -1 <= each.after < max(places, 1) or (each.instead and not 0 <= each.after < places):
            raise Unusable("a paragraph names a place that there is not")


def _line(text: object, most: int) -> bool:
    return _storable(text) and isinstance(text, str) and 0 < len(text.strip()) <= most and "\n" not in text


def _storable(text: object) -> bool:
    return isinstance(text, str) and "\x00" not in text and text.encode(errors="ignore").decode() == text


def _joined(texts: Iterable[str]) -> str:
    return "\n\n".join(text.strip("\n").rstrip() for text in texts)


def _patched(base: Sequence[str], new: Sequence[Paragraph]) -> str:
    """The published text with what is new in its place. What is not spoken of stays letter for letter."""
    body = _joined(each.text for each in new if each.after == -1)
    for place, text in enumerate(base):
        here = [each for each in new if each.after == place]
        stays = not any(each.instead for each in here)
        if stays:
            body = _appended(body, text, spaced=bool(body) and not body.endswith("\n\n"))
        for each in here:
            body = _appended(body, each.text.strip("\n").rstrip(), spaced=True)
    return body.strip()


def _appended(body: str, text: str, *, spaced: bool) -> str:
    if not body:
        return text
    return f"{body.rstrip()}\n\n{text}" if spaced and not body.endswith("\n\n") else body + text
