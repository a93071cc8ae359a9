"""The inbox: views, a keyset-paged list, and single rows for live updates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Blueprint, request
from werkzeug.wrappers import Response

from flask_cairnloop.console import presenters
from flask_cairnloop.console.access import operator, reading, requires, visible
from flask_cairnloop.console.rendering import page, times, wanted
from flask_cairnloop.context import current
from flask_cairnloop.conversations import queries
from flask_cairnloop.conversations.queries import InboxPage, InboxRow, View
from flask_cairnloop.hooks import Permission
from flask_cairnloop.paging import Cursor


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/inbox", "inbox", inbox)
    blueprint.add_url_rule("/inbox/rows/<int(max=9223372036854775807):conversation_id>", "inbox_row", inbox_row)


@requires(Permission.CONVERSATIONS_READ)
def inbox() -> Response:
    """The inbox page, or the part of it that was asked for: views, list, further rows, or the empty thread."""
    view = View.parse(request.args.get("view"), default=View.WAITING)
    match wanted():
        case "rail-count":
            return page("_rail_count.html", **counts())
        case "views":
            return page("_views.html", **counts(), view=view, alone=True)
        case "list":
            return page("_list.html", **listed(view), **counts(), alone=True)
        case "more":
            return page("_rows.html", **listed(view))
        case "work":
            return page("_empty_work.html", view=view, alone=True)
        case _:
            return page("inbox.html", **listed(view), **counts(), thread=None)


@requires(Permission.CONVERSATIONS_READ)
def inbox_row(conversation_id: int) -> Response:
    """One row as it is now, with a header that says whether it still stands in the view."""
    view = View.parse(request.args.get("view"), default=View.WAITING)
    row = queries.inbox_row(current().session(), conversation_id, operator().id)
    answer = page("_row.html", row=presenters.inbox_row(row, operator(), times().now), view=view, selected=None)
    answer.headers["Cairnloop-In-View"] = "yes" if row.belongs_to(view) else "no"
    return answer


def listed(view: View) -> dict[str, Any]:
    """What the list of a view needs. One query."""
    after = Cursor.parse(request.args.get("after"))
    with reading() as session:
        found = queries.inbox_page(session, view, operator().id, after=after)
    rows = [presenters.inbox_row(row, operator(), times().now) for row in visible_conversations(found)]
    return {
        "view": view,
        "rows": rows,
        "left_out": len(rows) < len(found.rows),
        "more": found.after,
        "paged": after is not None,
        "selected": None,
    }


def visible_conversations(found: InboxPage) -> Iterator[InboxRow]:
    """The rows of a page that the operator may see: a page may be shorter, the next one starts where it would."""
    return visible(found.rows, Permission.CONVERSATIONS_READ, "conversation", lambda row: row.conversation.id)


def counts() -> dict[str, Any]:
    """What the views' counts need. One query."""
    return {"counts": queries.view_counts(current().session())}
