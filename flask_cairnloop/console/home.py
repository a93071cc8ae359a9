"""Home: what needs the operator now."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flask import Blueprint
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Response

from flask_cairnloop.console import presenters
from flask_cairnloop.console.access import operator, requires
from flask_cairnloop.console.rendering import page, times, wanted
from flask_cairnloop.context import current
from flask_cairnloop.conversations.queries import (
    InboxPage,
    View,
    inbox_page,
    resolved_since,
    view_counts,
)
from flask_cairnloop.hooks import Permission

T = TypeVar("T")
SHOWN = 6


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/", "home", home)


@requires(Permission.CONVERSATIONS_READ)
def home() -> Response:
    """The home page, or its live part."""
    session = current().session()
    counts = _known(lambda: view_counts(session))
    resolved = _known(lambda: resolved_since(session, times().midnight()))
    waiting = counts[View.WAITING] if counts else None
    drafts = counts[View.DRAFT_READY] if counts else None
    return page(
        "_home.html" if wanted() == "home" else "home.html",
        headline=presenters.headline(waiting, drafts),
        counts=counts or {},
        stats=(
            (View.WAITING, "Waiting on us", waiting),
            (View.DRAFT_READY, "Drafts to check", drafts),
            (View.OPEN, "All open", counts[View.OPEN] if counts else None),
            (View.RESOLVED, "Resolved today", resolved),
        ),
        longest=_rows(View.WAITING),
        ready=_rows(View.DRAFT_READY),
    )


def _rows(view: View) -> list[presenters.RowView] | None:
    session = current().session()
    found: InboxPage | None = _known(lambda: inbox_page(session, view, operator().id, limit=SHOWN))
    if found is None:
        return None
    return [presenters.inbox_row(row, operator(), times().now) for row in found.rows]


def _known(read: Callable[[], T]) -> T | None:
    """What a query says, or ``None`` where it fails: one figure that cannot be had must not take the page with it."""
    try:
        with current().session().begin_nested():
            return read()
    except SQLAlchemyError:
        current().app.logger.exception("a figure of the console's home could not be read")
        return None
