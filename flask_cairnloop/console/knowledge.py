"""Articles, to read: the list, and one article rendered so that a source link opens its passage."""

from __future__ import annotations

import re

from flask import Blueprint, redirect, request, url_for
from markupsafe import Markup, escape
from werkzeug.wrappers import Response

from flask_cairnloop.console import presenters
from flask_cairnloop.console.access import actor, reading, requires, visible
from flask_cairnloop.console.rendering import page
from flask_cairnloop.context import current
from flask_cairnloop.hooks import Permission
from flask_cairnloop.knowledge import queries
from flask_cairnloop.knowledge.models import ArticleState
from flask_cairnloop.knowledge.rendering import render
from flask_cairnloop.knowledge.service import reindex
from flask_cairnloop.paging import Cursor
from flask_cairnloop.retrieval import indexing

# What ``?state=`` may say, and how the page calls it. Anything else shows all.
STATES = {"published": "Published", "draft": "Drafts", "archived": "Archived"}


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/knowledge", "knowledge", knowledge)
    address = "/knowledge/<int(max=9223372036854775807):article_id>"
    blueprint.add_url_rule(address, "article", article)
    blueprint.add_url_rule(f"{address}/index", "index_article", index_article, methods=["POST"])


@requires(Permission.KNOWLEDGE_READ)
def knowledge() -> Response:
    """The articles, newest change first."""
    chosen = request.args.get("state", "")
    state = ArticleState(chosen) if chosen in STATES else None
    after = Cursor.parse(request.args.get("after"))
    with reading() as session:
        found = queries.article_page(session, state, after=after)
        standings = indexing.standings(session, [article.id for article in found.articles])
    articles = list(visible(found.articles, Permission.KNOWLEDGE_READ, "article", lambda article: article.id))
    return page(
        "knowledge.html",
        articles=articles,
        standings=standings,
        left_out=len(articles) < len(found.articles),
        more=found.after,
        state=state.value if state else "",
        states=STATES,
        paged=after is not None,
    )


@requires(Permission.KNOWLEDGE_READ, Permission.OPERATIONS_MANAGE)
def article(article_id: int) -> Response:
    """One article as it is now: its published words, or its draft where nothing was ever published."""
    session = current().session()
    found, revision = queries.article_to_read(session, article_id)
    cited_id = _number(request.args.get("revision"))
    cited = None
    if cited_id is not None and cited_id != revision.id:
        cited = queries.revision_of(session, article_id, cited_id)
    return page(
        "article.html",
        article=found,
        revision=revision,
        cited=cited,
        standing=indexing.standings(session, [article_id])[article_id],
        body=anchored(render(revision.body)),
    )


@requires(Permission.OPERATIONS_MANAGE)
def index_article(article_id: int) -> Response:
    """Try again to put an article into the index."""
    session = current().session()
    reindex(session, article_id, actor=actor())
    session.commit()
    return redirect(url_for("cairnloop.article", article_id=article_id), code=303)


def _number(text: str | None) -> int | None:
    """The number of a revision, as a source link names it; ``None`` for anything else."""
    return int(text) if text is not None and re.fullmatch(r"\d{1,18}", text, re.ASCII) else None


_HEADING = re.compile(r"<(h[1-6])>(.*?)</\1>", re.DOTALL)


def anchored(html: Markup) -> Markup:
    """Sanitised HTML of an article, with an id on every heading so that a section can be linked to."""
    taken: set[str] = set()

    def with_id(match: re.Match[str]) -> str:
        slug = presenters.heading_slug(Markup(match[2]).striptags())  # noqa: S704 - already sanitised
        if not slug or slug in taken:
            return match[0]
        taken.add(slug)
        return f'<{match[1]} id="{escape(slug)}">{match[2]}</{match[1]}>'

    return Markup(_HEADING.sub(with_id, str(html)))  # noqa: S704 - sanitised by `render`, ids are slugs
