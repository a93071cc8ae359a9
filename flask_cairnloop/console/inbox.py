"""The inbox: lists with filters, keyset-paged, single rows for live updates, and what is done to several at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from flask import Blueprint, redirect, request, url_for
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from flask_cairnloop.console import presenters
from flask_cairnloop.console.access import actor, may_open, operator, reading, requires, visible
from flask_cairnloop.console.rendering import is_fragment, page, times, toast, wanted
from flask_cairnloop.context import current
from flask_cairnloop.conversations import bulk, lists, queries, triage
from flask_cairnloop.conversations.filters import Filter, View
from flask_cairnloop.conversations.models import Priority
from flask_cairnloop.conversations.queries import InboxPage, InboxRow
from flask_cairnloop.errors import Conflict, InvalidInput, NotFound
from flask_cairnloop.hooks import Permission
from flask_cairnloop.paging import Cursor
from flask_cairnloop.service_levels.service import in_force
from flask_cairnloop.service_levels.targets import DueState

# What each of these asks for: done to one or to several, it is the same.
NEEDS = {
    bulk.Does.ASSIGN: Permission.CONVERSATIONS_REPLY,
    bulk.Does.TAG: Permission.CONVERSATIONS_REPLY,
    bulk.Does.PRIORITY: Permission.CONVERSATIONS_REPLY,
    bulk.Does.SNOOZE: Permission.CONVERSATIONS_REPLY,
    bulk.Does.RESOLVE: Permission.CONVERSATIONS_RESOLVE,
}
# What a list offers beside reading it.
LISTED = (Permission.CONVERSATIONS_REPLY, Permission.CONVERSATIONS_RESOLVE, Permission.OUTBOUND_BULK)
FOLLOW_UP = "follow_up"  # which is prepared on a page of its own
# The lists that every desk has, in groups under their titles.
MINE = Filter(View.OPEN, assignee="me")
UNASSIGNED = Filter(View.OPEN, assignee="nobody")
LATE = Filter(View.OPEN, due=DueState.BREACHED)
WORK = (
    MINE,
    UNASSIGNED,
    LATE,
    *map(Filter, (View.WAITING, View.NEW, View.DRAFT_READY, View.APPROVAL, View.WAITING_ON_THEM, View.SNOOZED)),
    Filter(View.OPEN),
)
CLOSED = (Filter(View.RESOLVED), Filter(View.SPAM))
EVERYTHING = (Filter(View.ALL),)
# Whether a form wants customers asked for a rating; anything else leaves that to the configuration.
ASKING = {"ask": True, "quiet": False}


def register(blueprint: Blueprint) -> None:
    number = "<int(max=9223372036854775807):{}>"
    blueprint.add_url_rule("/inbox", "inbox", inbox)
    blueprint.add_url_rule(f"/inbox/rows/{number.format('conversation_id')}", "inbox_row", inbox_row)
    blueprint.add_url_rule("/inbox/filters", "inbox_filters", filters)
    blueprint.add_url_rule("/inbox/people", "inbox_people", choices)
    blueprint.add_url_rule("/inbox/several", "several", several, methods=["POST"])
    blueprint.add_url_rule(f"/inbox/undo/{number.format('step_id')}", "undo_several", undo, methods=["POST"])
    blueprint.add_url_rule("/inbox/lists", "save_list", save_list, methods=["POST"])
    blueprint.add_url_rule(
        f"/inbox/lists/{number.format('list_id')}/delete", "delete_list", delete_list, methods=["POST"]
    )


@requires(Permission.CONVERSATIONS_READ, *LISTED)
def inbox() -> Response:
    """The inbox page, or the part of it that was asked for: lists, one list, further rows, or the empty thread."""
    asked = Filter.parse(request.args)
    match wanted():
        case "rail-count":
            return page("_rail_count.html", **counts(asked))
        case "views":
            return page("_views.html", **listing(asked), **counts(asked), alone=True)
        case "list":
            return page("_list.html", **listed(asked), **counts(asked), alone=True)
        case "more":
            return page("_rows.html", **listed(asked))
        case "work":
            return page("_empty_work.html", **listing(asked), alone=True)
        case _:
            return page("inbox.html", **listed(asked), **counts(asked), thread=None)


@requires(Permission.CONVERSATIONS_READ, *LISTED)
def inbox_row(conversation_id: int) -> Response:
    """One row as it is now, with a header that says whether it still stands in the list."""
    asked = Filter.parse(request.args)
    session = current().session()
    row = queries.inbox_row(session, conversation_id, operator().id)
    belongs = queries.stands_in(session, conversation_id, asked, operator().id)
    shown = presenters.inbox_row(row, operator(), times().now)
    answer = page("_row.html", row=shown, **listing(asked), selected=None)
    answer.headers["Cairnloop-In-View"] = "yes" if belongs else "no"
    return answer


@requires(Permission.CONVERSATIONS_READ)
def filters() -> Response:
    """All filters of a list as one form, for a menu or as a page."""
    asked = Filter.parse(request.args)
    people, failed = triage_people()
    session = current().session()
    return page(
        "_filters.html" if is_fragment() else "filters.html",
        **listing(asked),
        all_tags=triage.all_tags(session),
        people=people,
        teams=teams_of(people),
        failed=failed,
    )


@requires(Permission.CONVERSATIONS_READ)
def choices() -> Response:
    """Whom what is ticked can be given to, for the menu beside it; as a page, who works here."""
    people, failed = triage_people()
    return page("_people.html" if is_fragment() else "people.html", people=people, failed=failed)


def triage_people() -> tuple[list[Any], bool]:
    from flask_cairnloop.console.triage import people  # which shows rows of this list

    return people()


def teams_of(people: Sequence[Any]) -> list[str]:
    """The names of all their teams."""
    return sorted({team for one in people for team in one.teams}, key=str.casefold)


def listing(asked: Filter) -> dict[str, Any]:
    """What every part of a list knows of it."""
    return {"asked": asked, "view": asked.view, "here": asked.args(), "query": urlencode(asked.args(), doseq=True)}


def listed(asked: Filter) -> dict[str, Any]:
    """What a list needs. One query; with filters some more, for the words of its chips."""
    after = Cursor.parse(request.args.get("after"))
    with reading() as session:
        found = queries.inbox_page(session, asked, operator().id, after=after)
        tags = {tag.id: tag.name for tag in triage.all_tags(session)} if asked.tags else {}
    rows = [presenters.inbox_row(row, operator(), times().now) for row in visible_conversations(found)]
    names = {row.assignee_id: row.assignee.name for row in rows if row.assignee and row.assignee_id}
    return {
        **listing(asked),
        "rows": rows,
        "left_out": len(rows) < len(found.rows),
        "more": found.after,
        "stopped": found.stopped and not rows,
        "paged": after is not None,
        "selected": None,
        "chips": presenters.chips(asked, tags, names),
    }


def visible_conversations(found: InboxPage) -> Iterator[InboxRow]:
    """The rows of a page that the operator may see: a page may be shorter, the next one starts where it would."""
    return visible(found.rows, Permission.CONVERSATIONS_READ, "conversation", lambda row: row.conversation.id)


@dataclass(frozen=True, slots=True)
class ListLink:
    """A list as the menu names it.

    Args:
        number: how many stand in it; ``None`` where that is not counted.
        saved_id: of a saved one.
    """

    title: str
    asked: Filter
    number: int | None
    saved_id: int | None = None
    shared: bool = False


def counts(asked: Filter) -> dict[str, Any]:
    """What the lists' names and numbers need. Two queries: the saved ones, and all counts."""
    session = current().session()
    saved = [(view, lists.filter_of(view)) for view in lists.saved(session, operator().id)]
    work = [one for one in WORK if one.view is not View.APPROVAL or current().hooks.tools]
    counted = [*work, *(one for _, one in saved), *([asked] if asked.is_narrowed else [])]
    numbers, (promises,) = queries.list_counts_and(session, counted, operator().id, in_force().scalar_subquery())
    by_filter = dict(zip(counted, numbers, strict=True))
    work = [one for one in work if one != LATE or can_be_late(promises)]
    links = [ListLink(presenters.list_title(one), one, by_filter[one]) for one in work]
    theirs = [ListLink(view.name, one, by_filter[one], view.id, view.owner_id is None) for view, one in saved]
    return {
        "counts": {one.view: by_filter[one] for one in work if not one.is_narrowed},
        "here_count": by_filter.get(asked.bare, by_filter.get(asked)),
        "groups": [
            ("", links),
            ("Yours", [link for link in theirs if not link.shared]),
            ("Everybody’s", [link for link in theirs if link.shared]),
            ("Closed", [ListLink(presenters.list_title(one), one, None) for one in CLOSED]),
            ("Everything", [ListLink(presenters.list_title(one), one, None) for one in EVERYTHING]),
        ],
    }


