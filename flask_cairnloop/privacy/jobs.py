"""What goes by itself: old rows, in batches that the relay takes, and what forgetting leaves in a database's files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from flask_cairnloop.errors import Conflict
from flask_cairnloop.jobs import JobContext, QueueName, job
from flask_cairnloop.jobs.registry import chore
from flask_cairnloop.privacy import clearing, retention

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop

EVERY = 600.0


def _kept_for(seconds: int, drop: Callable[[Session, int], bool], session: Session) -> bool:
    """Drop a batch of what is older; nothing where it is kept for ever."""
    return drop(session, seconds) if seconds else False


@chore("privacy.drop_votes", every=EVERY)
def drop_votes(cairnloop: Cairnloop, session: Session) -> bool:
    """Votes older than ``RETENTION_VOTES``."""
    return _kept_for(cairnloop.settings.retention_votes, retention.drop_votes, session)


@chore("privacy.drop_calls", every=EVERY)
def drop_calls(cairnloop: Cairnloop, session: Session) -> bool:
    """Calls to models older than ``RETENTION_MODEL_CALLS``."""
    return _kept_for(cairnloop.settings.retention_model_calls, retention.drop_calls, session)


@chore("privacy.drop_sent", every=EVERY)
def drop_sent(cairnloop: Cairnloop, session: Session) -> bool:
    """Replies that waited, longer than ``RETENTION_SENT`` ago."""
    return _kept_for(cairnloop.settings.retention_sent, retention.drop_sent, session)


@chore("privacy.expire_conversations", every=EVERY)
def expire_conversations(cairnloop: Cairnloop, session: Session) -> bool:
    """What was said in conversations that are over for longer than ``RETENTION_CONVERSATIONS``."""
    try:
        return _kept_for(cairnloop.settings.retention_conversations, retention.expire_conversations, session)
    except Conflict:  # something about one of them is under way: next time
        session.rollback()
        return False


@job(clearing.CLEAR, queue=QueueName.BULK, timeout=6 * 3600, max_attempts=3)
def clear(context: JobContext) -> None:
    """Take erased words out of the files of the database."""
    context.release()
    clearing.clear(context.cairnloop.engine)
