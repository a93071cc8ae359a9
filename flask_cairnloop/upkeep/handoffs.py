"""Links by which one operator opens a suggestion in the editor, once: signed, theirs alone, and soon over.

The link says nothing that the database does not know; it is looked up by what it holds. Once taken it is what lets the
operator write on, for a working day, and tells where they came from.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Final

from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from flask_cairnloop.clock import now
from flask_cairnloop.errors import HandoffOver, NotFound
from flask_cairnloop.signing import keys
from flask_cairnloop.upkeep.suggestion_models import ArticleSuggestion, SuggestionHandoff

LASTS: Final = timedelta(minutes=30)  # until it is taken
SESSION: Final = timedelta(hours=12)  # once it was
REMOVED_AT_ONCE: Final = 500
_SALT: Final = "cairnloop suggestion editor"


def offer(session: Session, suggestion_id: int, *, operator_id: str, conversation_id: int | None = None) -> str:
    """A link's token for one operator.

    Args:
        conversation_id: where they come from, if it is one.

    Raises:
        NotFound: there is no such suggestion.
    """
    if session.get(ArticleSuggestion, suggestion_id) is None:
        raise NotFound("There is no such suggestion.")
    nonce = secrets.token_urlsafe(32)
    session.add(
        SuggestionHandoff(
            suggestion_id=suggestion_id,
            operator_id=operator_id,
            nonce=_digest(nonce),
            conversation_id=conversation_id,
            created_at=now(),
            expires_at=now() + LASTS,
        )
    )
    session.flush()
    return _signer().dumps([suggestion_id, operator_id, nonce])


def take(session: Session, token: str, *, suggestion_id: int, operator_id: str) -> None:
    """Let the operator write, by a link that is theirs. Of two who open it, or twice, one does.

    Raises:
        HandoffOver: it is none of ours, of another operator or suggestion, over, or was taken already.
    """
    try:
        named, owner, nonce = _signer().loads(token, max_age=int(LASTS.total_seconds()))
    except (BadData, TypeError, ValueError) as fault:
        raise HandoffOver from fault
    if named != suggestion_id or owner != operator_id or not isinstance(nonce, str):
        raise HandoffOver
    taken = session.scalar(
        update(SuggestionHandoff)
        .where(
            SuggestionHandoff.nonce == _digest(nonce),
            SuggestionHandoff.suggestion_id == suggestion_id,
            SuggestionHandoff.operator_id == operator_id,
            SuggestionHandoff.used_at.is_(None),
            SuggestionHandoff.expires_at > now(),
        )
        .values(used_at=now())
        .returning(SuggestionHandoff.id)
    )
    if taken is None:
        raise HandoffOver


def session_of(session: Session, suggestion_id: int, operator_id: str) -> SuggestionHandoff | None:
    """What lets an operator write on a suggestion; ``None``: nothing does. One query."""
    return session.scalars(
        select(SuggestionHandoff)
        .where(
            SuggestionHandoff.suggestion_id == suggestion_id,
            SuggestionHandoff.operator_id == operator_id,
            SuggestionHandoff.used_at > now() - SESSION,
        )
        .order_by(SuggestionHandoff.used_at.desc(), SuggestionHandoff.id.desc())
        .limit(1)
    ).one_or_none()


def prune(session: Session) -> bool:
    """Delete those that are over. Returns whether there are more."""
    old = select(SuggestionHandoff.id).where(SuggestionHandoff.expires_at < now() - SESSION).limit(REMOVED_AT_ONCE)
    gone = delete(SuggestionHandoff).where(SuggestionHandoff.id.in_(old)).returning(SuggestionHandoff.id)
    return len(session.scalars(gone).all()) == REMOVED_AT_ONCE


def _digest(nonce: str) -> str:
    return hashlib.sha256(nonce.encode()).hexdigest()


def _signer() -> URLSafeTimedSerializer:
    # An app without a key is let in by what the link holds alone, which nobody can guess.
    return URLSafeTimedSerializer(keys() or [b"cairnloop"], salt=_SALT)
