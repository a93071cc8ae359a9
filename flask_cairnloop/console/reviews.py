"""Suggested articles: what waits for a review, one of them beside what it rests on, and what is decided of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from flask import Blueprint, redirect, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from flask_cairnloop.clock import now
from flask_cairnloop.console import presenters, review_words
from flask_cairnloop.console.access import actor, may, may_open, operator, reading, requires
from flask_cairnloop.console.gaps import SNOOZES
from flask_cairnloop.console.rendering import page, wanted
from flask_cairnloop.console.triage import people, person
from flask_cairnloop.context import current
from flask_cairnloop.errors import Conflict, Forbidden, InvalidInput, NotFound
from flask_cairnloop.hooks import Permission, Subject
from flask_cairnloop.knowledge import merging
from flask_cairnloop.knowledge.rendering import render_with_files
from flask_cairnloop.paging import Cursor
from flask_cairnloop.upkeep import reviews as queries
from flask_cairnloop.upkeep import suggestions
from flask_cairnloop.upkeep.reviews import Lane
from flask_cairnloop.upkeep.suggestion_models import ArticleSuggestion, SuggestionKind, SuggestionState

SUGGESTION: Final = "<int(max=9223372036854775807):suggestion_id>"
OFFERS: Final = (Permission.KNOWLEDGE_READ, Permission.KNOWLEDGE_EDIT, Permission.KNOWLEDGE_PUBLISH)
ASIDE: Final = (SuggestionState.STALE, SuggestionState.CONFLICT)
LIST, DETAIL = "review-list", "review"  # the parts that are refreshed apart
CLOSED: Final = "The editor is opened from here: its link works once, and for you alone."


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/knowledge/reviews", "reviews", reviews)
    one = f"/knowledge/reviews/{SUGGESTION}"
    blueprint.add_url_rule(one, "review", review)
    for name, view in (
        ("approve", approve),
        ("publish", publish),
        ("return", send_back),
        ("reject", reject),
        ("defer", defer),
        ("reopen", reopen),
        ("regenerate", regenerate),
        ("assign", assign),
    ):
        blueprint.add_url_rule(f"{one}/{name}", f"{name}_suggestion", view, methods=["POST"])
    blueprint.add_url_rule(f"{one}/merge", "merge_review", merge, methods=["GET", "POST"])


# --- reading ----------------------------------------------------------------------------------------------------------


@requires(Permission.KNOWLEDGE_READ, Permission.KNOWLEDGE_EDIT)
def reviews() -> Response:
    """The suggestions of a lane, those changed last first; or the live part of it."""
    lane = _lane(request.args) or Lane.REVIEW
    template = "_reviews.html" if wanted() == LIST else "reviews.html"
    return page(template, **listed(lane, Cursor.parse(request.args.get("after"))))


def listed(lane: Lane, after: Cursor | None = None) -> dict[str, Any]:
    """What a list needs, of all or of those that the operator is to review. Two queries."""
    mine = request.args.get("mine") == "1"
    with reading() as session:
        found, following = queries.listed(session, lane, after, operator().id if mine else None)
        counts = queries.counts(session)
    shown = [row for row in found if permitted(row.suggestion, Permission.KNOWLEDGE_READ)]
    return {
        "rows": shown,
        "left_out": len(shown) < len(found),
        "lane": lane,
        "mine": mine,
        "after": None if following is None else str(following),
        "lane_counts": counts,
        "lanes": review_words.LANES,
        "empty_words": review_words.EMPTY,
        "states": review_words.STATES,
        "title_of": review_words.title_of,
    }


def _lane(asked: Mapping[str, str]) -> Lane | None:
    return Lane(asked["state"]) if asked.get("state") in set(Lane) else None


def here() -> dict[str, Any]:
    """The list that a suggestion is looked at in, as its address says; left out, it is that of its own state."""
    lane = _lane(request.args)
    found: dict[str, Any] = {} if lane is None else {"state": lane.value}
    return found | ({"mine": 1} if request.args.get("mine") == "1" else {})


@requires(*OFFERS, Permission.CONVERSATIONS_READ)
def review(suggestion_id: int) -> Response:
    """One suggestion beside the list it stands in: the proposal beside what it rests on, what it is to answer, and what
    can be decided. Or one of the two, which are refreshed apart."""
    if wanted() == LIST:
        with reading() as session:
            suggestion = suggestion_of(session, suggestion_id)
        if not permitted(suggestion, Permission.KNOWLEDGE_READ):
            raise Forbidden
        return page("_review_list.html", **_beside(suggestion))
    note = CLOSED if request.args.get("editor") == "closed" else ""
    return shown(suggestion_id, note=note, needs=Permission.KNOWLEDGE_READ)


def _beside(suggestion: ArticleSuggestion) -> dict[str, Any]:
    return listed(_lane(request.args) or queries.LANE_OF[suggestion.state]) | {"selected": suggestion.id}


def shown(
    suggestion_id: int,
    status: int = 200,
    trouble: str = "",
    note: str = "",
    needs: Permission = Permission.KNOWLEDGE_EDIT,
) -> Response:
    """The page of a suggestion, or the part of it without the list.

    Args:
        trouble: why something was not done.
        note: what else is to be said.
        needs: what the operator has to be allowed to do with the article that it changes.
    """
    with reading() as session:
        found = queries.detail(session, suggestion_id)
        suggestion = found.row.suggestion
        collision = suggestions.collision(session, suggestion) if suggestion.state in ASIDE else None
        preview = render_with_files(session, suggestion.body) if suggestion.body else ""
    if not permitted(suggestion, needs):
        raise Forbidden
    alone = wanted() == DETAIL
    return page(
        "_review.html" if alone else "review.html",
        status,
        **({} if alone else _beside(suggestion)) | _about(found),
        alone=alone,
        here=here(),
        collision=collision,
        preview=preview,
        people=people()[0] if may(Permission.KNOWLEDGE_EDIT) else [],
        trouble=trouble,
        note=note,
    )


def _about(found: queries.Detail) -> dict[str, Any]:
    """What the page of a suggestion says of it. Host code says what the operator may: nothing of ours is open."""
    suggestion = found.row.suggestion
    passages = review_words.passages(found)
    sources = review_words.sources_of(suggestion, passages)
    return {
        "found": found,
        "suggestion": suggestion,
        "title": review_words.title_of(suggestion, found.row.question or _first(found)),
        "compared": [passage.row for passage in passages],
        "parts": presenters.stretches(passages, lambda passage: passage.row.kind != "same"),
        "sources": sources,
        "articles": {each.article_id: each.title for each in sources if each.reviewed and each.readable},
        "can": review_words.can(suggestion),
        "edited": suggestions.is_edited(suggestion),
        "own": current().settings.review_second_person
        and operator().id in (suggestion.authors or [suggestion.requested_by]),
        "may_publish": permitted(suggestion, Permission.KNOWLEDGE_PUBLISH),
        "may_look": suggestion.conversation_id is not None
        and may_open(Permission.CONVERSATIONS_READ, Subject("conversation", suggestion.conversation_id)),
        "states": review_words.STATES,
        "reasons": review_words.REASONS,
        "history_words": review_words.HISTORY,
        "strengths": review_words.strength_words,
        "asked_again": review_words.asked_again_line(suggestion),
        "times_off": SNOOZES,
        "fragment": lambda each: presenters.passage_fragment(each.heading, each.content),
    }


def _first(found: queries.Detail) -> str | None:
    return next((each.words for each in found.questions if each.words), None)


def permitted(suggestion: ArticleSuggestion, permission: Permission) -> bool:
    """Whether the operator may do something to the article that a suggestion changes or became, or to a new one."""
    subject = None if suggestion.article_id is None else Subject("article", suggestion.article_id)
    return may_open(permission, subject)


# --- deciding ---------------------------------------------------------------------------------------------------------


@requires(Permission.KNOWLEDGE_PUBLISH, *OFFERS, Permission.CONVERSATIONS_READ)
def approve(suggestion_id: int) -> Response:
    """Say that these words may be published."""
    note = request.form.get("note", "")
    return do(
        suggestion_id,
        Permission.KNOWLEDGE_PUBLISH,
        lambda session: suggestions.approve(session, suggestion_id, actor=actor(), seen=seen(), note=note),
    )


@requires(Permission.KNOWLEDGE_PUBLISH, *OFFERS, Permission.CONVERSATIONS_READ)
def publish(suggestion_id: int) -> Response:
    """Publish what was approved."""
    return do(
        suggestion_id,
        Permission.KNOWLEDGE_PUBLISH,
        lambda session: suggestions.publish(session, suggestion_id, actor=actor(), seen=seen()),
    )


@requires(Permission.KNOWLEDGE_EDIT, *OFFERS, Permission.CONVERSATIONS_READ)
def send_back(suggestion_id: int) -> Response:
    """Ask for changes."""
    note = request.form.get("note", "")
    return do(
        suggestion_id,
        Permission.KNOWLEDGE_EDIT,
        lambda session: suggestions.return_for_changes(session, suggestion_id, actor=actor(), note=note, seen=seen()),
    )


@requires(Permission.KNOWLEDGE_EDIT, *OFFERS, Permission.CONVERSATIONS_READ)
def reject(suggestion_id: int) -> Response:
    """Say that it is not wanted."""
    why = {"reason": request.form.get("reason", ""), "note": request.form.get("note", "")}
    return do(
        suggestion_id,
        Permission.KNOWLEDGE_EDIT,
        lambda session: suggestions.reject(session, suggestion_id, actor=actor(), seen=seen(), **why),
    )


@requires(Permission.KNOWLEDGE_EDIT, *OFFERS, Permission.CONVERSATIONS_READ)
def defer(suggestion_id: int) -> Response:
    """Put the review off for some days."""
    days, _ = SNOOZES.get(request.form.get("until", ""), (0, ""))
    until, note = now() + timedelta(days=days), request.form.get("note", "")
    return do(
        suggestion_id,
        Permission.KNOWLEDGE_EDIT,
        lambda session: suggestions.defer(session, suggestion_id, actor=actor(), until=until, note=note, seen=seen()),
    )


@requires(Permission.KNOWLEDGE_EDIT, *OFFERS, Permission.CONVERSATIONS_READ)
def reopen(suggestion_id: int) -> Response:
    """Take back what was decided."""
    return do(
        suggestion_id,
        Permission.KNOWLEDGE_EDIT,
        lambda session: suggestions.reopen(session, suggestion_id, actor=actor(), seen=seen()),
    )


@requires(Permission.KNOWLEDGE_EDIT, *OFFERS, Permission.CONVERSATIONS_READ)
def assign(suggestion_id: int) -> Response:
    """Say who is to review it."""
    try:
        reviewer = person(request.form.get("to", "me"))
    except InvalidInput as refused:
        return shown(suggestion_id, 422, refused.message)
    return do(
        suggestion_id,
        Permission.KNOWLEDGE_EDIT,
        lambda session: suggestions.assign(
            session, suggestion_id, actor=actor(), reviewer=reviewer, seen=seen(), had=request.form.get("had")
        ),
    )


@requires(Permission.KNOWLEDGE_EDIT, *OFFERS, Permission.CONVERSATIONS_READ)
def regenerate(suggestion_id: int) -> Response:
    """Have it written anew, as what is found says, as a new article, or as a change of one that it rests on."""
    drop = request.form.get("drop_edits") == "1"
    return do(
        suggestion_id,
        Permission.KNOWLEDGE_EDIT,
        lambda session: suggestions.regenerate(
            session, suggestion_id, actor=actor(), seen=seen(), drop_edits=drop, **_aim(session, suggestion_id)
        ),
    )


def _aim(session: Session, suggestion_id: int) -> dict[str, Any]:
    """What is to be written. Raises ``InvalidInput`` for an article that the suggestion does not name."""
    chosen = request.form.get("write", "auto")
    if chosen == "auto":
        return {}
    if chosen == "article":
        return {"kind": SuggestionKind.ARTICLE}
    suggestion = suggestion_of(session, suggestion_id)
    named = {each.get("article_id") for each in suggestion.sources} | {suggestion.article_id}
    match = re.fullmatch(r"revision:([0-9]{1,18})", chosen, re.ASCII)
    article_id = int(match[1]) if match else 0
    if article_id not in named or not may_open(Permission.KNOWLEDGE_EDIT, Subject("article", article_id)):
        raise InvalidInput("write", "Choose one of the articles that it rests on.")
    return {"kind": SuggestionKind.REVISION, "article_id": article_id}


def do(suggestion_id: int, permission: Permission, step: Callable[[Session], ArticleSuggestion]) -> Response:
    """Do it and show the suggestion as it is then, or say on its page why it was not done.

    Raises:
        Forbidden: the operator may not do this to the article that it changes.
    """
    session = current().session()
    if not permitted(suggestion_of(session, suggestion_id), permission):
        raise Forbidden
    try:
        found = step(session)
        aside = found.state if found.state in ASIDE else None
        session.commit()
    except Conflict as refused:
        session.rollback()
        return shown(suggestion_id, 409, str(refused), needs=permission)
    except InvalidInput as refused:
        session.rollback()
        return shown(suggestion_id, 422, refused.message, needs=permission)
    if aside is not None and permission is Permission.KNOWLEDGE_PUBLISH:
        return shown(suggestion_id, 409, review_words.SET_ASIDE[aside], needs=permission)
    return redirect(url_for("cairnloop.review", suggestion_id=suggestion_id, **here()), code=303)


def suggestion_of(session: Session, suggestion_id: int) -> ArticleSuggestion:
    """A suggestion by its number. Raises ``NotFound``."""
    found = session.get(ArticleSuggestion, suggestion_id)
    if found is None:
        raise NotFound("There is no such suggestion.")
    return found


def seen() -> int | None:
    """The version that the page showed. A form without one decides blindly, which no page of ours does."""
    value = request.form.get("version", "")
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value, re.ASCII) else None


# --- bringing together ------------------------------------------------------------------------------------------------


@requires(Permission.KNOWLEDGE_EDIT, *OFFERS, Permission.CONVERSATIONS_READ)
def merge(suggestion_id: int) -> Response:
    """Bring a revision together with what was published since, or with a draft that is in its way."""
    if request.method != "POST":
        return _pieces(suggestion_id)
    session = current().session()
    if "against" in request.form:
        found = suggestions.collision(session, suggestion_of(session, suggestion_id))
        if found is not None and found.revision.digest != request.form["against"]:
            return _pieces(suggestion_id, 409, "It was changed once more since. Choose again.")
    chosen = request.form.to_dict() if request.form.get("choose") == "1" else None
    return do(
        suggestion_id,
        Permission.KNOWLEDGE_EDIT,
        lambda session: suggestions.bring_up_to_date(
            session,
            suggestion_id,
            actor=actor(),
            chosen=chosen,
            seen=seen(),
            replace_draft=request.form.get("replace") == "1",
        ),
    )


def _pieces(suggestion_id: int, status: int = 200, trouble: str = "") -> Response:
    with reading() as session:
        suggestion = suggestion_of(session, suggestion_id)
        found = suggestions.collision(session, suggestion)
    if not permitted(suggestion, Permission.KNOWLEDGE_EDIT):
        raise Forbidden
    if found is None:
        return redirect(url_for("cairnloop.review", suggestion_id=suggestion_id), code=303)
    pieces = list(enumerate(found.pieces))
    return page(
        "merge_review.html",
        status,
        suggestion=suggestion,
        collision=found,
        parts=presenters.stretches(pieces, lambda pair: pair[1].row.kind != "same"),
        trouble=trouble,
        Side=merging.Side,
    )
