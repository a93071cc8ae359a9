"""Sorting the queue: who has a conversation, how urgent it is, what it is about, and when it comes back.

As in ``service.py``, every function takes a session, names its actor and never commits. Nothing here is seen by the
customer.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Acting, Actor, as_actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations.models import (
    TAG_LENGTH,
    TEAM_LENGTH,
    AssignmentTurn,
    Conversation,
    ConversationStatus,
    ConversationTag,
    EventName,
    MessageKind,
    Priority,
    Tag,
)
from flask_cairnloop.conversations.service import append, changed, check_seen, hand_over, lock, step, take_back
from flask_cairnloop.drafting.lifecycle import withdraw
from flask_cairnloop.errors import IllegalTransition, InvalidInput, Taken
from flask_cairnloop.hooks import Operator
from flask_cairnloop.jobs import enqueue
from flask_cairnloop.service_levels.following import follow

WAKE = "conversations.wake"
TAGS_EACH = 12  # of one conversation
MOST_TAGS = 500  # that a desk may have
LONGEST_SNOOZE = timedelta(days=366)
TURNS_LOCK = 0x43_4C_54_55  # one assignment by rule at a time: two would count the same load


# --- who has it -------------------------------------------------------------------------------------------------------


def claim(session: Session, conversation_id: int, *, operator: Operator) -> Conversation:
    """Take a conversation that nobody has. Of two who do it at once one wins, and the other is told who that is.

    Raises:
        Taken: somebody else has it.
    """
    return reassign(session, conversation_id, actor=operator, assignee=operator, had=None)


def reassign(
    session: Session, conversation_id: int, *, actor: Acting, assignee: Operator | None, had: str | None
) -> Conversation:
    """Hand a conversation over, if it is still with whom the actor saw it.

    Args:
        assignee: ``None`` gives it back.
        had: the id of who had it then; ``None`` for nobody.

    Raises:
        Taken: somebody else has it by now. Where that is whom it was to go to, nothing is wrong.
    """
    conversation = lock(session, conversation_id)
    wanted = assignee.id if assignee else None
    if conversation.assignee_id not in (had, wanted):
        raise Taken(conversation.assignee_id, conversation.assignee_name)
    hand_over(session, conversation, as_actor(actor), wanted, assignee.name if assignee else None)
    return conversation


def set_team(session: Session, conversation_id: int, *, actor: Acting, team: str | None) -> Conversation:
    """Say which team a conversation is for; ``None`` for none.

    Raises:
        InvalidInput: the name does not fit.
    """
    team = (team or "").replace("\x00", "").strip() or None
    if team is not None and len(team) > TEAM_LENGTH:
        raise InvalidInput("team", f"A team's name has at most {TEAM_LENGTH} characters.")
    conversation = lock(session, conversation_id)
    if conversation.team != team:
        conversation.team = team
        follow(session, conversation)
        record(session, as_actor(actor), "conversation.team", "conversation", conversation.id, team=team)
        changed(session, conversation)
    return conversation


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody who may be given a conversation by rule."""

    id: str
    name: str
    load: int  # open conversations that they have


def candidates(session: Session, operators: Collection[Operator], *, team: str | None, limit: int) -> list[Candidate]:
    """Who of these may get one more, those whose turn is longest ago first. Two queries.

    Args:
        team: only people of it, where the conversation is for one.
        limit: open conversations one may have; 0 for any number.
    """
    people = {one.id: one for one in operators if team is None or team in one.teams}
    if not people:
        return []
    asleep = Conversation.snoozed_until.is_not(None)
    loads = dict(
        session.execute(
            select(Conversation.assignee_id, func.count())
            .where(Conversation.status == ConversationStatus.OPEN, Conversation.assignee_id.in_(people), ~asleep)
            .group_by(Conversation.assignee_id)
        ).all()
    )
    turns = dict(
        session.execute(
            select(AssignmentTurn.operator_id, AssignmentTurn.at).where(AssignmentTurn.operator_id.in_(people))
        ).all()
    )
    found = [Candidate(one.id, one.name, loads.get(one.id, 0)) for one in people.values()]
    free = [one for one in found if not limit or one.load < limit]
    return sorted(free, key=lambda one: (one.id in turns, turns.get(one.id), one.id))


