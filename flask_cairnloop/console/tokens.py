"""Tokens: which machines may ask the desk for things, and what each of them may."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from flask import Blueprint, redirect, request, url_for
from werkzeug.wrappers import Response

from flask_cairnloop.clock import now
from flask_cairnloop.console.access import actor, may_open, operator, requires
from flask_cairnloop.console.rendering import page
from flask_cairnloop.context import current
from flask_cairnloop.errors import Conflict, Forbidden, InvalidInput, NotFound
from flask_cairnloop.hooks import Permission, Subject
from flask_cairnloop.tokens import service

ROW: Final = "<int(max=9223372036854775807):token_id>"
MAX_ID: Final = 2**63 - 1
# How long one may work, by the value of the form.
SPANS: Final = (("30", "30 days"), ("90", "90 days"), ("365", "A year"), ("", "Until it is revoked"))
RATES: Final = (("60/minute", "60 a minute"), ("600/minute", "600 a minute"), ("10/minute", "10 a minute"))
SCOPE_WORDS: Final = {
    Permission.KNOWLEDGE_READ: "Read published articles, and search them",
    Permission.ACTIONS_PROPOSE: "Propose actions, and ask what became of them",
    Permission.CONVERSATIONS_READ: "Look customers of conversations up",
    Permission.CONVERSATIONS_NOTE: "Propose internal notes",
    Permission.CONVERSATIONS_REPLY: "Propose tags, urgency, and who has a conversation",
    Permission.CONVERSATIONS_RESOLVE: "Propose to resolve conversations",
}


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/settings/tokens", "tokens", tokens, methods=["GET", "POST"])
    blueprint.add_url_rule(f"/settings/tokens/{ROW}/revoke", "revoke_token", revoke, methods=["POST"])


@requires(Permission.TOKENS_MANAGE)
def tokens() -> Response:
    """Every token, and the form for another; sent, it makes one and shows its secret this once."""
    return _created() if request.method == "POST" else _shown()


def _created() -> Response:
    session = current().session()
    scopes = request.form.getlist("scope")
    try:
        service.check_grant(scopes, _held())
        conversation_id = _number(request.form.get("conversation", ""))
        if conversation_id is not None and not _sees(conversation_id):
            raise NotFound("There is no such conversation.")
        made, raw = service.create(
            session,
            request.form.get("name", ""),
            actor=actor(),
            scopes=scopes,
            tools=request.form.getlist("tool") or None,
            conversation_id=conversation_id,
            customer_ref=_reference(request.form.get("customer", "")),
            expires_at=_end(request.form.get("days", "")),
            rate=request.form.get("rate", service.DEFAULT_RATE),
        )
        session.commit()
    except InvalidInput as error:
        session.rollback()
        return _shown(422, errors={error.field: error.message})
    except Forbidden as error:
        session.rollback()
        return _shown(422, errors={"scopes": str(error)})
    except Conflict as error:
        session.rollback()
        return _shown(409, errors={"name": str(error)})
    except NotFound as error:
        session.rollback()
        return _shown(422, errors={"bound": str(error)})
    return _shown(made=made.name, secret=raw)


@requires(Permission.TOKENS_MANAGE)
def revoke(token_id: int) -> Response:
    """End a token."""
    session = current().session()
    service.revoke(session, token_id, actor=actor())
    session.commit()
    return redirect(url_for("cairnloop.tokens"), code=303)


def _held() -> set[str]:
    """What this operator may hand on: of the desk's own, what the host lets them do; of tools, what they hold."""
    names = set(Permission)
    own = {scope.value for scope in Permission if may_open(scope)}
    return own | {scope for scope in operator().permissions if scope not in names}


def _sees(conversation_id: int) -> bool:
    return may_open(Permission.CONVERSATIONS_READ, Subject("conversation", conversation_id))


def _shown(
    status: int = 200, *, errors: dict[str, str] | None = None, made: str | None = None, secret: str | None = None
) -> Response:
    cairnloop = current()
    held = _held()
    own = [(scope.value, SCOPE_WORDS[scope]) for scope in service.SCOPES if scope in held]
    asked = sorted({scope for tool in cairnloop.hooks.tools.all() for scope in tool.scopes} & held)
    found = service.tokens(cairnloop.session())
    return page(
        "tokens.html",
        status,
        rows=[(token, customer, service.state(token)) for token, customer in found],
        own_scopes=own,
        tool_scopes=asked,
        tools=cairnloop.hooks.tools.all(),
        spans=SPANS,
        rates=RATES,
        typed=request.form if errors else {},
        typed_scopes=request.form.getlist("scope") if errors else [Permission.KNOWLEDGE_READ.value],
        typed_tools=request.form.getlist("tool") if errors else [],
        errors=errors or {},
        made=made,
        secret=secret,
        endpoint=url_for("cairnloop_mcp.endpoint", _external=True),
    )


def _number(text: str) -> int | None:
    if not text.strip():
        return None
    text = text.strip().removeprefix("#")
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and 1 <= int(text) <= MAX_ID):
        raise InvalidInput("bound", "A conversation is named by its number.")
    return int(text)


def _reference(text: str) -> str | None:
    """A customer's reference. A field that holds something and names nobody binds to nothing by mistake."""
    if not text:
        return None
    if not text.strip():
        raise InvalidInput("bound", "A customer is named by your app’s reference.")
    return text.strip()


def _end(days: str) -> datetime | None:
    if not days:
        return None
    if not (days.isascii() and days.isdigit() and len(days) <= 4 and 1 <= int(days) <= service.LONGEST.days):
        raise InvalidInput("expires", "Choose how long it works.")
    return now() + timedelta(days=int(days))
