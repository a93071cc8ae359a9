"""Markdown to HTML that is safe to show to operators and customers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml, unescapeAll
from markdown_it.token import Token
from markupsafe import Markup
from sqlalchemy.orm import Session

from flask_cairnloop.files.links import FOLDER, Shown, named
from flask_cairnloop.files.service import shown

BODY_LIMIT: Final = 400_000  # characters; what is longer is not parsed at all

_TAGS: Final = frozenset(
    {"a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "img", "li", "ol", "p"}
    | {"pre"}
    | {"s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"}
)
_ATTRIBUTES: Final = {
    "a": {"href", "title"},
    "img": {"src", "alt", "title", "width", "height", "loading"},
    "ol": {"start"},
}
_SCHEMES: Final = frozenset({"http", "https", "mailto"})
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def _image(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    """A picture of ours. From anywhere else none is loaded: its description is text like any other."""
    token = tokens[at]
    file = _file(token.attrGet("src"), env)
    words = escapeHtml(renderer.renderInlineAsText(token.children or [], options, env))
    if file is None:
        return words
    if not file.is_image:
        return f'<a href="{escapeHtml(file.address)}">{words or escapeHtml(file.name)}</a>'
    title = escapeHtml(str(token.attrGet("title") or ""))
    titled = f' title="{title}"' if title else ""
    return (
        f'<img src="{escapeHtml(file.address)}" alt="{words}"{titled}'
        f' width="{file.width}" height="{file.height}" loading="lazy">'
    )


def _link(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    """A link to a file of ours leads to where it is fetched, and nowhere where there is no such file."""
    target = tokens[at].attrGet("href")
    file = _file(target, env)
    if file is not None:
        tokens[at].attrSet("href", file.address)
    elif named(str(target or "")) is not None:
        tokens[at].attrs.pop("href")
    return str(renderer.renderToken(tokens, at, options, env))


def _file(target: object, env: Any) -> Shown | None:
    uuid = named(str(target or ""))
    found: Shown | None = env["files"].get(uuid) if uuid is not None else None
    return found


_MARKDOWN.add_render_rule("image", _image)
_MARKDOWN.add_render_rule("link_open", _link)


def render(markdown: str, files: Mapping[UUID, Shown] | None = None) -> Markup:
    """HTML of an article or passage: raw HTML in it is shown as text, links go to the web, mail or this site only.

    Args:
        markdown: anything; beyond the limit of an article's body it is shown as plain text.
        files: those of ours that it may show and link to. An image of any other is told by its description.
    """
    if len(markdown) > BODY_LIMIT:
        return Markup("<pre>{}</pre>").format(markdown)
    html = nh3.clean(
        _MARKDOWN.render(markdown, {"files": files or {}}),
        tags=set(_TAGS),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        url_schemes=set(_SCHEMES),
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(html)  # noqa: S704 - sanitised by nh3 on the line above


def render_with_files(session: Session, markdown: str) -> Markup:
    """The same with the images and files that the text names, for whoever reads it in this request. One query at most.

    Whether its reader may have a file is asked where it is fetched.
    """
    return render(markdown, shown(session, files_named(markdown)))


def files_named(markdown: str) -> frozenset[UUID]:
    """The files that a text shows or links to, whether there are such files or not."""
    if f"{FOLDER}/" not in markdown:  # most do not: nothing has to be parsed
        return frozenset()
    return frozenset(uuid for target in targets(markdown) if (uuid := named(target)) is not None)


def targets(markdown: str) -> Iterator[str]:
    """Where the images and links of a text lead that may be files beside it, as the author wrote it."""
    if len(markdown) > BODY_LIMIT:
        return
    for block in _MARKDOWN.parse(markdown):
        for token in block.children or ():
            for name in ("src", "href"):
                target = token.attrGet(name)
                if target and ":" not in str(target).partition("/")[0]:
                    yield str(target)


def missing_files(session: Session, markdown: str) -> list[str]:
    """The targets in a text that name files there are not, or no longer. One query at most."""
    asked = files_named(markdown)
    there = shown(session, asked)
    gone = {uuid for uuid in asked if uuid not in there}
    return [target for target in dict.fromkeys(targets(markdown)) if named(target) in gone] if gone else []


def normalized(target: str) -> str:
    """A target as :func:`targets` gives it, from how it stands in a text."""
    return _MARKDOWN.normalizeLink(unescapeAll(target))


def heading_slug(text: str) -> str:
    """The id of a heading in a rendered article."""
    words = re.findall(r"[^\W_]+", text.lower())
    return "section-" + "-".join(words)[:80] if words else ""
