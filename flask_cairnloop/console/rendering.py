"""What all pages share: fragments, toasts, error pages, times in the reader's zone, and the templates' helpers."""

from __future__ import annotations

import json
from datetime import UTC, tzinfo
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from flask import Blueprint, g, make_response, render_template, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Response

from flask_cairnloop import clock
from flask_cairnloop.console import action_words, presenters
from flask_cairnloop.console.presenters import Times
from flask_cairnloop.context import current
from flask_cairnloop.conversations import mentions, queries
from flask_cairnloop.conversations.filters import DUE, Sort, View
from flask_cairnloop.conversations.models import Priority
from flask_cairnloop.database.failures import broke_off, kind
from flask_cairnloop.governance import queries as actions
from flask_cairnloop.hooks import Permission
from flask_cairnloop.jobs.queries import worker_states
from flask_cairnloop.resources import asset

THEME_COOKIE = "cairnloop_theme"
ZONE_COOKIE = "cairnloop_zone"
THEMES = ("system", "light", "dark")

# What a view may give a template, and what it is otherwise. Said here, before the host's own context processors or its
# `StrictUndefined` say something else.
UNLESS_GIVEN: dict[str, Any] = {
    "alone": False,
    "fresh": False,
    "counts": None,
    "section": "",
    "errors": {},
    "queue": None,
    "actions": (),
    "follow_ups": (),
    "attachable": "",
    "here": {},
    "here_count": None,
    "groups": (),
    "chips": (),
    "tags": (),
    "stopped": False,
    "form": None,
    "does": (),
}

# What happened, why it matters, what to do. Never a path, a class or a query.
PROBLEMS: dict[int, tuple[str, str]] = {
    401: ("You are not signed in", "Sign in to the app that this desk belongs to, then come back to this page."),
    403: ("You may not see this", "Your account has no permission for it. Whoever looks after accounts can grant it."),
    404: ("This is not here", "It may have been removed, or the address is not quite right."),
    409: ("That did not fit any more", "Somebody was faster, or the conversation moved on. Nothing was changed."),
    413: ("That was too large", "Nothing was changed. Go back: what you typed is still in the form."),
    422: ("That could not be used", "Nothing was changed."),
    503: ("The console is not ready", "Nobody can be let in until the app says who is signed in."),
}
NOT_READ = ("The database does not answer", "Nothing is lost. Try again in a moment.")
NOT_DONE = ("Nothing was done", "The database could not take it just now. Try again in a moment.")
NOT_KNOWN = (
    "It is not known whether this was done",
    "The database broke off in the middle of it. Do it again in a moment: nothing is sent twice.",
)


def is_fragment() -> bool:
    """Whether htmx asks for a part of a page. A history restore asks for a whole one, and says so."""
    headers = request.headers
    return headers.get("HX-Request") == "true" and headers.get("HX-Request-Type", "partial") == "partial"


def wanted() -> str:
    """The id of the element that a fragment is for; empty for a whole page."""
    if not is_fragment():
        return ""
    return unquote(request.headers.get("HX-Target", "").partition("#")[2])


def page(template: str, status: int = 200, **context: Any) -> Response:
    """Render a template of the console; answers differ by htmx's headers, so caches are told."""
    answer: Response = make_response(render_template(f"cairnloop/console/{template}", **context), status)
    answer.headers["Vary"] = "HX-Request, HX-Request-Type, HX-Target, Cookie"
    return answer


def tell(answer: Response, events: dict[str, Any]) -> Response:
    """Add client events to a fragment. Bounded words only: headers end up in logs."""
    answer.headers["HX-Trigger"] = json.dumps(events)
    return answer


def toast(
    answer: Response,
    text: str,
    events: dict[str, Any] | None = None,
    *,
    tone: str = "info",
    undo: str | None = None,
) -> Response:
    """Add one sentence for the operator to a fragment.

    Args:
        undo: address of the form that takes back what was done.
    """
    said = {"text": text, "tone": tone, **({"undo": undo} if undo else {})}
    return tell(answer, {"cairnloop:toast": said, **(events or {})})


def problem(status: int, *, detail: str = "") -> Response:
    """An error page, or for a fragment a toast that leaves the page as it is."""
    return _problem(status, *PROBLEMS[status], detail)


