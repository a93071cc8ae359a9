"""Articles, to read: the list, and one article rendered so that a source link opens its passage."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flask import Blueprint, redirect, request, url_for
from markupsafe import Markup, escape
from werkzeug.wrappers import Response

from flask_cairnloop.clock import now
from flask_cairnloop.console import presenters
from flask_cairnloop.console.access import actor, may, reading, requires, visible
from flask_cairnloop.console.rendering import console_path, is_fragment, page, toast, wanted
from flask_cairnloop.context import current
from flask_cairnloop.drafting import quality
from flask_cairnloop.hooks import Permission
from flask_cairnloop.knowledge import links, queries, votes
from flask_cairnloop.knowledge.models import ArticleState, Audience, RevisionState
from flask_cairnloop.knowledge.rendering import heading_slug, missing_files, render_with_files
from flask_cairnloop.knowledge.service import reindex
from flask_cairnloop.paging import Cursor
from flask_cairnloop.retrieval import indexing, memory
from flask_cairnloop.upkeep.reviews import waiting_count

# What ``?state=`` may say, and how the page calls it. Anything else shows all.
ARTICLE = "<int(max=9223372036854775807):article_id>"
DRAFT_DAYS = 90  # how far back the drafts that cite an article are counted
STATES = {"published": "Published", "draft": "Drafts", "archived": "Archived"}


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/knowledge", "knowledge", knowledge)
    blueprint.add_url_rule(f"/knowledge/{ARTICLE}", "article", article)
    blueprint.add_url_rule(f"/knowledge/{ARTICLE}/index", "index_article", index_article, methods=["POST"])
    path = f"/knowledge/{ARTICLE}/answers/<int(max=9223372036854775807):answer_id>"
    blueprint.add_url_rule(f"{path}/reject", "reject_answer", reject_answer, methods=["POST"])
    blueprint.add_url_rule(f"{path}/restore", "restore_answer", restore_answer, methods=["POST"])


@requires(Permission.KNOWLEDGE_READ, Permission.KNOWLEDGE_EDIT)
def knowledge() -> Response:
    """The articles that were asked for, newest change first."""
    asked = wanted_articles()
    after = Cursor.parse(request.args.get("after"))
    part = wanted() == "articles"
    with reading() as session:
        found = queries.article_page(session, asked, after=after)
        numbers = queries.counts(session, asked)
        choices = None if part else queries.choices(session)
        reviews_waiting = 0 if part else waiting_count(session)
        standings = indexing.standings(session, [article.id for article in found.articles])
    articles = list(visible(found.articles, Permission.KNOWLEDGE_READ, "article", lambda article: article.id))
    answer = page(
        "_articles.html" if part else "knowledge.html",
        articles=articles,
        found=found,
        standings=standings,
        left_out=len(articles) < len(found.articles),
        asked=asked,
        address=address_of,
        numbers=numbers,
        choices=choices,
        reviews_waiting=reviews_waiting,
        states=STATES,
        paged=after is not None,
    )
    if part:
        answer.headers["HX-Replace-Url"] = address_of(asked)
    return answer


def wanted_articles() -> queries.Wanted:
    """What the address asks for. A value that is none of ours narrows nothing."""
    state, audience = request.args.get("state", ""), request.args.get("audience", "")
    return queries.Wanted(
        state=ArticleState(state) if state in STATES else None,
        words=_plain("q"),
        audience=Audience(audience) if audience in set(Audience) else None,
        category=_plain("category") or None,
        tag=_plain("tag") or None,
        language=_plain("language") or None,
    )


def address_of(asked: queries.Wanted, **changes: str | None) -> str:
    """The address of a list, without what narrows nothing."""
    values: dict[str, Any] = {
        "state": asked.state.value if asked.state else None,
        "q": asked.words or None,
        "audience": asked.audience.value if asked.audience else None,
        "category": asked.category,
        "tag": asked.tag,
        "language": asked.language,
    }
    return url_for("cairnloop.knowledge", **values | changes)


def _plain(name: str) -> str:
    """A value of the address as a person may have typed it, as long as a category may be."""
    value = request.args.get(name, "")
    return "" if "\x00" in value else value.strip()[: queries.QUERY_LENGTH]


@requires(
    Permission.KNOWLEDGE_READ, Permission.KNOWLEDGE_EDIT, Permission.KNOWLEDGE_PUBLISH, Permission.OPERATIONS_MANAGE
)
def article(article_id: int) -> Response:
    """One article as it is now: its published words, or its draft where nothing was ever published."""
    return show_article(article_id)


@requires(Permission.KNOWLEDGE_EDIT)
def reject_answer(article_id: int, answer_id: int) -> Response:
    """Say that the article did not answer a question: search no longer goes by it."""
    return _judged(memory.reject, article_id, answer_id, "Search no longer goes by it")


@requires(Permission.KNOWLEDGE_EDIT)
def restore_answer(article_id: int, answer_id: int) -> Response:
    """Say that it did after all."""
    return _judged(memory.restore, article_id, answer_id, "Search goes by it again")


def _judged(judge: Callable[..., None], article_id: int, answer_id: int, words: str) -> Response:
    session = current().session()
    judge(session, article_id, answer_id, actor=actor())
    session.commit()
    if is_fragment():
        return toast(show_article(article_id), words)
    return redirect(url_for("cairnloop.article", article_id=article_id, _anchor="answers"), code=303)


def show_article(article_id: int, *, status: int = 200, trouble: str = "") -> Response:
    """The page of an article.

    Args:
        trouble: why what was asked for was not done, in sentences.
    """
    with reading() as session:
        found, revision = queries.article_to_read(session, article_id)
        is_draft = revision.state is RevisionState.DRAFT
        draft = revision if is_draft else queries.draft_to_read(session, article_id)
        cited_id = _number(request.args.get("revision"))
        cited = None
        if cited_id is not None and cited_id != revision.id:
            cited = queries.revision_of(session, article_id, cited_id)
        answers, answered = memory.views(session, article_id)
        standing = indexing.standings(session, [article_id])[article_id]
        moment = now()
        drafts = quality.of_article(session, article_id, since=moment - timedelta(days=DRAFT_DAYS), until=moment)
        body = anchored(render_with_files(session, revision.body))
        gone = missing_files(session, revision.body)
        readers = votes.counts(session, [article_id]).get(article_id)
        comments = votes.comments(session, article_id) if readers else ()
        references = links.references(body, console_path())
        names = {name for reference in references for name in reference.names}
        known = queries.standing(
            session,
            (name for name in names if isinstance(name, int)),
            (name for name in names if isinstance(name, str)),
        )
    seen = list(visible(answers, Permission.CONVERSATIONS_READ, "conversation", lambda view: view.conversation_id))
    return page(
        "_answers.html" if wanted() == "answers" else "article.html",
        status,
        answers=seen if may(Permission.CONVERSATIONS_READ) else [],
        answered=answered,
        article=found,
        revision=revision,
        draft=draft,
        cited=cited,
        standing=standing,
        drafts=presenters.article_drafts(drafts, DRAFT_DAYS),
        readers=readers,
        comments=comments,
        body=links.resolved(body, references, known, lambda id_: url_for("cairnloop.article", article_id=id_)),
        broken=[*links.broken(body, references, known), *map(links.without_file, gone)],
        said=presenters.DONE.get(request.args.get("done", ""), ""),
        trouble=trouble,
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
        slug = heading_slug(Markup(match[2]).striptags())  # noqa: S704 - already sanitised
        if not slug or slug in taken:
            return match[0]
        taken.add(slug)
        return f'<{match[1]} id="{escape(slug)}">{match[2]}</{match[1]}>'

    return Markup(_HEADING.sub(with_id, str(html)))  # noqa: S704 - sanitised by `render`, ids are slugs
