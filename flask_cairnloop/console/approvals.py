"""Approvals: every action that waits, runs or is over, what it would do, and the decisions on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from flask import Blueprint, redirect, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from flask_cairnloop import clock
from flask_cairnloop.console import action_form, action_words
from flask_cairnloop.console import conversation as threads
from flask_cairnloop.console.access import may, may_open, operator, reading, requires, visible
from flask_cairnloop.console.rendering import is_fragment, page, times, toast, wanted
from flask_cairnloop.context import current
from flask_cairnloop.errors import Conflict, Forbidden, InvalidFields, InvalidInput, NotFound
from flask_cairnloop.governance import queries, service
from flask_cairnloop.governance.queries import Found, Queue
from flask_cairnloop.governance.tools import Tool
from flask_cairnloop.governance.types import ProposalState
from flask_cairnloop.hooks import Permission, Subject

BULK_LIMIT = 25
LONGEST_DEFERRAL = 90  # days
_DECIDES = (Permission.ACTIONS_APPROVE, Permission.ACTIONS_PROPOSE)
_DONE = {
    "reject": "Rejected",
    "defer": "Put off",
    "back": "It waits for a decision again",
    "withdraw": "Taken back",
    "settle": "Noted",
}


def register(blueprint: Blueprint) -> None:
    def add(path: str, endpoint: str, view: Any, method: str = "POST") -> None:
        blueprint.add_url_rule(path, endpoint, view, methods=[method])

    one = f"/approvals/{threads.ID.format('action_id')}"
    add("/approvals", "approvals", approvals, "GET")
    add("/approvals/several", "decide_several", decide_several)
    add(one, "action", action, "GET")
    add(f"{one}/approve", "approve_action", approve_action)
    add(f"{one}/again", "propose_again", propose_again)
    for deed in _DONE:
        add(f"{one}/{deed}", f"{deed}_action", globals()[f"{deed}_action"])
    there = f"/conversations/{threads.ID.format('conversation_id')}/actions"
    add(f"{there}/new", "propose", propose_form, "GET")
    add(there, "propose_action", propose)


# --- reading ----------------------------------------------------------------------------------------------------------


@requires(Permission.ACTIONS_APPROVE, *_DECIDES, instead=(Permission.ACTIONS_PROPOSE,))
def approvals() -> Response:
    """The list, or the part of it that was asked for."""
    queue = Queue.parse(request.args.get("show"))
    match wanted():
        case "approvals-count":
            return page("_approvals_count.html")
        case "queue":
            return page("_queue.html", **listed(queue), alone=True)
        case "more":
            return page("_queue_rows.html", **listed(queue))
        case "detail":
            return page("_action_none.html", queue=queue)
        case _:
            return page("approvals.html", **listed(queue), card=None)


@requires(Permission.ACTIONS_APPROVE, *_DECIDES, instead=(Permission.ACTIONS_PROPOSE,))
def action(action_id: int) -> Response:
    """One action beside the list, or alone."""
    found = _seen(action_id)
    queue = Queue.parse(request.args.get("show")) if "show" in request.args else _queue_of(found)
    card = _card(found)
    if wanted() == "detail":
        return page("_action.html", card=card, queue=queue, alone=True)
    return page("approvals.html", **listed(queue) | {"selected": action_id}, card=card)


def listed(queue: Queue) -> dict[str, Any]:
    """What the list needs. Two queries."""
    after = request.args.get("after")
    with reading() as session:
        found = queries.page(session, queue, after=after)
        numbers = queries.counts(session)
    placed = [one for one in found.rows if one.proposal.conversation_id is not None]
    seen = {
        one.proposal.id
        for one in visible(placed, _in_general(), "conversation", lambda one: one.proposal.conversation_id or 0)
    }
    rows = [one for one in found.rows if one.proposal.conversation_id is None or one.proposal.id in seen]
    return {
        "queue": queue,
        "rows": [action_words.row(one, times()) for one in rows],
        "left_out": len(rows) < len(found.rows),
        "more": found.after,
        "paged": after is not None,
        "numbers": numbers,
        "selected": None,
    }


def cards_of(conversation_id: int) -> list[action_words.ActionCard]:
    """The actions of a conversation, for its page; none where nobody can propose any."""
    if not current().hooks.tools:
        return []
    with reading() as session:
        found = queries.of_conversation(session, conversation_id)
    return [_card(one) for one in found]


def _seen(action_id: int) -> Found:
    """An action that the operator may see: of a conversation that is kept from them, there is none."""
    with reading() as session:
        found = queries.found(session, action_id)
    number = found.proposal.conversation_id
    if number is not None and not may_open(_in_general(), Subject("conversation", number)):
        raise NotFound("There is no such action.")
    return found


def _in_general() -> Permission:
    """What lets the operator see actions: deciding on them, or else proposing some."""
    return Permission.ACTIONS_APPROVE if may_open(Permission.ACTIONS_APPROVE) else Permission.ACTIONS_PROPOSE


def _card(
    found: Found, errors: Mapping[str, str] | None = None, held: Mapping[str, Any] | None = None
) -> action_words.ActionCard:
    number = found.proposal.conversation_id
    subject = Subject("conversation", number) if number is not None else None
    return action_words.card(
        found,
        operator(),
        current().hooks.tools,
        times(),
        may_approve=may_open(Permission.ACTIONS_APPROVE, subject),
        may_propose=may_open(Permission.ACTIONS_PROPOSE, subject),
        errors=errors,
        held=held,
    )


def _queue_of(found: Found) -> Queue:
    state = found.proposal.state
    if state is ProposalState.PENDING:
        return Queue.WAITING
    if state is ProposalState.DEFERRED:
        return Queue.DEFERRED
    return Queue.OVER if found.proposal.finished_at is not None else Queue.LOOK


# --- deciding ---------------------------------------------------------------------------------------------------------


@requires(Permission.ACTIONS_APPROVE, *_DECIDES)
def approve_action(action_id: int) -> Response:
    """Agree to an action, as it stands or with changes. What runs is what was seen."""
    session, about = _free(action_id)
    edits: dict[str, Any] | None = None
    if "change" in request.form:
        tool = _tool(about.tool)
        edits = action_form.typed(tool, request.form)
    try:
        done = service.approve(
            session,
            action_id,
            actor=operator(),
            seen=threads._number(request.form.get("revision")),
            edits=edits,
            confirmation=request.form.get("confirmation", ""),
            note=request.form.get("note", ""),
        )
        session.commit()
    except InvalidFields as error:
        session.rollback()
        return _wrong(action_id, error.errors, edits or {})
    except InvalidInput as error:
        session.rollback()
        return _wrong(action_id, {error.field: error.message}, edits or {})
    except Forbidden as error:
        raise Conflict(str(error)) from error
    waits = done.state is ProposalState.PENDING
    return _done(about, "Approved. One more person has to agree" if waits else "Approved. It runs now")


@requires(Permission.ACTIONS_APPROVE, *_DECIDES)
def reject_action(action_id: int) -> Response:
    """Decide that it shall not run."""
    session, about = _free(action_id)
    service.reject(session, action_id, actor=operator(), reason=request.form.get("reason", ""))
    session.commit()
    return _done(about, _DONE["reject"])


@requires(Permission.ACTIONS_APPROVE, *_DECIDES)
def defer_action(action_id: int) -> Response:
    """Put it off for some days."""
    session, about = _free(action_id)
    service.defer(
        session, action_id, actor=operator(), until=clock.now() + _days(), reason=request.form.get("reason", "")
    )
    session.commit()
    return _done(about, _DONE["defer"])


@requires(Permission.ACTIONS_APPROVE, *_DECIDES)
def back_action(action_id: int) -> Response:
    """Ask about a deferred one now."""
    session, about = _free(action_id)
    service.bring_back(session, action_id, actor=operator())
    session.commit()
    return _done(about, _DONE["back"])


@requires(Permission.ACTIONS_PROPOSE, *_DECIDES, instead=(Permission.ACTIONS_APPROVE,))
def withdraw_action(action_id: int) -> Response:
    """Take it back before it runs."""
    session, about = _free(action_id)
    service.withdraw(session, action_id, actor=operator())
    session.commit()
    return _done(about, _DONE["withdraw"])


@requires(Permission.ACTIONS_APPROVE, *_DECIDES)
def settle_action(action_id: int) -> Response:
    """Say how one ended of which nobody knew."""
    session, about = _free(action_id)
    if request.form.get("happened") not in ("yes", "no"):
        raise InvalidInput("happened", "Say whether it was done.")
    happened = request.form["happened"] == "yes"
    service.settle(session, action_id, actor=operator(), happened=happened, note=request.form.get("note", ""))
    session.commit()
    return _done(about, _DONE["settle"])


@requires(Permission.ACTIONS_PROPOSE, *_DECIDES)
def propose_again(action_id: int) -> Response:
    """Propose what came to nothing once more."""
    session, about = _free(action_id)
    try:
        made = service.propose_again(session, action_id, actor=operator())
        session.commit()
    except InvalidFields as error:
        session.rollback()
        number = about.conversation_id
        if number is None:
            raise Conflict(error.message) from error
        address = url_for("cairnloop.propose", conversation_id=number, tool=about.tool)
        return _lead(address)
    return _done(replace(about, id=made.id), "Proposed again")


@requires(Permission.ACTIONS_APPROVE, *_DECIDES)
def decide_several() -> Response:
    """Reject or put off several that were ticked: each by itself, so that one that moved on holds up no other."""
    numbers = [number for text in request.form.getlist("action") if (number := threads._number(text))]
    deed, reason = request.form.get("does"), request.form.get("reason", "")
    if deed not in ("reject", "defer") or not numbers or len(numbers) > BULK_LIMIT:
        raise InvalidInput("action", f"Tick 1 to {BULK_LIMIT} actions, and choose what happens with them.")
    until = clock.now() + _days()
    session = current().session()
    done = 0
    for number in numbers:
        try:
            _seen(number)
            if deed == "reject":
                service.reject(session, number, actor=operator(), reason=reason)
            else:
                service.defer(session, number, actor=operator(), until=until, reason=reason)
            session.commit()
            done += 1
        except (Conflict, NotFound, Forbidden):
            session.rollback()
    words = f"{done} {'rejected' if deed == 'reject' else 'put off'}"
    if done < len(numbers):
        words += f", {len(numbers) - done} had moved on"
    if not is_fragment():
        return redirect(url_for("cairnloop.approvals"), code=303)
    return toast(page("_queue.html", **listed(Queue.parse(request.form.get("show"))), alone=True), words)


# --- proposing --------------------------------------------------------------------------------------------------------


@requires(Permission.ACTIONS_PROPOSE)
def propose_form(conversation_id: int) -> Response:
    """The tools to choose from, or the form of one."""
    name = request.args.get("tool")
    tool = current().hooks.tools.find(name) if name else None
    return _form(conversation_id, tool, {}, {})


@requires(Permission.ACTIONS_PROPOSE, Permission.CONVERSATIONS_READ, *threads.DECISIONS)
def propose(conversation_id: int) -> Response:
    """Propose an action in a conversation."""
    tool = _tool(request.form.get("tool", ""))
    values, reason = action_form.typed(tool, request.form), request.form.get("reason", "")
    session = current().session()
    session.rollback()  # the tool is asked with no transaction open
    try:
        made = service.propose_action(
            session,
            tool.name,
            values,
            actor=operator(),
            conversation_id=conversation_id,
            reason=reason,
        )
        session.commit()
        number = made.id
    except InvalidFields as error:
        session.rollback()
        return _form(conversation_id, tool, values, error.errors, 422)
    except InvalidInput as error:
        session.rollback()
        return _form(conversation_id, tool, values, {error.field: error.message}, 422)
    words = {
        ProposalState.REFUSED: made.failure or "It is not allowed.",
        ProposalState.APPROVED: "It runs now",
    }.get(made.state, "Proposed. It waits for an approval")
    if not may(Permission.CONVERSATIONS_READ):
        return _lead(url_for("cairnloop.action", action_id=number))
    if not is_fragment():
        return redirect(url_for("cairnloop.conversation", conversation_id=conversation_id), code=303)
    answer = threads.timeline_now(conversation_id)
    answer.headers["HX-Retarget"] = "#timeline"
    answer.headers["HX-Reswap"] = "innerMorph"
    tone = "error" if made.state is ProposalState.REFUSED else "info"
    return toast(answer, words, {"cairnloop:proposed": {"conversation": conversation_id}}, tone=tone)


def _form(
    conversation_id: int, tool: Tool | None, values: Mapping[str, Any], errors: Mapping[str, str], status: int = 200
) -> Response:
    context = {
        "conversation_id": conversation_id,
        "tools": current().hooks.tools.all(),
        "tool": tool,
        "risks": action_words.RISKS,
        "fields": action_form.fields(tool, values, errors) if tool else [],
        "errors": errors,
        "reason": request.form.get("reason", ""),
    }
    if wanted() == "propose-body":
        # htmx leaves a refused form as it is unless told otherwise; this answer is the form with what is wrong.
        return page("_propose.html", 200, **context)
    return page("propose.html", status, **context)


# --- shared -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _About:
    """What a decision is about, as plain values: the row belongs to a session that goes on."""

    id: int
    conversation_id: int | None
    tool: str


def _free(action_id: int) -> tuple[Session, _About]:
    """The request's session with no transaction open in it, as host code is asked next; and what it is about."""
    one = _seen(action_id).proposal
    about = _About(one.id, one.conversation_id, one.tool)
    session = current().session()
    session.rollback()
    return session, about


