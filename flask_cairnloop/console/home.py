"""Home: what needs the operator now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from flask import Blueprint
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from flask_cairnloop.console import presenters
from flask_cairnloop.console.access import operator, reading, requires
from flask_cairnloop.console.inbox import visible_conversations
from flask_cairnloop.console.rendering import page, times, wanted
from flask_cairnloop.context import current
from flask_cairnloop.conversations.queries import (
    PAGE_SIZE,
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
    counts = _known(view_counts)
    resolved = _known(lambda session: resolved_since(session, times().midnight()))
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


@dataclass(frozen=True, slots=True)
class Rows:
    """The first conversations of a view that the operator may see.

    Args:
        left_out: whether there were others before them.
    """

    shown: list[presenters.RowView]
    left_out: bool


def _rows(view: View) -> Rows | None:
    # Where the host refuses some, the ones to show stand further down.
    limit = PAGE_SIZE if current().hooks.configured("AUTHORIZE") else SHOWN
    found = _known(lambda session: inbox_page(session, view, operator().id, limit=limit))
    if found is None:
        return None
    rows = list(islice(visible_conversations(found), SHOWN))
    return Rows(
        [presenters.inbox_row(row, operator(), times().now) for row in rows], len(rows) < min(SHOWN, len(found.rows))
    )


def _known(read: Callable[[Session], T]) -> T | None:
    """What a query says, or ``None`` where it fails: one figure that cannot be had must not take the page with it."""
    try:
        with reading() as session, session.begin_nested():
            return read(session)
    except SQLAlchemyError:
        current().app.logger.exception("a figure of the console's home could not be read")
        return None
