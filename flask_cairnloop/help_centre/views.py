"""Pages of the help centre. Each reads what anybody may read at that moment, and nothing else."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from flask import Blueprint, abort, make_response, redirect, render_template, request, url_for
from itsdangerous import BadSignature, URLSafeSerializer
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from flask_cairnloop import clock
from flask_cairnloop.actors import Actor
from flask_cairnloop.context import current
from flask_cairnloop.database.failures import AWAY
from flask_cairnloop.errors import NotFound
from flask_cairnloop.knowledge import public, votes
from flask_cairnloop.knowledge.models import Article, Audience
from flask_cairnloop.knowledge.rendering import render, render_with_files
from flask_cairnloop.paging import Cursor
from flask_cairnloop.resources import asset
from flask_cairnloop.retrieval.grounding import calibration
from flask_cairnloop.retrieval.search import search as search_articles
from flask_cairnloop.retrieval.types import Passage
from flask_cairnloop.upkeep.misses import miss
from flask_cairnloop.upkeep.models import GapReason, GapSource
from flask_cairnloop.upkeep.service import record_gap

T = TypeVar("T")
VISITOR: Final = Actor.system("help centre")
COOKIE: Final = "cairnloop_visitor"
COOKIE_SECONDS: Final = 365 * 86_400
QUERY_LENGTH: Final = 300
RESULTS: Final = 10
EXCERPT: Final = 220
# By the two letters of ISO 639-1.
LANGUAGES: Final = {
    **{"ar": "العربية", "cs": "Čeština", "da": "Dansk", "de": "Deutsch", "el": "Ελληνικά", "en": "English"},
    **{"es": "Español", "fi": "Suomi", "fr": "Français", "he": "עברית", "hi": "हिन्दी", "hu": "Magyar"},
    **{
        "id": "Bahasa Indonesia",
        "it": "Italiano",
        "ja": "日本語",
        "ko": "한국어",
        "nb": "Norsk bokmål",
        "nl": "Nederlands",
    },
    **{"no": "Norsk", "pl": "Polski", "pt": "Português", "ro": "Română", "ru": "Русский", "sv": "Svenska"},
    **{"th": "ไทย", "tr": "Türkçe", "uk": "Українська", "vi": "Tiếng Việt", "zh": "中文"},
}


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/", "home", home, strict_slashes=False)
    blueprint.add_url_rule("/browse", "browse", browse)
    blueprint.add_url_rule("/search", "search", search)
    blueprint.add_url_rule("/articles/<slug>", "article", article)
    blueprint.add_url_rule("/articles/<slug>/vote", "vote", vote, methods=["POST"])
    blueprint.add_url_rule("/sitemap.xml", "sitemap", sitemap)
    blueprint.register_error_handler(NotFound, missing)
    for away in AWAY:
        blueprint.register_error_handler(away, unavailable)
    blueprint.context_processor(_helpers)


# --- reading ----------------------------------------------------------------------------------------------------------


def home() -> Response:
    """Where to look: by words, by category, or among what others found helpful."""
    shelves, useful, languages = _read(
        lambda s, tags: (public.shelves(s, tags), public.useful(s, tags), public.languages(s, tags))
    )
    total = sum(shelf.count for shelf in shelves)
    return _page("home.html", shelves=shelves, useful=useful, total=total, languages=languages)


def browse() -> Response:
    """The articles of a category, with a tag or in a language, or all."""
    asked = {name: _typed(name) or None for name in ("category", "tag", "language")}
    after = Cursor.parse(request.args.get("after"))
    found, languages = _read(
        lambda s, tags: (public.on_shelf(s, tags, **asked, after=after), public.languages(s, tags))
    )
    if not found.articles and after is None:
        raise NotFound("There are no such articles.")
    return _page("browse.html", found=found, asked_for=asked, languages=languages)


def search() -> Response:
    """What the articles say about a question. One that nothing answers is kept for those who write articles."""
    asked = _typed("q")
    if not asked:
        return redirect(url_for("cairnloop_help.home"), code=303)
    wait = current().rate_limits.take("searches", _address())
    if wait:
        return _page("wait.html", 429, wait=wait)
    found, named, reason = _read(lambda s, tags: _searched(s, tags, asked))
    if reason is not None:
        _keep(asked, GapSource.HELP_SEARCH, reason)
    return _page("search.html", asked=asked, found=found, slugs=named, missed=reason is not None)


def article(slug: str) -> Response:
    """One article as it is published."""

    def read(session: Session, tags: public.Tags) -> dict[str, Any]:
        found, revision = public.by_slug(session, slug, tags)
        return {
            "article": found,
            "revision": revision,
            "body": render_with_files(session, revision.body),
            "related": public.related(session, found, tags),
        }

    said = request.args.get("voted", "")
    answer = _page("article.html", **_read(read), asked=_typed("q"), voted=said if said in ("yes", "no") else None)
    return answer


def sitemap() -> Response:
    """Every public article, for robots that read it."""
    pages = _read(lambda s, tags: list(public.everything(s, tags)))
    answer = _page("sitemap.xml", pages=pages)
    answer.mimetype = "application/xml"
    return answer


def missing(_: NotFound) -> Response:
    return _page("missing.html", 404)


def unavailable(_: Exception) -> Response:
    current().session().rollback()
    return _page("unavailable.html", 503)


# --- voting -----------------------------------------------------------------------------------------------------------


def vote(slug: str) -> Response:
    """Keep whether an article helped. Where it did not, the search that led to it is a gap."""
    said = request.form.get("helpful", "")
    if said not in ("yes", "no"):
        abort(400)
    helpful = said == "yes"
    if current().rate_limits.take("votes", _address()):
        return _page("wait.html", 429, wait=0)
    number, asked = _visitor(), _typed("q")

    words = request.form.get("comment", "")[: votes.COMMENT_LENGTH]

    def keep(session: Session, tags: public.Tags) -> tuple[int, str]:
        found, revision = public.by_slug(session, slug, tags)
        visitor = hashlib.sha256(number.encode()).hexdigest()
        votes.vote(session, found.id, revision.id, visitor=visitor, helpful=helpful, comment=words)
        session.commit()
        return found.id, found.title

    article_id, title = _read(keep)
    if not helpful:  # of who looked for nothing, what is missing says most, and what the article is about at least
        _keep(asked or words.strip() or title, GapSource.HELP_VOTE, GapReason.NOT_HELPFUL, article_id)
    back = url_for("cairnloop_help.article", slug=slug, voted="yes" if helpful else "no", q=asked or None)
    answer = redirect(f"{back}#helpful", code=303)
    answer.set_cookie(
        COOKIE,
        _signer().dumps(number),
        max_age=COOKIE_SECONDS,
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",
        path=current().settings.help_url_prefix,
    )
    return answer


def _visitor() -> str:
    """What stands for this visitor: a number drawn by lot, which nothing but their browser keeps."""
    try:
        known = _signer().loads(request.cookies.get(COOKIE, ""))
    except BadSignature:
        known = None
    return known if isinstance(known, str) else secrets.token_urlsafe(16)


def _signer() -> URLSafeSerializer:
    return URLSafeSerializer(current().app.secret_key or "", salt="cairnloop help visitor")


# --- shared -----------------------------------------------------------------------------------------------------------


def _read(read: Callable[[Session, public.Tags], T]) -> T:
    cairnloop = current()
    tags = public.public_tags(cairnloop.settings, cairnloop.hooks)
    with Session(cairnloop.engine, expire_on_commit=False) as session:
        return read(session, tags)


def _searched(
    session: Session, tags: public.Tags, asked: str
) -> tuple[tuple[Passage, ...], dict[int, str], GapReason | None]:
    results = search_articles(session, asked, limit=RESULTS, audience=Audience.PUBLIC, tags=tags)
    named = public.slugs(session, [passage.article_id for passage in results.passages], tags)
    reason = None if results.refused else miss(asked, results, calibration(session))
    return tuple(passage for passage in results.passages if passage.article_id in named), named, reason


def _keep(asked: str, source: GapSource, reason: GapReason, article_id: int | None = None) -> None:
    who = _whoever()
    with Session(current().engine) as session:
        record_gap(session, asked, source=source, reason=reason, actor=VISITOR, article_id=article_id, visitor=who)
        session.commit()


def _page(template: str, status: int = 200, **context: Any) -> Response:
    answer: Response = make_response(render_template(f"cairnloop/help/{template}", **context), status)
    return answer


def _typed(name: str) -> str:
    value = request.values.get(name, "")
    return "" if "\x00" in value else " ".join(value.split())[:QUERY_LENGTH]


def _whoever() -> str:
    """What stands for a visitor who has no cookie yet: a digest of where they are, under the app's key."""
    key = current().app.secret_key or ""
    secret = key if isinstance(key, bytes) else key.encode()
    return hmac.new(secret, f"visitor:{request.remote_addr}".encode(), hashlib.sha256).hexdigest()


def _address() -> str:
    return f"visitor:{request.remote_addr or ''}"


def _excerpt(passage: Passage) -> str:
    words = str(render(passage.content).striptags())
    return words if len(words) <= EXCERPT else f"{words[:EXCERPT].rsplit(' ', 1)[0]} …"


def _link(one: Article | str, asked: str = "") -> str:
    """The address of an article, with the question that led to it."""
    slug = one if isinstance(one, str) else one.slug
    address = url_for("cairnloop_help.article", slug=slug)
    return f"{address}?{urlencode({'q': asked})}" if asked else address


def _language_name(code: str) -> str:
    """What speakers of a language call it, where it is a common one."""
    return LANGUAGES.get(code.partition("-")[0].lower(), code)


def _helpers() -> dict[str, Any]:
    settings = current().settings
    return {
        "settings": settings,
        "asset": asset,
        "link": _link,
        "language_name": _language_name,
        "excerpt": _excerpt,
        "today": clock.now(),
        "canonical": f"{request.url_root.rstrip('/')}{request.path}",
    }
