"""Markdown to HTML that is safe to show to operators and customers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.token import Token
from markupsafe import Markup

BODY_LIMIT: Final = 400_000  # characters; what is longer is not parsed at all

_TAGS: Final = frozenset(
    {"a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre"}
    | {"s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"}
)
_ATTRIBUTES: Final = {"a": {"href", "title"}, "ol": {"start"}}
_SCHEMES: Final = frozenset({"http", "https", "mailto"})
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def _image(_renderer: Any, tokens: Sequence[Token], at: int, _options: Any, _env: Any) -> str:
    """Images are not loaded from anywhere; their description is text like any other."""
    return escapeHtml(tokens[at].content)


_MARKDOWN.add_render_rule("image", _image)


def render(markdown: str) -> Markup:
    """HTML of an article or passage: raw HTML in it is shown as text, links go to the web, mail or this site only.

    Args:
        markdown: anything; beyond the limit of an article's body it is shown as plain text.
    """
    if len(markdown) > BODY_LIMIT:
        return Markup("<pre>{}</pre>").format(markdown)
    html = nh3.clean(
        _MARKDOWN.render(markdown),
        tags=set(_TAGS),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        url_schemes=set(_SCHEMES),
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(html)  # noqa: S704 - sanitised by nh3 on the line above


def heading_slug(text: str) -> str:
    """The id of a heading in a rendered article."""
    words = re.findall(r"[^\W_]+", text.lower())
    return "section-" + "-".join(words)[:80] if words else ""