def assign_by_rule(
    session: Session, conversation_id: int, operators: Collection[Operator], *, actor: Actor
) -> Conversation | None:
    """Give a conversation that nobody has to whose turn it is.

    Returns:
        ``None`` where nobody is free, or somebody was faster.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": TURNS_LOCK})
    conversation = lock(session, conversation_id)
    if conversation.status is not ConversationStatus.OPEN or conversation.assignee_id is not None:
        return None
    limit = current().settings.assign_limit
    free = candidates(session, operators, team=conversation.team, limit=limit)
    if not free:
        return None
    turn = insert(AssignmentTurn).values(operator_id=free[0].id, at=now())
    session.execute(turn.on_conflict_do_update(index_elements=["operator_id"], set_={"at": turn.excluded.at}))
    hand_over(session, conversation, actor, free[0].id, free[0].name)
    return conversation


# --- when it comes back -----------------------------------------------------------------------------------------------


def snooze(
    session: Session, conversation_id: int, *, actor: Acting, until: datetime, seen: int | None = None
) -> Conversation:
    """Put a conversation out of the way until a time, or until its customer writes.

    Args:
        seen: sequence of the newest message the actor had before them.

    Raises:
        InvalidInput: the time is past, or more than a year away.
        IllegalTransition: the conversation is not open.
        StaleConversation: the customer has written after ``seen``.
    """
    if not now() < until <= now() + LONGEST_SNOOZE:
        raise InvalidInput("until", "Choose a time to come, within a year.")
    conversation = lock(session, conversation_id)
    if conversation.status is not ConversationStatus.OPEN:
        raise IllegalTransition("conversation", conversation.status.value, "be snoozed")
    check_seen(conversation, seen)
    _snooze(session, conversation, as_actor(actor), until)
    return conversation


def _snooze(session: Session, conversation: Conversation, actor: Actor, until: datetime) -> None:
    if conversation.snoozed_until == until:
        return
    conversation.snoozed_until = until
    moment = until.isoformat()
    append(session, conversation, MessageKind.EVENT, actor, event=EventName.SNOOZED, data={"until": moment})
    follow(session, conversation)
    record(session, actor, "conversation.snooze", "conversation", conversation.id, until=moment)
    enqueue(
        session,
        WAKE,
        {"conversation_id": conversation.id, "until": moment},
        run_at=until,
        unique_key=f"wake:{conversation.id}",
    )
    changed(session, conversation)


def wake(session: Session, conversation_id: int, *, actor: Acting, until: datetime | None = None) -> Conversation:
    """Bring a snoozed conversation back. One that is awake stays as it is.

    Somebody meant to come back to it: it waits on us from now on, also where the customer does not wait.

    Args:
        until: only if it was snoozed until this moment, and not again since.
    """
    conversation = lock(session, conversation_id)
    if conversation.snoozed_until is None or until not in (None, conversation.snoozed_until):
        return conversation
    _wake(session, conversation, as_actor(actor))
    return conversation


def _wake(session: Session, conversation: Conversation, actor: Actor) -> None:
    conversation.snoozed_until = None
    conversation.waiting_since = conversation.waiting_since or now()
    append(session, conversation, MessageKind.EVENT, actor, event=EventName.WOKEN)
    follow(session, conversation)
    record(session, actor, "conversation.wake", "conversation", conversation.id)
    changed(session, conversation)


def unsnooze(session: Session, conversation: Conversation, actor: Actor) -> None:
    """Take a snooze back, as if it had not been. The conversation is locked."""
    if conversation.snoozed_until is not None:
        conversation.snoozed_until = None
        append(session, conversation, MessageKind.EVENT, actor, event=EventName.WOKEN, data={"undone": True})
        follow(session, conversation)
        record(session, actor, "conversation.wake", "conversation", conversation.id)
        changed(session, conversation)


# --- how urgent, what about, and whether at all -----------------------------------------------------------------------


def set_priority(session: Session, conversation_id: int, *, actor: Acting, priority: Priority) -> Conversation:
    """Say how urgent a conversation is."""
    conversation = lock(session, conversation_id)
    if conversation.priority != priority:
        conversation.priority = priority
        follow(session, conversation)
        record(
            session, as_actor(actor), "conversation.priority", "conversation", conversation.id, priority=priority.word
        )
        changed(session, conversation)
    return conversation


def known_tag(session: Session, name: str) -> Tag | None:
    """The tag of this name, if there is one. Case makes no difference."""
    name = " ".join(unicodedata.normalize("NFC", name).replace("\x00", "").split())
    return session.scalars(select(Tag).where(func.lower(Tag.name) == func.lower(name))).one_or_none()


def tag_named(session: Session, name: str) -> Tag:
    """The tag of this name, made where there is none. Case makes no difference.

    Raises:
        InvalidInput: the name does not fit, or there are too many tags.
    """
    name = " ".join(unicodedata.normalize("NFC", name).replace("\x00", "").split())
    if not name or len(name) > TAG_LENGTH or not name.isprintable():
        raise InvalidInput("tag", f"A tag has 1 to {TAG_LENGTH} characters.")
    wanted = select(Tag).where(func.lower(Tag.name) == func.lower(name))
    found = session.scalars(wanted).one_or_none()
    if found is None:
        if (session.scalar(select(func.count()).select_from(Tag)) or 0) >= MOST_TAGS:
            raise InvalidInput("tag", f"There are {MOST_TAGS} tags already. Use one of them.")
        session.execute(insert(Tag).values(name=name, created_at=now()).on_conflict_do_nothing())
        found = session.scalars(wanted).one()
    return found


def tag(session: Session, conversation_id: int, *, actor: Acting, tag_id: int) -> bool:
    """Put a tag on a conversation. Whether it was not there before.

    Raises:
        InvalidInput: it has as many as one may have, or there is no such tag.
    """
    conversation = lock(session, conversation_id)
    if session.get(Tag, tag_id) is None:
        raise InvalidInput("tag", "There is no such tag any more.")
    mine = session.scalars(
        select(ConversationTag.tag_id).where(ConversationTag.conversation_id == conversation.id)
    ).all()
    if tag_id in mine:
        return False
    if len(mine) >= TAGS_EACH:
        raise InvalidInput("tag", f"A conversation has at most {TAGS_EACH} tags.")
    statement = insert(ConversationTag).values(conversation_id=conversation.id, tag_id=tag_id, added_at=now())
    added = session.execute(statement.on_conflict_do_nothing().returning(ConversationTag.tag_id)).first() is not None
    if added:
        record(session, as_actor(actor), "conversation.tag", "conversation", conversation.id, tag_id=tag_id)
        changed(session, conversation)
    return added


def untag(session: Session, conversation_id: int, *, actor: Acting, tag_id: int) -> bool:
    """Take a tag off a conversation. Whether it was there."""
    conversation = lock(session, conversation_id)
    link = (ConversationTag.conversation_id == conversation.id, ConversationTag.tag_id == tag_id)
    statement = delete(ConversationTag).where(*link).returning(ConversationTag.tag_id)
    removed = session.execute(statement).first() is not None
    if removed:
        record(session, as_actor(actor), "conversation.untag", "conversation", conversation.id, tag_id=tag_id)
        changed(session, conversation)
    return removed


def tags_of(session: Session, conversation_ids: Iterable[int]) -> dict[int, list[Tag]]:
    """The tags of these conversations, by name. One query."""
    rows = session.execute(
        select(ConversationTag.conversation_id, Tag)
        .join(Tag, Tag.id == ConversationTag.tag_id)
        .where(ConversationTag.conversation_id.in_(list(conversation_ids)))
        .order_by(func.lower(Tag.name))
    )
    found: dict[int, list[Tag]] = {}
    for conversation_id, tag in rows:
        found.setdefault(conversation_id, []).append(tag)
    return found


def all_tags(session: Session) -> list[Tag]:
    """Every tag, by name; there are at most :data:`MOST_TAGS`."""
    return list(session.scalars(select(Tag).order_by(func.lower(Tag.name)).limit(MOST_TAGS)))


def mark_spam(session: Session, conversation_id: int, *, actor: Acting) -> Conversation:
    """Take a conversation out of the queue as spam. Its draft is withdrawn, and what comes in makes no other.

    The customer notices nothing. :func:`unmark_spam` brings it back.

    Raises:
        IllegalTransition: it is not open.
    """
    actor = as_actor(actor)
    conversation = lock(session, conversation_id)
    step(conversation, "be marked as spam")
    conversation.waiting_since = conversation.snoozed_until = None
    append(session, conversation, MessageKind.EVENT, actor, event=EventName.MARKED_SPAM)
    follow(session, conversation)
    withdraw(session, conversation, because="spam", actor=actor)
    record(session, actor, "conversation.mark_spam", "conversation", conversation.id)
    changed(session, conversation)
    return conversation


def unmark_spam(session: Session, conversation_id: int, *, actor: Acting) -> Conversation:
    """Bring a conversation back from spam.

    Raises:
        IllegalTransition: it is not there.
    """
    conversation = lock(session, conversation_id)
    take_back(session, conversation, as_actor(actor))
    return conversation
