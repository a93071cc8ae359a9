"""What operators have written and not sent: kept for each of them, each conversation and each field.

It is theirs alone and decides nothing, so no entry of the audit log tells of it.
"""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations.models import UnsentText
from flask_cairnloop.errors import InvalidInput
from flask_cairnloop.jobs import publish
from flask_cairnloop.realtime.events import operator_topic

KINDS = ("reply", "note")


def texts(session: Session, conversation_id: int, operator_id: str) -> dict[str, str]:
    """An operator's unsent texts of a conversation, by kind. One query."""
    found = session.execute(
        select(UnsentText.kind, UnsentText.body).where(
            UnsentText.conversation_id == conversation_id, UnsentText.operator_id == operator_id
        )
    )
    return {row.kind: row.body for row in found}


def keep(session: Session, conversation_id: int, operator_id: str, kind: str, body: str, *, tab: str = "") -> None:
    """Keep what stands in a field, in place of what was kept; nothing of it where the field is empty.

    Args:
        tab: which page of theirs wrote it: their others hear of it, that one need not.

    Raises:
        InvalidInput: there is no such field, or the text is longer than a message may be.
    """
    if kind not in KINDS:
        raise InvalidInput("kind", "There are two fields: reply and note.")
    body = body.replace("\x00", "").replace("\r\n", "\n")
    if len(body) > current().settings.message_limit:
        raise InvalidInput("body", "That is longer than a message may be.")
    _write(session, conversation_id, operator_id, kind, body)
    _tell(session, conversation_id, operator_id, kind, tab)


def add(session: Session, conversation_id: int, operator_id: str, kind: str, body: str) -> None:
    """Put words back into a field, after what stands there."""
    kept = texts(session, conversation_id, operator_id).get(kind, "")
    _write(session, conversation_id, operator_id, kind, f"{kept.rstrip()}\n\n{body}" if kept.strip() else body)
    _tell(session, conversation_id, operator_id, kind)


def clear(session: Session, conversation_id: int, operator_id: str, kind: str) -> None:
    """Let go of what stood in a field: it is sent."""
    _write(session, conversation_id, operator_id, kind, "")
    _tell(session, conversation_id, operator_id, kind)


def _write(session: Session, conversation_id: int, operator_id: str, kind: str, body: str) -> None:
    if not body.strip():
        session.execute(
            delete(UnsentText).where(
                UnsentText.conversation_id == conversation_id,
                UnsentText.operator_id == operator_id,
                UnsentText.kind == kind,
            )
        )
        return
    values = {"body": body, "edited_at": now()}
    key = {"conversation_id": conversation_id, "operator_id": operator_id, "kind": kind}
    session.execute(
        insert(UnsentText)
        .values(**key, **values)
        .on_conflict_do_update(index_elements=list(key), set_=values)
        .execution_options(synchronize_session=False)
    )


def _tell(session: Session, conversation_id: int, operator_id: str, kind: str, tab: str = "") -> None:
    topic = operator_topic(operator_id)
    publish(session, topic, "unsent", conversation_id=conversation_id, kind=kind, tab=tab)
