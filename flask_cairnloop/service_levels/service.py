"""The desk's own policy, and which service level a conversation has. Never commits."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Acting, as_actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations.models import Conversation, Priority
from flask_cairnloop.errors import InvalidInput, StalePolicy
from flask_cairnloop.jobs import enqueue
from flask_cairnloop.service_levels.models import ServiceAnswer, ServicePolicy
from flask_cairnloop.service_levels.types import Policy, ServiceLevel

log = logging.getLogger(__name__)
APPLY = "service_levels.apply"


def newest(session: Session) -> ServicePolicy | None:
    """The version of the desk's policy that counts, also where it is not in force; ``None`` where none was written."""
    return session.scalars(select(ServicePolicy).order_by(ServicePolicy.version.desc()).limit(1)).one_or_none()


def in_use(session: Session) -> bool:
    """Whether any conversation can have a deadline. One query at most."""
    return current().hooks.configured("SLA_POLICY") or bool(session.scalar(in_force()))


def in_force() -> Select[Any]:
    """Whether the desk's own policy counts; no row where none was written. A statement."""
    return select(ServicePolicy.in_force).order_by(ServicePolicy.version.desc()).limit(1)


def save(session: Session, policy: Policy, *, in_force: bool, seen: int, actor: Acting) -> ServicePolicy:
    """Write the next version of the policy, and have every open conversation reckoned by it.

    Args:
        in_force: whether it counts. Deadlines of one that does not are cancelled.
        seen: the version that was changed; 0 for none.

    Raises:
        StalePolicy: somebody has saved another one since.
        InvalidInput: it is to count and promises nothing.
    """
    actor, before = as_actor(actor), newest(session)
    version = before.version if before else 0
    if version != seen:
        raise StalePolicy(seen, version)
    if in_force and not any(found for found in policy.targets.values()):
        raise InvalidInput("targets", "Set a target, or take the policy out of force.")
    since = (before and before.in_force_since) or now()
    made = ServicePolicy(
        version=version + 1,
        in_force=in_force,
        in_force_since=since if in_force else None,
        terms=policy.plain(),
        edited_by=actor.id,
        edited_by_name=actor.name,
        created_at=now(),
    )
    try:
        with session.begin_nested():
            session.add(made)
            session.flush()
    except IntegrityError:
        raise StalePolicy(seen, version + 1) from None
    record(session, actor, "service_policy.save", "service_policy", made.id, version=made.version, in_force=in_force)
    enqueue(session, APPLY, {}, unique_key=APPLY)
    return made


@dataclass(frozen=True, slots=True)
class Basis:
    """What a conversation's deadlines are reckoned by.

    Args:
        level: ``None``: it has no targets.
        since: waits are counted from here on.
        version: of the desk's policy; ``None`` for the host's.
        policy: the desk's policy, for what it does at a breach; ``None`` where it is not in force.
        failure: why the host's could not be had, where it is set.
    """

    level: ServiceLevel | None
    since: datetime | None = None
    version: int | None = None
    policy: Policy | None = None
    failure: str | None = None


def basis(session: Session, conversation: Conversation) -> Basis:
    """By what a conversation's deadlines are reckoned now. Two queries at most."""
    row = newest(session)
    policy = read(row) if row is not None and row.in_force else None
    failure = None
    if current().hooks.configured("SLA_POLICY"):
        answer = session.get(ServiceAnswer, conversation.id, populate_existing=True)
        if answer is not None and answer.failure is None:
            level = None if answer.level is None else ServiceLevel.read(answer.level)
            return Basis(level, policy=policy)
        failure = answer.failure if answer else None
    if row is None or policy is None:
        return Basis(None, failure=failure)
    level = policy.level(Priority(conversation.priority))
    return Basis(level, row.in_force_since, row.version, policy, failure)


def read(row: ServicePolicy) -> Policy | None:
    """A version of the policy; ``None`` where this host cannot read it, which the log and the doctor tell."""
    try:
        return Policy.read(row.terms)
    except InvalidInput as wrong:
        log.error("Version %s of the service policy cannot be used: %s", row.version, wrong)
        return None