def can_be_late(promises: bool | None) -> bool:
    """Whether a conversation can have a deadline: by the desk's policy, where one is in force, or by the host's."""
    return bool(promises) or current().hooks.configured("SLA_POLICY")


# --- several at once --------------------------------------------------------------------------------------------------


@requires(Permission.CONVERSATIONS_READ, *LISTED)
def several() -> Response:
    """Do one thing to the conversations that were ticked, each of which the operator may do it to."""
    from flask_cairnloop.console.triage import moment, person

    # A menu's button says what and how in one word: `snooze:tomorrow`.
    said, _, how = request.form.get("set", "").partition(":")
    if request.form.get("step") == FOLLOW_UP:
        return _follow_up(list(_ticked())[: bulk.MOST])
    try:
        does = bulk.Does(said or request.form.get("step", ""))
    except ValueError as error:
        raise InvalidInput("step", "Choose what to do with them.") from error
    seen = _ticked()
    chosen = list(seen)
    allowed = list(visible(chosen, NEEDS[does], "conversation", lambda id_: id_)) if may_open(NEEDS[does]) else []
    if chosen and not allowed:
        return _list_now("Nothing was changed: your account may not do this to them", None)
    assignee = person(how or request.form.get("to", "me")) if does is bulk.Does.ASSIGN else None
    until = (
        moment(how or request.form.get("until", ""), request.form.get("at", "")) if does is bulk.Does.SNOOZE else None
    )
    session = current().session()
    tag_id = triage.tag_named(session, request.form.get("tag", "")).id if does is bulk.Does.TAG else 0
    priority = Priority.parse(how or request.form.get("priority"))
    if does is bulk.Does.PRIORITY and priority is None:
        raise InvalidInput("priority", "Choose how urgent they are.")
    asks = ASKING.get(how) if does is bulk.Does.RESOLVE else None
    shown = {id_: sequence for id_, sequence in seen.items() if sequence is not None}
    step = bulk.Step(does, assignee, tag_id, priority or Priority.NORMAL, until, asks, shown)
    done = bulk.do(session, allowed, step, actor=actor())
    session.commit()
    words = presenters.done_to_several(
        step, len(done.changed), done.left + len(chosen) - len(allowed), times(), done.moved
    )
    return _list_now(words, done.step_id)


