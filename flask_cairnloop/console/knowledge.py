"""Articles, to read: the list, and one article rendered so that a source link opens its passage."""

from __future__ import annotations

import re

from flask import Blueprint, request
from markupsafe import Markup, escape
from sqlalchemy import select, tuple_
from werkzeug.wrappers import Response

from flask_cairnloop.console import presenters
from flask_cairnloop.console.access import requires
from flask_cairnloop.console.rendering import page
from flask_cairnloop.context import current
from flask_cairnloop.conversations.queries import Cursor
from flask_cairnloop.errors import NotFound
from flask_cairnloop.hooks import Permission
from flask_cairnloop.knowledge.models import Article, ArticleState, Revision, RevisionState
from flask_cairnloop.knowledge.rendering import render

PAGE_SIZE = 50
# What ``?state=`` may say, and how the page calls it. Anything else shows all.
STATES = {"published": "Published", "draft": "Drafts", "archived": "Archived"}


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/knowledge", "knowledge", knowledge)
    blueprint.add_url_rule("/knowledge/<int(max=9223372036854775807):article_id>", "article", article)


@requires(Permission.KNOWLEDGE_READ)
def knowledge() -> Response:
    """The articles, newest change first."""
    state = request.args.get("state", "")
    state = state if state in STATES else ""
    statement = select(Article).order_by(Article.updated_at.desc(), Article.id.desc()).limit(PAGE_SIZE + 1)
    if state:
        statement = statement.where(Article.state == ArticleState(state))
    after = Cursor.parse(request.args.get("after"))
    if after is not None:
        statement = statement.where(tuple_(Article.updated_at, Article.id) < tuple_(after.at, after.id))
    found = list(current().session().scalars(statement))
    articles = found[:PAGE_SIZE]
    more = Cursor(articles[-1].updated_at, articles[-1].id) if len(found) > PAGE_SIZE else None
    return page("knowledge.html", articles=articles, more=more, state=state, states=STATES, paged=after is not None)


@requires(Permission.KNOWLEDGE_READ)
def article(article_id: int) -> Response:
    """One article as it is now: its published words, or its draft where nothing was ever published."""
    session = current().session()
    found = session.get(Article, article_id)
    if found is None:
        raise NotFound
    revisions = session.scalars(
        select(Revision)
        .where(Revision.article_id == article_id)
        .order_by((Revision.state == RevisionState.PUBLISHED).desc(), Revision.number.desc())
        .limit(20)
    ).all()
    if not revisions:
        raise NotFound
    shown = revisions[0]
    cited = _cited(request.args.get("revision"), article_id)
    return page(
        "article.html",
        article=found,
        revision=shown,
        cited=cited if cited is not None and cited.id != shown.id else None,
        body=anchored(render(shown.body)),
    )


def _cited(text: str | None, article_id: int) -> Revision | None:
    """The revision a source link was made for, if it is this article's."""
    if text is None or not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        return None
    found = current().session().get(Revision, int(text))
    return found if found is not None and found.article_id == article_id else None


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
