"""What customers think of the help: asking for it, keeping what they say, and the link by which they can say it.

A rating belongs to one resolution. It may be given until ``RATING_OPEN_FOR`` is over, and changed for
``RATING_CHANGE_FOR`` after that; then, or when the conversation goes on, it stays as it is. Callers hold the
conversation's lock; what a rating leads to is decided by :mod:`flask_cairnloop.conversations.service`.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Final

from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor, ActorKind
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations.models import (
    Conversation,
    CustomerRecord,
    Message,
    RatedVia,
    Rating,
)
from flask_cairnloop.errors import InvalidInput, RatingClosed
from flask_cairnloop.privacy.redactor import names_of, redact

COMMENT_LENGTH: Final = 2000
PURPOSE: Final = "cairnloop rating link"


# --- asking -----------------------------------------------------------------------------------------------------------


def ask(session: Session, conversation: Conversation, event: Message, actor: Actor) -> Rating:
    """Ask the customer what they think of the help in a conversation that was resolved just now.

    Args:
        event: that says so.
        actor: who resolved it.
    """
    closes_at = event.created_at + timedelta(seconds=current().settings.rating_open_for)
    asked = Rating(
        conversation_id=conversation.id,
        resolution=event.sequence,
        asked_at=event.created_at,
        closes_at=closes_at,
        resolver_id=actor.id if actor.kind is ActorKind.OPERATOR else None,
        assignee_id=conversation.assignee_id,
        assignee_name=conversation.assignee_name,
    )
    session.add(asked)
    conversation.rating_until = closes_at
    return asked


def close(session: Session, conversation: Conversation) -> None:
    """Take no rating of an earlier resolution any more: the conversation goes on."""
    if conversation.rating_until is None:
        return
    conversation.rating_until = None
    moment = now()
    session.execute(
        update(Rating)
        .where(Rating.conversation_id == conversation.id, Rating.closes_at > moment)
        .values(closes_at=moment)
        .execution_options(synchronize_session="fetch")
    )


def unask(session: Session, conversation_id: int) -> None:
    """Let the newest question be none, as what led to it was taken back before anybody answered."""
    asked = newest(session, conversation_id)
    if asked is not None and asked.score is None:
        session.delete(asked)


# --- saying -----------------------------------------------------------------------------------------------------------


def newest(session: Session, conversation_id: int) -> Rating | None:
    """What was asked, and said, of the newest resolution for which something was asked."""
    return session.scalars(
        select(Rating).where(Rating.conversation_id == conversation_id).order_by(Rating.resolution.desc()).limit(1)
    ).one_or_none()


def give(
    session: Session,
    conversation: Conversation,
    asked: Rating | None,
    *,
    score: int,
    comment: str | None,
    via: RatedVia,
) -> bool:
    """Keep a rating, in place of what was said before.

    Args:
        comment: ``None`` keeps the one there is, an empty one takes it away. It is kept redacted.

    Returns:
        Whether anything is not as it was.

    Raises:
        InvalidInput: score or comment do not fit.
        RatingClosed: nothing is asked, or not any more.
    """
    if not 1 <= score <= 5:
        raise InvalidInput("rating", "A rating is a number from 1 to 5.")
    words = None if comment is None else comment.replace("\x00", "").strip()
    if words is not None and len(words) > COMMENT_LENGTH:
        raise InvalidInput("comment", f"A comment has at most {COMMENT_LENGTH} characters.")
    moment = now()
    if asked is None or asked.closes_at <= moment:
        raise RatingClosed(asked is not None)
    kept = asked.comment if words is None else _redacted(session, conversation, words)
    if (asked.score, asked.comment) == (score, kept):
        return False
    if asked.score is None:
        asked.rated_at, asked.via = moment, via
        asked.closes_at = moment + timedelta(seconds=current().settings.rating_change_for)
    else:
        asked.changed_at = moment
    asked.score, asked.comment = score, kept
    conversation.rating, conversation.rating_until = score, asked.closes_at
    return True


def is_low(score: int) -> bool:
    """Whether somebody should hear of a rating."""
    return score <= current().settings.low_rating


def _redacted(session: Session, conversation: Conversation, words: str) -> str | None:
    if not words:
        return None
    person = session.get_one(CustomerRecord, conversation.customer_id)
    names = names_of(ref=person.ref, name=person.name, email=person.email, organization=person.organization)
    return redact(words, names=names)


# --- the link ---------------------------------------------------------------------------------------------------------


def link_of(asked: Rating) -> str | None:
    """The address of the page on which a customer can rate, without signing in: ``None`` where the app has no secret.

    Whole where ``PUBLIC_URL`` is set; else it begins with ``URL_PREFIX``. The same each time, so that a host that is
    told twice mails the same.
    """
    signer = _signer()
    if signer is None:
        return None
    settings = current().settings
    return f"{settings.public_url.rstrip('/')}{settings.url_prefix}/rate/{signer.dumps(asked.uuid.hex)}"


def named_by(session: Session, token: str) -> tuple[Rating, Conversation] | None:
    """What a link asks, with its conversation ; ``None`` where it is none of ours, or leads nowhere."""
    signer = _signer()
    try:
        number = uuid.UUID(signer.loads(token)) if signer is not None and len(token) <= 500 else None
    except (BadData, ValueError, TypeError, AttributeError):
        number = None
    if number is None:
        return None
    found = session.execute(
        select(Rating, Conversation)
        .join(Conversation, Conversation.id == Rating.conversation_id)
        .where(Rating.uuid == number, Conversation.erased_at.is_(None))
    ).one_or_none()
    return None if found is None else (found[0], found[1])


def _signer() -> URLSafeSerializer | None:
    """Signs with the app's secret, for this purpose alone; what an earlier secret signed is known as well."""
    app = current().app
    if not app.secret_key:
        return None
    keys = [*(app.config.get("SECRET_KEY_FALLBACKS") or ()), app.secret_key]
    return URLSafeSerializer(keys, salt=PURPOSE)
