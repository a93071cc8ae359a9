"""The page behind a rating link: for whoever has it, without signing in and without a script.

Reading it changes nothing, however often a mail scanner does. The link itself is what allows to rate, so no cookie is
asked for that another site could have a browser send; besides, a form of another site is refused by its origin.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations import ratings, service
from flask_cairnloop.conversations.models import Conversation, ConversationStatus, Rating
from flask_cairnloop.database.failures import AWAY, kind
from flask_cairnloop.errors import InvalidInput, NotFound, RatingClosed
from flask_cairnloop.resources import asset


def register(blueprint: Blueprint) -> None:
    # One endpoint for both, as a form answers at the address it stands at.
    blueprint.add_url_rule("/rate/<token>", "rating", rating, methods=["GET", "POST"])


def rating(token: str) -> Response:
    """The question, and what was answered; and, sent from its form, the answer."""
    try:
        with Session(current().engine, expire_on_commit=False) as session:
            found = ratings.named_by(session, token)
            if found is None:
                return _page("none", 404)
            if request.method == "POST":
                return _take(session, token, *found)
            return _asked(*found, typed=_beforehand())
    except AWAY as failure:
        current().app.logger.error("The database could not answer a rating page (%s)", kind(failure))
        return _page("unavailable", 503)


def _take(session: Session, token: str, asked: Rating, conversation: Conversation) -> Response:
    if wait := current().rate_limits.take("ratings", f"conversation:{conversation.id}"):
        answer = _page("wait", 429)
        answer.headers["Retry-After"] = str(wait)
        return answer
    # A form has one kind of line ends, and what is kept another.
    score, words = _score(request.form.get("score", "")), request.form.get("comment", "").replace("\r\n", "\n")
    try:
        if score is None:
            raise InvalidInput("rating", "Choose a number from 1 to 5.")
        service.rate_by_link(session, asked, score=score, comment=words)
        session.commit()
    except InvalidInput as refused:
        session.rollback()
        return _asked(*_again(session, token), typed={"score": score, "comment": words}, error=refused)
    except RatingClosed:
        session.rollback()
        return _asked(*_again(session, token), late=True)
    except NotFound:  # forgotten in between
        return _page("none", 404)
    return redirect(url_for("cairnloop.rating", token=token, kept="yes"), code=303)


def _again(session: Session, token: str) -> tuple[Rating, Conversation]:
    found = ratings.named_by(session, token)
    if found is None:
        raise NotFound("There is no such question.")
    return found


def _asked(
    asked: Rating,
    conversation: Conversation,
    *,
    typed: dict[str, Any] | None = None,
    error: InvalidInput | None = None,
    late: bool = False,
) -> Response:
    open_still = asked.closes_at > now()
    status = 422 if error is not None else 409 if late else 200 if open_still else 410
    given = {"score": asked.score, "comment": asked.comment or ""}
    return _page(
        "open" if open_still else "closed",
        status,
        asked=asked,
        goes_on=conversation.status is not ConversationStatus.RESOLVED,
        typed=given | {name: value for name, value in (typed or {}).items() if value is not None},
        error=error,
        kept=request.args.get("kept") == "yes",
    )


def _page(state: str, status: int = 200, **context: Any) -> Response:
    product = current().settings.product_name
    words = render_template("cairnloop/rating/page.html", state=state, asset=asset, product_name=product, **context)
    answer: Response = make_response(words, status)
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Robots-Tag"] = "noindex"
    return answer


def _beforehand() -> dict[str, Any]:
    """A number that a link brings along, such as a star in a mail: chosen in the form, and sent by a person only."""
    return {"score": _score(request.args.get("score", ""))}


def _score(text: str) -> int | None:
    return int(text) if text in ("1", "2", "3", "4", "5") else None
