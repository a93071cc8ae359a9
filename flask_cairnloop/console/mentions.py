"""Notes that name the operator: the bell, its page, and who can be named in a note."""

from __future__ import annotations

from flask import Blueprint, jsonify, redirect, request, url_for
from werkzeug.wrappers import Response

from flask_cairnloop.console import presenters
from flask_cairnloop.console.access import operator, reading, requires, visible
from flask_cairnloop.console.rendering import is_fragment, page, times, wanted
from flask_cairnloop.context import current
from flask_cairnloop.conversations import mentions
from flask_cairnloop.errors import HookFailed
from flask_cairnloop.hooks import Operator, Permission, Subject

ID = "<int(max=9223372036854775807):{}>"
OFFERED = 8


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/mentions", "mentions", list_mentions)
    blueprint.add_url_rule("/mentions/read", "read_mentions", read, methods=["POST"])
    blueprint.add_url_rule(f"/conversations/{ID.format('conversation_id')}/people", "people", people)


@requires(Permission.CONVERSATIONS_READ)
def list_mentions() -> Response:
    """The notes that name the operator, newest first; or how many they have not read."""
    return page("_bell_count.html") if wanted() == "bell-count" else _listed()


def _listed() -> Response:
    before = request.args.get("before", "")
    with reading() as session:
        place = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
        found = mentions.latest(session, operator().id, before=place)
    more = found[mentions.PAGE_SIZE - 1].mention.id if len(found) > mentions.PAGE_SIZE else None
    rows = found[: mentions.PAGE_SIZE]
    seen = list(visible(rows, Permission.CONVERSATIONS_READ, "conversation", lambda row: row.conversation.id))
    shown = [presenters.mention(row) for row in seen]
    template = "_mentions.html" if wanted() == "mentions" else "mentions.html"
    return page(template, rows=shown, left_out=len(seen) < len(rows), more=more, times=times())


@requires(Permission.CONVERSATIONS_READ)
def read() -> Response:
    """Note that the operator has read one mention, or all."""
    session = current().session()
    number = request.form.get("mention", "")
    if number.isascii() and number.isdigit() and len(number) < 19:
        mentions.mark_read(session, operator().id, mention_id=int(number))
    elif not number:
        mentions.mark_read(session, operator().id)
    session.commit()
    return _listed() if is_fragment() else redirect(url_for("cairnloop.mentions"), code=303)


@requires(Permission.CONVERSATIONS_NOTE)
def people(conversation_id: int) -> Response:
    """Who can be named in a note of this conversation, by what was typed of a name."""
    found = current().hooks.colleagues(request.args.get("q", "")[:100])
    others = [person for person in found if person.id != operator().id]
    offered = who_may_see(conversation_id, others, most=OFFERED)
    return jsonify([{"id": person.id, "name": person.name} for person in offered])


def who_may_see(conversation_id: int, people: list[Operator], *, most: int | None = None) -> list[Operator]:
    """Those of them who may read a conversation, as the host says; asked with no transaction of ours open.

    Args:
        most: ask no further once there are so many.
    """
    hooks, about = current().hooks, Subject("conversation", conversation_id)
    allowed: list[Operator] = []
    for person in people:
        if len(allowed) == most:
            break
        try:
            if hooks.may(person, Permission.CONVERSATIONS_READ, about):
                allowed.append(person)
        except HookFailed:  # nobody is told on a guess
            continue
    return allowed
