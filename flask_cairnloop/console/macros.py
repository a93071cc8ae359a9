"""Macros: the library under Settings, and choosing one for the reply that is being written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, jsonify, redirect, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from flask_cairnloop.console.access import actor, may, operator, reading, requires
from flask_cairnloop.console.rendering import is_fragment, page
from flask_cairnloop.context import current
from flask_cairnloop.conversations import queries, triage, unsent
from flask_cairnloop.conversations.models import Tag
from flask_cairnloop.errors import CairnloopError, Conflict, Forbidden, InvalidInput
from flask_cairnloop.hooks import Permission
from flask_cairnloop.macros import language, service
from flask_cairnloop.macros.actions import ACTIONS, PRIORITIES, RESOLVING, Action, known, named, of_tag
from flask_cairnloop.macros.models import SHARED, Macro

ID = "<int(max=9223372036854775807):{}>"
REPLY, SHARE = Permission.CONVERSATIONS_REPLY, Permission.MACROS_SHARE
DONE = tuple({action.permission for action in ACTIONS.values()})  # what a macro can have done needs these


def register(blueprint: Blueprint) -> None:
    one = f"/settings/macros/{ID.format('macro_id')}"
    here = f"/conversations/{ID.format('conversation_id')}/macros"
    blueprint.add_url_rule("/settings/macros", "macros", library)
    blueprint.add_url_rule("/settings/macros/new", "new_macro", new, methods=["POST"])
    blueprint.add_url_rule(one, "macro", macro)
    blueprint.add_url_rule(f"{one}/save", "save_macro", save, methods=["POST"])
    blueprint.add_url_rule(f"{one}/delete", "delete_macro", delete, methods=["POST"])
    blueprint.add_url_rule(here, "pick_macro", pick)
    blueprint.add_url_rule(f"{here}/{ID.format('macro_id')}/use", "use_macro", use, methods=["POST"])


# --- the library ------------------------------------------------------------------------------------------------------


@requires(REPLY, SHARE, *DONE)
def library() -> Response:
    """The operator's own macros and the team's, and a form for a new one."""
    return _library()


@requires(REPLY, SHARE, *DONE)
def macro(macro_id: int) -> Response:
    """One macro, to be changed."""
    with reading() as session:
        found, tags = service.get(session, macro_id, operator()), triage.all_tags(session)
    return _editor(found, tags)


@requires(REPLY, SHARE, *DONE)
def new() -> Response:
    """Write a macro."""
    session = current().session()
    try:
        service.save(session, None, operator=operator(), **_written())
        session.commit()
    except (InvalidInput, Conflict) as refused:
        session.rollback()
        return _library(_problem(refused), request.form)
    return redirect(url_for("cairnloop.macros"), code=303)


@requires(REPLY, SHARE, *DONE)
def save(macro_id: int) -> Response:
    """Write a macro anew."""
    session = current().session()
    found = _editable(service.get(session, macro_id, operator()))
    try:
        service.save(session, found, operator=operator(), **_written())
        session.commit()
    except (InvalidInput, Conflict) as refused:
        session.rollback()
        found, tags = service.get(session, macro_id, operator()), triage.all_tags(session)
        return _editor(found, tags, _problem(refused), request.form)
    return redirect(url_for("cairnloop.macros"), code=303)


@requires(REPLY, SHARE, *DONE)
def delete(macro_id: int) -> Response:
    """Throw a macro away."""
    session = current().session()
    service.delete(session, _editable(service.get(session, macro_id, operator())), operator=operator())
    session.commit()
    return redirect(url_for("cairnloop.macros"), code=303)


def _written() -> dict[str, Any]:
    """What a form says of a macro."""
    shared = "shared" in request.form
    if shared and not may(SHARE):
        raise Forbidden
    return {
        "name": request.form.get("name", ""),
        "body": request.form.get("body", ""),
        "does": request.form.getlist("does"),
        "shared": shared,
    }


def _editable(found: Macro) -> Macro:
    if found.owner_id == SHARED and not may(SHARE):
        raise Forbidden
    return found


def _problem(refused: CairnloopError) -> dict[str, str]:
    if isinstance(refused, InvalidInput):
        return {refused.field: refused.message}
    return {"name": str(refused)}


def _library(errors: Mapping[str, str] | None = None, form: Any = None) -> Response:
    with reading() as session:
        found = service.usable(session, operator())
        tags = triage.all_tags(session)
    return page(
        "library.html",
        422 if errors else 200,
        own=[one for one in found if one.owner_id != SHARED],
        shared=[one for one in found if one.owner_id == SHARED],
        **_form(tags, errors, form),
    )


def _editor(found: Macro, tags: Sequence[Tag], errors: Mapping[str, str] | None = None, form: Any = None) -> Response:
    return page("macro.html", 422 if errors else 200, macro=found, **_form(tags, errors, form))


def _form(tags: Sequence[Tag], errors: Mapping[str, str] | None, form: Any) -> dict[str, Any]:
    return {
        "errors": errors or {},
        "form": form,
        "ticks": [
            one for one in ACTIONS.values() if not (one.name in PRIORITIES or one.resolves) and may(one.permission)
        ],
        "priorities": [one for one in PRIORITIES.values() if may(one.permission)],
        "resolving": [one for one in RESOLVING.values() if may(one.permission)],
        "tag_actions": [one for one in map(of_tag, tags) if may(one.permission)],
        "variables": language.VARIABLES,
        "shared_id": SHARED,
    }


# --- choosing one -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """A macro as it would be in a conversation.

    Args:
        text: with the conversation's values; as it was written where one is missing.
        missing: variables that have no value here: it cannot be inserted.
        does: what is done with it, as names and words.
    """

    id: int
    name: str
    shared: bool
    text: str
    missing: tuple[str, ...]
    does: tuple[tuple[str, str], ...]


@requires(REPLY, *DONE)
def pick(conversation_id: int) -> Response:
    """The macros for a conversation, each with its text as it would be here."""
    with reading() as session:
        found, customer = queries.conversation_with_customer(session, conversation_id)
        macros = service.usable(session, operator(), request.args.get("q", ""))
        values = service.values(found, customer, operator())
        does = named(session, [name for macro in macros for name in macro.actions])
    choices = [_choice(one, values, does) for one in macros]
    if is_fragment():
        plain = ({**{n: getattr(c, n) for n in ("id", "name", "text", "missing")}, "does": c.does} for c in choices)
        return jsonify(list(plain))
    return page("pick_macro.html", conversation=found, choices=choices)


@requires(REPLY, *DONE)
def use(conversation_id: int, macro_id: int) -> Response:
    """A macro's text for the reply field. Refused, with its name, where a variable has no value here.

    Without scripts it goes into the field that the server keeps, and what is done with it into the form.
    """
    session = current().session()
    found, customer = queries.conversation_with_customer(session, conversation_id)
    chosen = service.get(session, macro_id, operator())
    text = service.use(session, chosen, found, customer, operator=operator())
    does = _words(known(session, chosen.actions))
    if not is_fragment():
        unsent.add(session, conversation_id, actor().id, "reply", text)
    session.commit()
    if is_fragment():
        return jsonify({"text": text, "does": does})
    names = [name for name, _ in does]
    return redirect(url_for("cairnloop.conversation", conversation_id=conversation_id, does=names), code=303)


def _choice(one: Macro, values: Mapping[str, str | None], does: Mapping[str, Action]) -> Choice:
    parts = language.parse(one.body)
    missing = language.missing(parts, values)
    text = one.body if missing else language.render(parts, values)
    here = _words([action for name, action in does.items() if name in one.actions])
    return Choice(one.id, one.name, one.owner_id == SHARED, text, missing, here)


def _words(actions: Sequence[Action]) -> tuple[tuple[str, str], ...]:
    """The names and labels of those that the operator may have done here."""
    return tuple((one.name, one.label) for one in actions if may(one.permission))


def asked_for(session: Session) -> list[Action]:
    """What an address, or a form, wants done with the reply, and may."""
    return [one for one in known(session, request.values.getlist("does")) if may(one.permission)]
