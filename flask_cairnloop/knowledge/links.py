"""Links of an article to other articles and to its own headings, and which of them lead nowhere. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Final
from urllib.parse import unquote, urlsplit

from markupsafe import Markup, escape

from flask_cairnloop.knowledge.models import ArticleState
from flask_cairnloop.knowledge.rendering import heading_slug
from flask_cairnloop.knowledge.service import slugify

# As nh3 writes a link: the target first, quotes in attributes escaped, and no "<" of a text left as it is.
_LINK: Final = re.compile(r'<a href="([^"]*)"(?:[^>"]|"[^"]*")*>(.*?)</a>', re.DOTALL)
_TARGET: Final = re.compile(r'(<a href=")([^"]*)(")')
_ID: Final = re.compile(r'<h[1-6] id="([^"]*)">')
_PAGE: Final = re.compile(r"/knowledge/(\d{1,18})", re.ASCII)
MOST: Final = 500  # links of an article that are looked at

Standing = Mapping[int | str, tuple[int, ArticleState]]


@dataclass(frozen=True, slots=True)
class Reference:
    """A link to something of ours.

    Args:
        href: as the author wrote it.
        text: what it is called.
        names: what the article may be known by, its id or slugs, best first; none for a place in the same article.
        fragment: the heading it goes to, if it names one.
    """

    href: str
    text: str
    names: tuple[int | str, ...]
    fragment: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A link that leads nowhere, and why in a sentence."""

    text: str
    href: str
    reason: str


def references(html: str, console: str) -> list[Reference]:
    """The links in the sanitised HTML of an article that lead to articles or to its own headings.

    Args:
        console: where the console stands, e.g. ``"/support"``: its pages of articles are such links, too.
    """
    found = (_reference(unescape(match[1]), Markup(match[2]).striptags(), console) for match in _LINK.finditer(html))  # noqa: S704 - sanitised
    return [reference for reference in found if reference is not None][:MOST]


def broken(html: str, found: Sequence[Reference], standing: Standing) -> Iterator[Broken]:
    """Those that lead nowhere.

    Args:
        html: with ids on its headings.
        standing: id and state of the articles there are, by any of the names asked for.
    """
    headings = _headings(html)
    for reference in found:
        reason = _fault(reference, headings, standing)
        if reason:
            yield Broken(reference.text or reference.href, reference.href, reason)


def without_file(target: str) -> Broken:
    """An image, or a link, to a file that there is not."""
    return Broken(unquote(target.rpartition("/")[2]), target, "There is no such file.")


def resolved(html: Markup, found: Sequence[Reference], standing: Standing, address: Callable[[int], str]) -> Markup:
    """The same HTML with links by slug leading to the pages of their articles, and those to headings to their ids."""
    headings = _headings(html)
    targets = {reference.href: _target(reference, headings, standing, address) for reference in found}

    def target(match: re.Match[str]) -> str:
        known = targets.get(unescape(match[2]))
        return match[0] if not known else f"{match[1]}{escape(known)}{match[3]}"

    return Markup(_TARGET.sub(target, str(html)))  # noqa: S704 - sanitised before; addresses are ours, and escaped


def _reference(href: str, text: str, console: str) -> Reference | None:
    try:
        parts = urlsplit(href)
    except ValueError:  # a bracket that opens no address
        return None
    if parts.scheme or parts.netloc or parts.query:
        return None
    path, fragment = unquote(parts.path), unquote(parts.fragment)
    if not path:
        return Reference(href, text, (), fragment) if fragment else None
    if path.startswith("/"):
        page = _PAGE.fullmatch(path.removeprefix(console).rstrip("/")) if path.startswith(f"{console}/") else None
        return Reference(href, text, (int(page[1]),), fragment) if page else None
    steps = [step for step in path.split("/") if step not in ("", ".", "..")]
    if not steps:
        return None
    name, dot, suffix = steps[-1].rpartition(".")
    if dot and suffix.lower() not in ("md", "markdown"):
        return None  # a file, or a page of somebody else
    last = name if dot else steps[-1]
    # A folder that was imported has its path in the slug.
    names = dict.fromkeys((slugify("-".join([*steps[:-1], last])), last, slugify(last)))
    return Reference(href, text, tuple(names), fragment)


def _headings(html: str) -> frozenset[str]:
    return frozenset(unescape(each) for each in _ID.findall(html))


def _heading(fragment: str, headings: Collection[str]) -> str:
    """The id of the heading that is meant: by its id, or by its words as other tools make an id of them."""
    return next((each for each in (fragment, heading_slug(fragment)) if each in headings), "")


def _target(reference: Reference, headings: Collection[str], standing: Standing, address: Callable[[int], str]) -> str:
    if not reference.names:
        heading = _heading(reference.fragment, headings)
        return f"#{heading}" if heading else ""
    article = _article(reference, standing)
    if article is None or isinstance(reference.names[0], int):
        return ""
    section = reference.fragment and (
        reference.fragment if reference.fragment.startswith("section-") else heading_slug(reference.fragment)
    )
    return address(article) + (f"#{section}" if section else "")


def _article(reference: Reference, standing: Standing) -> int | None:
    return next((standing[name][0] for name in reference.names if name in standing), None)


def _fault(reference: Reference, headings: Collection[str], standing: Standing) -> str:
    if not reference.names:
        return "" if _heading(reference.fragment, headings) else "This article has no such heading."
    state = next((standing[name][1] for name in reference.names if name in standing), None)
    if state is None:
        return "There is no such article."
    if state is ArticleState.DRAFT:
        return "That article was never published."
    return "That article is archived." if state is ArticleState.ARCHIVED else ""