def database_problem(error: SQLAlchemyError) -> Response:
    """The same where the database is away, or cannot take what was asked. It is not asked again for this answer."""
    cairnloop = current()
    cairnloop.session().rollback()
    cairnloop.app.logger.error(
        "the database could not answer %s %s (%s)", request.method, request.endpoint, kind(error)
    )
    words = NOT_READ if request.method in ("GET", "HEAD") else NOT_KNOWN if broke_off(error) else NOT_DONE
    return _problem(503, *words, counts={}, outage=list)


def _problem(status: int, title: str, advice: str, detail: str = "", **context: Any) -> Response:
    if is_fragment():
        answer = make_response("", status)
        answer.headers["HX-Reswap"] = "none"
        return toast(answer, f"{title}. {detail or advice}", tone="error")
    return page("error.html", status, title=title, advice=advice, detail=detail, **context)


def times() -> Times:
    """Words for moments, in the zone of whoever reads this page."""
    if "cairnloop_times" not in g:
        g.cairnloop_times = Times(clock.now(), zone_named(request.cookies.get(ZONE_COOKIE)))
    found: Times = g.cairnloop_times
    return found


def zone_named(name: str | None) -> tzinfo:
    """A time zone by its name from a cookie; UTC for anything that is not one."""
    if not name or len(name) > 64:
        return UTC
    try:
        return ZoneInfo(unquote(name))
    except (ValueError, OSError, LookupError):
        return UTC


def console_path() -> str:
    """Where the console stands on this server: the app's own root, which a proxy may have set, and our prefix."""
    return request.script_root + current().settings.url_prefix


def own_page(address: str, prefix: str) -> str:
    """An address if it is a page of the console, else its home: never a way to another site."""
    inside = address == prefix or address.startswith((f"{prefix}/", f"{prefix}?"))
    clean = "\\" not in address and "//" not in address and address.isprintable()
    return address if inside and clean else f"{prefix}/"


def theme() -> str:
    """The reader's chosen theme, ``system`` unless they chose."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else "system"


def waiting_count() -> int | None:
    """How many customers wait for us; ``None`` where it cannot be said just now. One query."""
    session = current().session()
    try:
        with session.begin_nested():
            return queries.waiting(session)
    except SQLAlchemyError:  # a page that has nothing to do with it must not fail for it
        current().app.logger.exception("the number of waiting customers could not be read")
        return None


def approvals_count() -> int | None:
    """How many actions wait for a decision; ``None`` where it cannot be said just now. One query."""
    session = current().session()
    try:
        with session.begin_nested():
            return actions.waiting_count(session)
    except SQLAlchemyError:
        current().app.logger.exception("the number of waiting actions could not be read")
        return None


def mentions_count() -> int | None:
    """How many notes name the operator that they have not read; ``None`` where it cannot be said. One query."""
    session = current().session()
    try:
        with session.begin_nested():
            return mentions.unread(session, g.cairnloop_operator.id)
    except SQLAlchemyError:
        current().app.logger.exception("the number of unread mentions could not be read")
        return None


def outage() -> list[str]:
    """What stands still right now, in sentences for every page; empty when all is well. One query."""
    cairnloop = current()
    lines: list[str] = []
    reached = False
    with cairnloop.breaker.guard() as usable:  # an error inside is taken up by the guard
        reached = bool(usable and cairnloop.redis.ping())
    if not reached:
        lines.append("Redis does not answer. Nothing is lost, but pages update late and drafts wait.")
    session = cairnloop.session()
    try:
        with session.begin_nested():
            working = any(state.alive for state in worker_states(session))
    except SQLAlchemyError:
        return lines  # the page itself will say so
    if not working:
        lines.append("No worker is running. Nothing is lost, but replies, drafts and messages to your app wait.")
    return lines


def register(blueprint: Blueprint) -> None:
    """Give the templates their helpers."""

    @blueprint.context_processor
    def helpers() -> dict[str, Any]:
        from flask_cairnloop.console.access import may, may_open

        return {
            "asset": asset,
            "console_path": console_path(),
            "times": times(),
            "theme": theme(),
            "say": presenters,
            "View": View,
            "DUE": DUE,
            "Sort": Sort,
            "Priority": Priority,
            "Permission": Permission,
            "may": may,
            "may_open": may_open,
            "waiting_count": waiting_count,
            "has_actions": bool(current().hooks.tools),
            "approvals_count": approvals_count,
            "mentions_count": mentions_count,
            "words": action_words,
            "deferrals": action_words.DEFERRALS,
            "outage": outage,
            "operator": g.get("cairnloop_operator"),
            "settings": current().settings,
            **UNLESS_GIVEN,
        }