def _ticked() -> dict[int, int | None]:
    """The conversations that a form names, as ``id:sequence`` with the newest that its list had shown, or as ids."""
    found: dict[int, int | None] = {}
    for text in request.form.getlist("id")[: bulk.MOST + 1]:
        number, _, sequence = text.partition(":")
        if _is_number(number) and 0 < int(number) < 2**63:
            found.setdefault(int(number), int(sequence) if _is_number(sequence) else None)
    return found


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


@requires(Permission.CONVERSATIONS_READ, *LISTED)
def undo(step_id: int) -> Response:
    """Take back what was done to several, where nobody changed it since."""
    session = current().session()
    try:
        does, ids = bulk.step_of(session, step_id, actor=actor())
        session.rollback()  # host code is asked next
        allowed = set(visible(ids, NEEDS[does], "conversation", lambda id_: id_)) if may_open(NEEDS[does]) else set()
        undone = bulk.undo(session, step_id, actor=actor(), allowed=allowed)
        session.commit()
    except (Conflict, NotFound) as error:
        session.rollback()
        return _list_now(str(error), None)
    return _list_now(presenters.undone(len(undone.restored), undone.left), None)


def _follow_up(ids: list[int]) -> Response:
    """The page where a follow-up to what was ticked is prepared."""
    where = url_for("cairnloop.new_follow_up", id=ids)
    if not is_fragment():
        return redirect(where, code=303)
    answer = Response(status=204)
    answer.headers["HX-Redirect"] = where
    return answer


def _list_now(words: str, step_id: int | None) -> Response:
    """The list as it is now, with what was done; for a browser without scripts, the page again."""
    asked = _listed_in_form()
    if not is_fragment():
        return redirect(url_for("cairnloop.inbox", **asked.args()), code=303)
    answer = page("_list.html", **listed(asked), **counts(asked), alone=True)
    undo = None if step_id is None else url_for("cairnloop.undo_several", step_id=step_id)
    return toast(answer, words, {"cairnloop:several": {}}, undo=undo)


def _listed_in_form() -> Filter:
    """The list that a form was sent from, as it stands in an address."""
    return Filter.parse(MultiDict(parse_qsl(request.form.get("list", "")[:2000], max_num_fields=40)))


# --- saved lists ------------------------------------------------------------------------------------------------------


@requires(Permission.CONVERSATIONS_READ, Permission.VIEWS_SHARE)
def save_list() -> Response:
    """Keep a list under a name, for oneself or, with the permission, for everybody."""
    asked = _listed_in_form()
    shared = request.form.get("shared") == "yes" and may_open(Permission.VIEWS_SHARE)
    session = current().session()
    lists.save(session, asked, request.form.get("name", ""), actor=actor(), shared=shared)
    session.commit()
    return redirect(url_for("cairnloop.inbox", **asked.args()), code=303)


@requires(Permission.CONVERSATIONS_READ, Permission.VIEWS_SHARE)
def delete_list(list_id: int) -> Response:
    """Delete a saved list."""
    session = current().session()
    lists.delete(session, list_id, actor=actor(), may_share=may_open(Permission.VIEWS_SHARE))
    session.commit()
    return redirect(url_for("cairnloop.inbox"), code=303)
