"""The library of templates. Every function takes a session, names its operator and never commits."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.errors import Conflict, IllegalTransition, InvalidInput, NotFound, StaleTemplate
from flask_cairnloop.hooks import Operator
from flask_cairnloop.macros import language
from flask_cairnloop.outbound.models import NAME_LENGTH, SUBJECT_LENGTH, OutboundTemplate

MOST = 200  # in use; a longer library finds nothing any more


def usable(session: Session) -> list[OutboundTemplate]:
    """The templates in use, by name. One query."""
    chosen = select(OutboundTemplate).where(OutboundTemplate.archived_at.is_(None))
    return list(session.scalars(chosen.order_by(func.lower(OutboundTemplate.name), OutboundTemplate.id).limit(MOST)))


def get(session: Session, template_id: int) -> OutboundTemplate:
    """A template, archived or not.

    Raises:
        NotFound: there is none.
    """
    found = session.get(OutboundTemplate, template_id)
    if found is None:
        raise NotFound("There is no such template.")
    return found


def named(session: Session, name: str) -> OutboundTemplate:
    """A template in use, by its name.

    Raises:
        NotFound: there is none.
    """
    found = session.scalars(
        select(OutboundTemplate).where(
            func.lower(OutboundTemplate.name) == name.lower(), OutboundTemplate.archived_at.is_(None)
        )
    ).one_or_none()
    if found is None:
        raise NotFound("There is no template of this name.")
    return found


def save(
    session: Session,
    template_id: int | None,
    *,
    operator: Operator,
    name: str,
    subject: str,
    body: str,
    cancel_on_reply: bool,
    edits: int = 0,
) -> OutboundTemplate:
    """Write a template, or write it anew. What was previewed with it stays as it was previewed.

    Args:
        edits: how often it had been saved when the operator last looked.

    Raises:
        InvalidInput: name, subject or text do not fit, or are not in the language of macros.
        Conflict: there is one of this name, or there are too many.
        IllegalTransition: it is archived.
        StaleTemplate: a colleague has saved it after the operator looked.
        NotFound: there is none.
    """
    name, subject = " ".join(name.replace("\x00", "").split()), " ".join(subject.replace("\x00", "").split())
    body = body.replace("\x00", "").replace("\r\n", "\n").strip()
    if not name or len(name) > NAME_LENGTH:
        raise InvalidInput("name", f"A name has 1 to {NAME_LENGTH} characters.")
    if not subject or len(subject) > SUBJECT_LENGTH:
        raise InvalidInput("subject", f"A subject has 1 to {SUBJECT_LENGTH} characters.")
    if not body or len(body) > current().settings.message_limit:
        raise InvalidInput("body", f"A text has 1 to {current().settings.message_limit:,} characters.")
    parsed("subject", subject)
    parsed("body", body)
    if template_id is None:
        if len(usable(session)) >= MOST:
            raise Conflict(f"There are {MOST} templates already. Archive one first.")
        template = OutboundTemplate(edits=0)
    else:
        template = _lock(session, template_id)
        if template.archived_at is not None:
            raise IllegalTransition("template", "archived", "be changed")
        if template.edits != edits:
            raise StaleTemplate(edits, template.edits)
    try:
        with session.begin_nested():
            template.name, template.subject, template.body = name, subject, body
            template.cancel_on_reply, template.edits = cancel_on_reply, template.edits + 1
            template.edited_by, template.edited_at = operator.name, now()
            session.add(template)
            session.flush()
    except IntegrityError as error:
        raise Conflict(f"There is a template called “{name}” already.") from error
    record(session, Actor.operator(operator), "template.save", "template", template.id, edits=template.edits)
    return template


def archive(session: Session, template_id: int, *, operator: Operator) -> OutboundTemplate:
    """Take a template out of use. What is on its way with it is sent.

    Raises:
        NotFound: there is none.
        IllegalTransition: it is archived already.
    """
    template = _lock(session, template_id)
    if template.archived_at is not None:
        raise IllegalTransition("template", "archived", "be archived")
    template.archived_at = now()
    record(session, Actor.operator(operator), "template.archive", "template", template.id)
    return template


def parsed(field: str, text: str) -> Sequence[language.Part]:
    """A text of a template in its parts.

    Raises:
        InvalidInput: it is not in the language; of this field.
    """
    try:
        return language.parse(text)
    except InvalidInput as wrong:
        raise InvalidInput(field, wrong.message) from wrong


def _lock(session: Session, template_id: int) -> OutboundTemplate:
    found = session.get(OutboundTemplate, template_id, with_for_update=True, populate_existing=True)
    if found is None:
        raise NotFound("There is no such template.")
    return found