def _lead(address: str) -> Response:
    """To another page."""
    if not is_fragment():
        return redirect(address, code=303)
    answer = Response(status=204)
    answer.headers["HX-Redirect"] = address
    return answer


def _done(about: _About, words: str) -> Response:
    """What is true now: where the button was, be it in a conversation or beside the list."""
    there = about.conversation_id
    if there is not None and not may_open(Permission.CONVERSATIONS_READ, Subject("conversation", there)):
        there = None
    if not is_fragment():
        if request.form.get("at") == "conversation" and there is not None:
            return redirect(url_for("cairnloop.conversation", conversation_id=there), code=303)
        return redirect(url_for("cairnloop.action", action_id=about.id), code=303)
    if wanted() == "timeline" and there is not None:
        return toast(threads.timeline_now(there), words)
    queue = Queue.parse(request.form.get("show"))
    return toast(page("_action.html", card=_card(_seen(about.id)), queue=queue, alone=True), words)


def _wrong(action_id: int, errors: Mapping[str, str], held: Mapping[str, Any]) -> Response:
    """The card again, with what was wrong beside the fields."""
    found = _seen(action_id)
    card = _card(found, errors, held)
    if is_fragment() and wanted() == "detail":
        return page("_action.html", card=card, queue=_queue_of(found), errors=errors, alone=True)
    if is_fragment():
        raise InvalidInput(*next(iter(errors.items())))
    return page("approvals.html", 422, **listed(_queue_of(found)), card=card, errors=errors)


def _tool(name: str) -> Tool:
    tool = current().hooks.tools.find(name)
    if tool is None:
        raise NotFound("There is no such tool.")
    return tool


def _days() -> timedelta:
    days = threads._number(request.form.get("days")) or 1
    return timedelta(days=min(days, LONGEST_DEFERRAL))
