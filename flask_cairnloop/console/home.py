"""Home: what needs the operator now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from flask import Blueprint, url_for
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from flask_cairnloop.console import presenters
from flask_cairnloop.console.access import may_open, operator, reading, requires
from flask_cairnloop.console.inbox import LATE, MINE, UNASSIGNED, can_be_late, visible_conversations
from flask_cairnloop.console.rendering import page, times, wanted
from flask_cairnloop.context import current
from flask_cairnloop.conversations import queries
from flask_cairnloop.conversations.filters import Filter, View
from flask_cairnloop.conversations.queries import PAGE_SIZE, inbox_page
from flask_cairnloop.hooks import Permission
from flask_cairnloop.jobs.queries import queue_states
from flask_cairnloop.service_levels.service import in_force
from flask_cairnloop.service_levels.targets import DueState
from flask_cairnloop.upkeep.reviews import waiting_counts

T = TypeVar("T")
SHOWN = 6
DUE_SOON = Filter(View.OPEN, due=DueState.SOON)


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/", "home", home)


@requires(Permission.CONVERSATIONS_READ)
def home() -> Response:
    """The home page, or its live part."""
    asked = (MINE, UNASSIGNED, *map(Filter, (View.WAITING, View.DRAFT_READY, View.APPROVAL)), DUE_SOON, LATE)
    numbers = _known(lambda session: queries.list_counts(session, asked, operator().id)) or [None] * len(asked)
    figures = select(queries.resolutions(times().midnight()).scalar_subquery(), in_force().scalar_subquery())
    resolved, promises = _known(lambda session: session.execute(figures).one()) or (None, False)
    by_list = dict(zip(asked, numbers, strict=True))
    waiting, drafts = by_list[Filter(View.WAITING)], by_list[Filter(View.DRAFT_READY)]
    tiles = [
        _tile("Mine", by_list[MINE], MINE),
        _tile("Unassigned", by_list[UNASSIGNED], UNASSIGNED),
        _tile("Waiting on us", waiting, Filter(View.WAITING)),
        _tile("Drafts to check", drafts, Filter(View.DRAFT_READY)),
    ]
    if current().hooks.tools:
        tiles.append(_tile("Needs approval", by_list[Filter(View.APPROVAL)], Filter(View.APPROVAL)))
    if can_be_late(promises):
        tiles += [_tile("Late", by_list[LATE], LATE), _tile("Due soon", by_list[DUE_SOON], DUE_SOON)]
    if may_open(Permission.KNOWLEDGE_READ):
        gaps, reviews = _known(waiting_counts) or (None, None)
        tiles.append(Tile("Without an answer", gaps, url_for("cairnloop.gaps")))
        tiles.append(Tile("Reviews waiting", reviews, url_for("cairnloop.reviews")))
    tiles.append(_tile("Resolved today", resolved, Filter(View.RESOLVED)))
    return page(
        "_home.html" if wanted() == "home" else "home.html",
        headline=presenters.headline(waiting, drafts),
        counts={one.view: number for one, number in by_list.items() if not one.is_narrowed and number is not None},
        tiles=tiles,
        longest=_rows(View.WAITING),
        ready=_rows(View.DRAFT_READY),
        trouble=_known(dead_jobs),
    )


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure, and the list that it counts. ``number`` is ``None`` where it could not be had."""

    label: str
    number: int | None
    href: str


def _tile(label: str, number: int | None, of: Filter) -> Tile:
    return Tile(label, number, url_for("cairnloop.inbox", **of.args()))


def dead_jobs(session: Session) -> int:
    """How many jobs failed for good and wait for somebody to decide. One query."""
    return sum(state.dead for state in queue_states(session))


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
