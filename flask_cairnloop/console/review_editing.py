"""Writing on in a suggested article: the studio's editor, opened by a link that works once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, jsonify, redirect, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from flask_cairnloop.console import presenters, studio
from flask_cairnloop.console.access import actor, may_open, operator, reading, requires
from flask_cairnloop.console.knowledge import anchored
from flask_cairnloop.console.rendering import page, times
from flask_cairnloop.console.reviews import OFFERS, SUGGESTION, permitted, shown, suggestion_of
from flask_cairnloop.context import current
from flask_cairnloop.conversations.models import Conversation
from flask_cairnloop.errors import Conflict, Forbidden, HandoffOver, IllegalTransition, InvalidInput, StaleSuggestion
from flask_cairnloop.hooks import Permission, Subject
from flask_cairnloop.knowledge import merging, queries
from flask_cairnloop.knowledge.rendering import BODY_LIMIT, render_with_files
from flask_cairnloop.knowledge.service import Words
from flask_cairnloop.upkeep import handoffs, suggestions
from flask_cairnloop.upkeep.reviews import last_step
from flask_cairnloop.upkeep.suggestion_models import ArticleSuggestion, SuggestionHandoff, SuggestionKind

OVER = "Your way into the editor is over. Open it again from the review, in another tab; your words are still here."


def register(blueprint: Blueprint) -> None:
    one = f"/knowledge/reviews/{SUGGESTION}"
    blueprint.add_url_rule(f"{one}/hand-off", "hand_off", hand_off, methods=["POST"])
    blueprint.add_url_rule(f"{one}/edit", "edit_review", edit_review, methods=["GET", "POST"])


@requires(Permission.KNOWLEDGE_EDIT, *OFFERS, Permission.CONVERSATIONS_READ)
def hand_off(suggestion_id: int) -> Response:
    """Open the editor for the operator: a link that works once leads there."""
    session = current().session()
    suggestion = _allowed(session, suggestion_id)
    if "be edited" not in suggestions.steps_of(suggestion):
        return shown(suggestion_id, 409, str(IllegalTransition("suggestion", suggestion.state.value, "be edited")))
    origin = _conversation(session)
    token = handoffs.offer(session, suggestion_id, operator_id=operator().id, conversation_id=origin)
    session.commit()
    return redirect(url_for("cairnloop.edit_review", suggestion_id=suggestion_id, handoff=token), code=303)


def _conversation(session: Session) -> int | None:
    """The conversation that a form says it came from, where there is one that the operator may open."""
    number = studio.whole_number(request.form.get("conversation"))
    if number is None or session.get(Conversation, number) is None:
        return None
    return number if may_open(Permission.CONVERSATIONS_READ, Subject("conversation", number)) else None


@requires(Permission.KNOWLEDGE_EDIT, *OFFERS, Permission.CONVERSATIONS_READ)
def edit_review(suggestion_id: int) -> Response:
    """The editor with the suggestion in it; what is sent from it is kept. A link that works once lets one in."""
    session = current().session()
    suggestion = _allowed(session, suggestion_id)
    if request.method == "POST":
        return _save(session, suggestion_id)
    if "handoff" in request.args:
        return _take(session, suggestion_id, request.args["handoff"])
    entered = handoffs.session_of(session, suggestion_id, operator().id)
    if entered is None:
        return redirect(url_for("cairnloop.review", suggestion_id=suggestion_id, editor="closed"), code=303)
    return _editor(suggestion, entered, suggestions.words_of_suggestion(suggestion))


def _take(session: Session, suggestion_id: int, token: str) -> Response:
    try:
        handoffs.take(session, token, suggestion_id=suggestion_id, operator_id=operator().id)
        session.commit()
    except HandoffOver as refused:
        session.rollback()
        return shown(suggestion_id, 409, str(refused))
    return redirect(url_for("cairnloop.edit_review", suggestion_id=suggestion_id), code=303)


def _allowed(session: Session, suggestion_id: int) -> ArticleSuggestion:
    """Raises ``NotFound``, or ``Forbidden`` where the operator may not edit the article that it changes."""
    suggestion = suggestion_of(session, suggestion_id)
    if not permitted(suggestion, Permission.KNOWLEDGE_EDIT):
        raise Forbidden
    return suggestion


# --- keeping ----------------------------------------------------------------------------------------------------------


def _save(session: Session, suggestion_id: int) -> Response:
    """Keep what was written. Refused, with both versions shown, where somebody has changed the suggestion meanwhile."""
    mine = studio.form_words()
    if handoffs.session_of(session, suggestion_id, operator().id) is None:
        return _refused(session, suggestion_id, mine, InvalidInput("editor", OVER), 409)
    try:
        mine = _chosen(session, suggestion_id, mine)
        suggestion = suggestions.edit(session, suggestion_id, mine, actor=actor(), seen=studio.form_edits())
        version = suggestion.version
        session.commit()
    except StaleSuggestion:
        return _collided(session, suggestion_id, mine)
    except InvalidInput as refused:
        return _refused(session, suggestion_id, mine, refused, 422)
    except Conflict as refused:
        return _refused(session, suggestion_id, mine, InvalidInput("state", str(refused)), 409)
    if studio.is_alone():
        address = url_for("cairnloop.edit_review", suggestion_id=suggestion_id)
        return jsonify(edits=version, at=times().clock(datetime.now(UTC)), address=address)
    return redirect(url_for("cairnloop.edit_review", suggestion_id=suggestion_id), code=303)


def _chosen(session: Session, suggestion_id: int, mine: Words) -> Words:
    """What was chosen of two versions, where the form is of that page.

    Raises:
        StaleSuggestion: a third came meanwhile.
    """
    if request.form.get("merging") != "1":
        return mine
    suggestion = suggestion_of(session, suggestion_id)
    if suggestion.version != studio.form_edits():
        raise StaleSuggestion(studio.form_edits(), suggestion.version)
    theirs = suggestions.words_of_suggestion(suggestion)
    return merging.merged(merging.pieces(studio.form_text("base"), theirs.body, mine.body), theirs, mine, request.form)


def _collided(session: Session, suggestion_id: int, mine: Words) -> Response:
    """Nothing was kept: what somebody else has made of it, beside these words."""
    session.rollback()
    with reading() as read:
        suggestion = suggestion_of(read, suggestion_id)
        last = last_step(read, suggestion_id)
    who = last.actor_name if last else suggestion.requested_by_name
    if studio.is_alone():
        return studio.told(409, who=who, at=times().when(suggestion.updated_at))
    theirs = suggestions.words_of_suggestion(suggestion)
    found = list(enumerate(merging.pieces(studio.form_text("base"), theirs.body, mine.body)))
    return page(
        "merge.html",
        409,
        **_place(suggestion),
        title=suggestion.title or mine.title,
        them=who,
        changed_at=suggestion.updated_at,
        theirs_at=times().at(suggestion.updated_at),
        edits=suggestion.version,
        mine=mine,
        base=studio.form_text("base"),
        parts=presenters.stretches(found, lambda pair: pair[1].row.kind != "same"),
        differences=merging.differences(theirs, mine),
        Side=merging.Side,
    )


def _refused(session: Session, suggestion_id: int, mine: Words, refused: InvalidInput, status: int) -> Response:
    """Nothing was kept: what was typed, and what is wrong with it."""
    session.rollback()
    if studio.is_alone():
        return studio.told(422, field=refused.field, message=refused.message)
    suggestion = suggestion_of(session, suggestion_id)
    if refused.field not in ("editor", "state") and suggestion.version != studio.form_edits():
        return _collided(session, suggestion_id, mine)  # whoever corrects it would save over what they have not seen
    entered = handoffs.session_of(session, suggestion_id, operator().id)
    return _editor(suggestion, entered, mine, refused, status, studio.form_edits(), studio.form_text("base"))


def _editor(
    suggestion: ArticleSuggestion,
    entered: SuggestionHandoff | None,
    words: Words,
    refused: InvalidInput | None = None,
    status: int = 200,
    edits: int | None = None,
    base: str | None = None,
) -> Response:
    with reading() as session:
        choices = queries.choices(session)
        preview = render_with_files(session, words.body)
    return page(
        "editor.html",
        status,
        **_place(suggestion),
        back=_back(suggestion, entered),
        article=None,
        heading="Edit the suggestion",
        edits=suggestion.version if edits is None else edits,
        words=words,
        choices=choices,
        refused=refused,
        base=words.body if base is None else base,
        limit=BODY_LIMIT,
        preview=anchored(preview),
        files=[],
        stored="Not saved" if refused else f"As it was {times().at(suggestion.updated_at)}",
        describes=suggestion.kind is SuggestionKind.ARTICLE,
        publishes=False,
        uploads=False,
    )


def _place(suggestion: ArticleSuggestion) -> dict[str, Any]:
    address = url_for("cairnloop.edit_review", suggestion_id=suggestion.id)
    return {"action": address, "leave": address, "of_suggestion": True}


def _back(suggestion: ArticleSuggestion, entered: SuggestionHandoff | None) -> str:
    """Where leaving the editor leads: to the conversation that one came from, else to the review."""
    if entered is not None and entered.conversation_id is not None:
        return url_for("cairnloop.conversation", conversation_id=entered.conversation_id)
    return url_for("cairnloop.review", suggestion_id=suggestion.id)
