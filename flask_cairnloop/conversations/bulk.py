"""One step for several conversations at once, and back again.

How each was before is kept for a short time. Going back touches only what nobody has changed since.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.conversations import ratings, service, triage
from flask_cairnloop.conversations.models import (
    BulkStep,
    Conversation,
    ConversationStatus,
    Message,
    MessageKind,
    Priority,
)
from flask_cairnloop.errors import AnsweredMeanwhile, Conflict, InvalidInput, NotFound, Stale
from flask_cairnloop.hooks import Operator

MOST: Final = 100  # conversations in one step
UNDO_FOR: Final = timedelta(minutes=10)
KEPT_FOR: Final = timedelta(days=1)


class Does(StrEnum):
    """What may be done to several at once."""

    ASSIGN = "assign"
    TAG = "tag"
    PRIORITY = "priority"
    SNOOZE = "snooze"
    RESOLVE = "resolve"


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Args:
        assignee: for ``ASSIGN``; ``None`` gives them back.
        tag_id, priority, until: for the steps of their names.
        asks: for ``RESOLVE``: whether customers are asked for a rating; ``ASK_FOR_RATING`` when left out.
        seen: for ``RESOLVE`` and ``SNOOZE``: of each conversation, by id, the newest sequence its list had shown. One
            in which somebody has written since is left as it is.
    """

    does: Does
    assignee: Operator | None = None
    tag_id: int = 0
    priority: Priority = Priority.NORMAL
    until: datetime | None = None
    asks: bool | None = None
    seen: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a step.

    Args:
        step_id: to take it back by; ``None`` where nothing was changed.
        changed: the conversations that are not as they were.
        left: how many it did not fit, such as one that was resolved already.
        moved: how many were left as somebody has written in them since.
    """

    step_id: int | None
    changed: tuple[int, ...]
    left: int
    moved: int = 0


def do(session: Session, ids: Collection[int], step: Step, *, actor: Actor) -> Done:
    """Take a step with each of these conversations.

    Raises:
        InvalidInput: there are none, or too many, or what is to be done is not said.
    """
    if not 0 < len(ids) <= MOST:
        raise InvalidInput("id", f"Choose 1 to {MOST} conversations.")
    changes, left, moved = [], 0, 0
    for id_ in sorted(set(ids)):  # in one order: two who do this at once wait for each other, and never in a ring
        try:
            change = _one(session, id_, step, actor)
        except Stale:
            moved += 1
            continue
        except (Conflict, NotFound):
            left += 1
            continue
        except InvalidInput:  # one has as many tags as one may have
            if step.does is not Does.TAG:
                raise
            left += 1
            continue
        if change is not None:
            changes.append({"id": id_, **change})
    session.execute(delete(BulkStep).where(BulkStep.created_at < now() - KEPT_FOR))
    if not changes:
        return Done(None, (), left, moved)
    kept = BulkStep(operator_id=actor.id, does=step.does.value, changes=changes)
    session.add(kept)
    session.flush()
    record(session, actor, "bulk.do", "bulk", kept.id, does=step.does.value, conversations=len(changes))
    return Done(kept.id, tuple(change["id"] for change in changes), left, moved)


def _one(session: Session, id_: int, step: Step, actor: Actor) -> dict[str, Any] | None:
    """Take the step with one of them. Returns how it was and how it is; ``None`` where it was so already."""
    conversation = service.lock(session, id_)
    if step.does in (Does.SNOOZE, Does.RESOLVE) and id_ in step.seen:
        _check_seen(session, conversation, step.seen[id_], actor)
    match step.does:
        case Does.ASSIGN:
            before = [conversation.assignee_id, conversation.assignee_name]
            service.assign(session, id_, actor=actor, assignee=step.assignee)
            after = [conversation.assignee_id, conversation.assignee_name]
            return {"before": before, "after": after} if before != after else None
        case Does.TAG:
            return {"after": step.tag_id} if triage.tag(session, id_, actor=actor, tag_id=step.tag_id) else None
        case Does.PRIORITY:
            was = conversation.priority
            triage.set_priority(session, id_, actor=actor, priority=step.priority)
            return {"before": was, "after": int(step.priority)} if was != step.priority else None
        case Does.SNOOZE:
            if step.until is None:
                raise InvalidInput("until", "Choose until when.")
            earlier = _plain(conversation.snoozed_until)
            triage.snooze(session, id_, actor=actor, until=step.until)
            return {"before": earlier, "after": _plain(step.until)}
        case Does.RESOLVE:
            if service.reply_waits(session, id_):
                raise Conflict("A reply is on its way there.")
            waited, snoozed = _plain(conversation.waiting_since), _plain(conversation.snoozed_until)
            service.resolve(session, id_, actor=actor, asks=step.asks, how=service.How.SEVERAL)
            return {"before": [waited, snoozed], "after": _plain(conversation.resolved_at)}


def _check_seen(session: Session, conversation: Conversation, seen: int, actor: Actor) -> None:
    """Refuse what was decided before somebody else wrote.

    Raises:
        StaleConversation: the customer did.
        AnsweredMeanwhile: a colleague did.
    """
    service.check_seen(conversation, seen)
    answered = exists().where(
        Message.conversation_id == conversation.id,
        Message.sequence > seen,
        Message.kind == MessageKind.REPLY,
        Message.author_id != actor.id,
    )
    if conversation.last_sequence > seen and session.scalar(select(answered)):
        raise AnsweredMeanwhile(seen, conversation.last_sequence)


@dataclass(frozen=True, slots=True)
class Undone:
    """What came of going back: which are as they were, and how many somebody has changed since."""

    restored: tuple[int, ...]
    left: int


def step_of(session: Session, step_id: int, *, actor: Actor) -> tuple[Does, list[int]]:
    """What a step of one's own was, and the conversations it changed.

    Raises:
        NotFound: it is somebody else's, or too long ago.
    """
    step = session.get(BulkStep, step_id)
    if step is None or step.operator_id != actor.id or now() - step.created_at > UNDO_FOR:
        raise NotFound("This cannot be taken back any more.")
    return Does(step.does), [change["id"] for change in step.changes]


def undo(session: Session, step_id: int, *, actor: Actor, allowed: Collection[int] | None = None) -> Undone:
    """Take a step of one's own back, where nobody has changed anything since.

    Args:
        allowed: only these conversations; all when left out.

    Raises:
        NotFound: it is somebody else's, or too long ago.
        Conflict: it was taken back already.
    """
    step = session.get(BulkStep, step_id, with_for_update=True)
    if step is None or step.operator_id != actor.id or now() - step.created_at > UNDO_FOR:
        raise NotFound("This cannot be taken back any more.")
    if step.undone_at is not None:
        raise Conflict("This was taken back already.")
    step.undone_at = now()
    back = _BACK[Does(step.does)]
    restored = []
    for change in step.changes:
        if allowed is not None and change["id"] not in allowed:
            continue
        try:
            conversation = service.lock(session, change["id"])
        except NotFound:
            continue
        if back(session, conversation, change, actor):
            restored.append(conversation.id)
    left = len(step.changes) - len(restored)
    record(session, actor, "bulk.undo", "bulk", step.id, conversations=len(restored), left=left)
    return Undone(tuple(restored), left)


def _assigned(session: Session, conversation: Conversation, change: dict[str, Any], actor: Actor) -> bool:
    if conversation.assignee_id != change["after"][0]:
        return False
    service.hand_over(session, conversation, actor, *change["before"])
    return True


def _tagged(session: Session, conversation: Conversation, change: dict[str, Any], actor: Actor) -> bool:
    return triage.untag(session, conversation.id, actor=actor, tag_id=change["after"])


def _prioritised(session: Session, conversation: Conversation, change: dict[str, Any], actor: Actor) -> bool:
    if conversation.priority != change["after"]:
        return False
    triage.set_priority(session, conversation.id, actor=actor, priority=Priority(change["before"]))
    return True


def _snoozed(session: Session, conversation: Conversation, change: dict[str, Any], actor: Actor) -> bool:
    if _plain(conversation.snoozed_until) != change["after"]:
        return False
    earlier = _moment(change["before"])
    if earlier is not None and earlier > now():
        triage.snooze(session, conversation.id, actor=actor, until=earlier)
    else:
        triage.unsnooze(session, conversation, actor)
    return True


def _resolved(session: Session, conversation: Conversation, change: dict[str, Any], actor: Actor) -> bool:
    untouched = conversation.status is ConversationStatus.RESOLVED and conversation.rating is None
    if not untouched or _plain(conversation.resolved_at) != change["after"]:
        return False
    waited, snoozed = map(_moment, change["before"])
    service.put_back(session, conversation, actor=actor, waiting_since=waited)
    ratings.unask(session, conversation.id)
    if snoozed is not None and snoozed > now():
        triage.snooze(session, conversation.id, actor=actor, until=snoozed)
    return True


_BACK: Final[dict[Does, Callable[[Session, Conversation, dict[str, Any], Actor], bool]]] = {
    Does.ASSIGN: _assigned,
    Does.TAG: _tagged,
    Does.PRIORITY: _prioritised,
    Does.SNOOZE: _snoozed,
    Does.RESOLVE: _resolved,
}


def _plain(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None  # a database has a zone of its own


def _moment(plain: str | None) -> datetime | None:
    return datetime.fromisoformat(plain) if plain else None
