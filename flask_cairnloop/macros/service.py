"""What can be done with macros. Every function takes a session, names its operator and never commits."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations.models import Conversation, CustomerRecord
from flask_cairnloop.errors import Conflict, InvalidInput, NotFound
from flask_cairnloop.hooks import Operator
from flask_cairnloop.macros import actions, language
from flask_cairnloop.macros.models import NAME_LENGTH, SHARED, Macro

MOST = 200  # an operator's own and the team's together; a list longer than that finds nothing any more


def usable(session: Session, operator: Operator, query: str = "") -> list[Macro]:
    """The macros an operator may use: their own, and the team's; those used most first. One query.

    Args:
        query: words, each of which stands somewhere in the name or the text.
    """
    statement = select(Macro).where(Macro.owner_id.in_((operator.id, SHARED)))
    for word in query.replace("\x00", "").split()[:5]:
        pattern = "%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        statement = statement.where(Macro.name.ilike(pattern) | Macro.body.ilike(pattern))
    return list(session.scalars(statement.order_by(Macro.uses.desc(), Macro.name, Macro.id).limit(MOST)))


def get(session: Session, macro_id: int, operator: Operator) -> Macro:
    """A macro the operator may use.

    Raises:
        NotFound: there is none, or it is somebody else's own.
    """
    macro = session.scalars(
        select(Macro).where(Macro.id == macro_id, Macro.owner_id.in_((operator.id, SHARED)))
    ).one_or_none()
    if macro is None:
        raise NotFound("There is no such macro.")
    return macro


def save(
    session: Session,
    macro: Macro | None,
    *,
    operator: Operator,
    name: str,
    body: str,
    does: Iterable[str] = (),
    shared: bool = False,
) -> Macro:
    """Write a macro, or write it anew. The caller has looked at the permission to share.

    Args:
        does: names of actions, as :mod:`flask_cairnloop.macros.actions` knows them; others are left out.

    Raises:
        InvalidInput: name or text do not fit, or the text is not in the language of macros.
        Conflict: there is one of this name already, or there are too many.
    """
    name = " ".join(name.replace("\x00", "").split())
    body = body.replace("\x00", "").replace("\r\n", "\n").strip()
    if not name or len(name) > NAME_LENGTH:
        raise InvalidInput("name", f"A name has 1 to {NAME_LENGTH} characters.")
    if not body or len(body) > current().settings.message_limit:
        raise InvalidInput("body", f"A text has 1 to {current().settings.message_limit:,} characters.")
    language.parse(body)
    if macro is None and len(usable(session, operator)) >= MOST:
        raise Conflict(f"There are {MOST} macros already. Delete one first.")
    kept = [action.name for action in actions.known(session, does)]
    try:
        with session.begin_nested():
            if macro is None:
                macro = Macro(uses=0)
                session.add(macro)
            macro.owner_id = SHARED if shared else operator.id
            macro.name, macro.body, macro.actions = name, body, kept
            macro.edited_by, macro.edited_at = operator.name, now()
            session.flush()
    except IntegrityError as error:
        raise Conflict(f"There is a macro called “{name}” already.") from error
    record(session, Actor.operator(operator), "macro.save", "macro", macro.id, shared=shared, does=macro.actions)
    return macro


def delete(session: Session, macro: Macro, *, operator: Operator) -> None:
    """Throw a macro away. What was written with it stays."""
    record(session, Actor.operator(operator), "macro.delete", "macro", macro.id, shared=macro.owner_id == SHARED)
    session.delete(macro)


def values(
    conversation: Conversation | None, customer: CustomerRecord, operator: Operator | Actor | None
) -> dict[str, str | None]:
    """What the variables stand for in a conversation; every one of :data:`language.VARIABLES`.

    Args:
        conversation: those of it have no value where there is none.
        operator: likewise, where nobody of the team writes.
    """
    sender = operator.name if operator else None
    return {
        "customer.name": customer.name,
        "customer.first_name": _first(customer.name),
        "customer.email": customer.email,
        "customer.organization": customer.organization,
        "operator.name": sender,
        "operator.first_name": _first(sender),
        "conversation.id": str(conversation.id) if conversation else None,
        "conversation.subject": conversation.subject if conversation else None,
    }


def use(
    session: Session, macro: Macro, conversation: Conversation, customer: CustomerRecord, *, operator: Operator
) -> str:
    """A macro's text for a conversation; it is counted.

    Raises:
        Unset: a variable of it has no value here.
    """
    text = language.render(language.parse(macro.body), values(conversation, customer, operator))
    session.execute(
        update(Macro)
        .where(Macro.id == macro.id)
        .values(uses=Macro.uses + 1, used_at=now())
        .execution_options(synchronize_session=False)
    )
    actor = Actor.operator(operator)
    record(session, actor, "macro.use", "macro", macro.id, conversation_id=conversation.id)
    return text


def _first(name: str | None) -> str | None:
    words = (name or "").split()
    return words[0] if words else None
