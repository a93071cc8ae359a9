"""Bringing a conversation's clocks up to what its history says. Whatever happened meanwhile, doing it again is safe."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from flask_cairnloop import signals
from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations import mentions, triage
from flask_cairnloop.conversations.models import (
    NEVER,
    Conversation,
    ConversationStatus,
    EventName,
    Message,
    MessageKind,
    Priority,
)
from flask_cairnloop.conversations.service import append
from flask_cairnloop.hooks import Operator
from flask_cairnloop.jobs import enqueue, publish, send_signal
from flask_cairnloop.realtime.events import CONSOLE
from flask_cairnloop.service_levels.clock import Reckoned, Wait, reckon
from flask_cairnloop.service_levels.following import JOB
from flask_cairnloop.service_levels.models import ServiceClock
from flask_cairnloop.service_levels.service import Basis, basis
from flask_cairnloop.service_levels.spans import Happening, Span, What, replay
from flask_cairnloop.service_levels.targets import ACTIVE, ClockState, DueState
from flask_cairnloop.service_levels.types import Policy, Rule, ServiceLevel

SYSTEM = Actor.system("service_levels")
TELL = "service_levels.tell_breached"
# What is over before it was ever reckoned is written down so long after its end: a worker may have been away.
LATEST = timedelta(days=1)
# A deadline comes by this host's clock, its job by the database's: where that is ahead, it is asked for again so late.
AGAIN = timedelta(seconds=1)
_EVENTS: Final = {
    EventName.RESOLVED: What.RESOLVED,
    EventName.REOPENED: What.REOPENED,
    EventName.SNOOZED: What.SNOOZED,
    EventName.WOKEN: What.WOKEN,
    EventName.MARKED_SPAM: What.MARKED_SPAM,
    EventName.UNMARKED_SPAM: What.UNMARKED_SPAM,
}


def lock(session: Session, conversation_id: int) -> Conversation | None:
    """A conversation under its row lock, also one that takes no words any more; ``None`` where there is none."""
    session.flush()
    statement = select(Conversation).where(Conversation.id == conversation_id).with_for_update()
    return session.scalars(statement.execution_options(populate_existing=True)).one_or_none()


def bring_up_to_date(session: Session, conversation: Conversation) -> None:
    """Bring a conversation's clocks up to this moment, and ask for the next one. It is locked.

    Clocks are started, paused, met and cancelled as its history says, deadlines that have come are told of, and its row
    gets the one that comes next. Once told of, a breach stays as it is, whatever policy comes after it.
    """
    by = Basis(None) if conversation.erased_at is not None else basis(session, conversation)
    clocks = _clocks(session, conversation.id)
    known = {(clock.target, clock.began): clock for clock in clocks}
    found = _spans(session, conversation)
    spans = [span for span in found if (span.target, span.began) in known or _counts(span, by)]
    moment = now()
    gone = _without(clocks, spans, by)
    for clock in gone:
        clock.state, clock.ended_at = ClockState.CANCELLED, moment
    session.flush()  # before the next one of its target is added: there is one at most
    for span in spans:
        amount = by.level.target(span.target) if by.level else None
        before = known.get((span.target, span.began))
        if by.level is None or amount is None or (before is not None and before.state not in ACTIVE):
            continue
        clock = before or _new(conversation, span)
        if before is None:
            session.add(clock)
            clocks.append(clock)
        late = _bring(clock, span, by, by.level, amount, moment)
        session.flush()
        if late:
            _breach(session, conversation, clock, by, over=span.ended is not None)
    _show(session, conversation, clocks, changed=bool(gone))
    _ask_for_next(session, conversation, clocks, moment)


# --- what the history says --------------------------------------------------------------------------------------------


def _clocks(session: Session, conversation_id: int) -> list[ServiceClock]:
    statement = select(ServiceClock).where(ServiceClock.conversation_id == conversation_id).order_by(ServiceClock.id)
    return list(session.scalars(statement.execution_options(populate_existing=True)))


def _spans(session: Session, conversation: Conversation) -> list[Span]:
    spoken = Message.kind.in_((MessageKind.CUSTOMER, MessageKind.REPLY))
    rows = session.execute(
        select(Message.sequence, Message.created_at, Message.kind, Message.event, Message.data)
        .where(Message.conversation_id == conversation.id, or_(spoken, Message.event.in_(_EVENTS)))
        .order_by(Message.sequence)
    )
    happenings = [Happening(row.sequence, row.created_at, _what(row.kind, row.event, row.data)) for row in rows]
    is_open = conversation.status is ConversationStatus.OPEN and conversation.erased_at is None
    running = is_open and conversation.waiting_since is not None and conversation.snoozed_until is None
    return replay(happenings, waiting_since=conversation.waiting_since, running=running)


def _what(kind: MessageKind, event: EventName | None, data: dict[str, object]) -> What:
    if event is EventName.WOKEN and data.get("undone"):
        return What.UNSNOOZED
    if event is EventName.REOPENED and data.get("waits"):
        return What.PUT_BACK
    if event is not None:
        return _EVENTS[event]
    return What.CUSTOMER if kind is MessageKind.CUSTOMER else What.REPLY


def _counts(span: Span, by: Basis) -> bool:
    """Whether a span is reckoned: one that was over before there was a policy is not."""
    return span.ended_at is None or span.ended_at >= (by.since or now() - LATEST)


def _waits(span: Span, since: datetime | None) -> Iterator[Wait]:
    """When the customer waited, as far as it is held against a policy."""
    for begins, ends in span.waits:
        if since is None or ends is None or ends > since:
            yield (begins if since is None else max(begins, since), ends)


def _without(clocks: Iterable[ServiceClock], spans: Iterable[Span], by: Basis) -> list[ServiceClock]:
    """The active clocks that nothing stands behind any more: neither a target nor anything that happened."""
    promised = {(span.target, span.began) for span in spans if by.level and by.level.target(span.target)}
    return [clock for clock in clocks if clock.state in ACTIVE and (clock.target, clock.began) not in promised]


# --- one clock --------------------------------------------------------------------------------------------------------


def _new(conversation: Conversation, span: Span) -> ServiceClock:
    return ServiceClock(
        conversation_id=conversation.id,
        target=span.target,
        state=ClockState.PAUSED,
        began=span.began,
        started_at=span.started_at,
    )


def _bring(
    clock: ServiceClock, span: Span, by: Basis, level: ServiceLevel, amount: timedelta, moment: datetime
) -> bool:
    """Write down where a clock stands by its span. Whether its deadline has come, and was not told of before."""
    clock.state = span.ended or (ClockState.RUNNING if span.is_running else ClockState.PAUSED)
    clock.ended_at = span.ended_at
    if clock.breached_at is not None:  # what was promised then has been broken, whatever is promised now
        return False
    waits = [*_waits(span, by.since)]
    due = reckon(level.hours, waits, amount)
    warn = reckon(level.hours, waits, amount * level.warn_at)
    clock.promised, clock.policy_version = _seconds(amount), by.version
    clock.remaining = _seconds(due.remaining)
    if span.ended is None or due.at is not None:  # of what came in time, the deadline stays readable
        clock.due_at, clock.warn_at = due.at, warn.at
    clock.warned_at = (clock.warned_at or moment) if _has_come(warn, moment) else None
    if not _has_come(due, moment):
        return False
    clock.breached_at = moment
    return True


def _has_come(reckoned: Reckoned, moment: datetime) -> bool:
    return reckoned.at is not None and reckoned.at <= moment


def _seconds(amount: timedelta) -> int:
    return math.ceil(amount.total_seconds())


# --- a deadline that passed -------------------------------------------------------------------------------------------


def _breach(session: Session, conversation: Conversation, clock: ServiceClock, by: Basis, *, over: bool) -> None:
    """Tell of a deadline that passed, once: in the timeline, the log, to the host, and by the policy's rule.

    Args:
        over: it came late, but it came: the rule, which is to hurry, is left out.
    """
    target = clock.target.value
    event = append(
        session,
        conversation,
        MessageKind.EVENT,
        SYSTEM,
        event=EventName.BREACHED,
        data={"target": target, "clock_id": clock.id},
    )
    due = clock.due_at.astimezone(UTC).isoformat() if clock.due_at else None
    record(
        session, SYSTEM, "service_level.breach", "conversation", conversation.id, target=target, due=due, clock=clock.id
    )
    if current().hooks.configured("ON_SLA_BREACH"):
        enqueue(
            session, TELL, {"conversation_id": conversation.id, "clock_id": clock.id}, unique_key=f"{TELL}:{clock.id}"
        )
    send_signal(session, signals.sla_breached, conversation_id=conversation.id, clock_id=clock.id, target=target)
    if by.policy is not None and not over:
        _follow_rule(session, conversation, by.policy, event)


def _follow_rule(session: Session, conversation: Conversation, policy: Policy, event: Message) -> None:
    match policy.rule:
        case Rule.RAISE if conversation.priority > Priority.URGENT:
            raised = Priority(conversation.priority - 1)
            triage.set_priority(session, conversation.id, actor=SYSTEM, priority=raised)
        case Rule.NOTIFY if conversation.assignee_id:
            who = Operator(conversation.assignee_id, conversation.assignee_name or conversation.assignee_id)
            mentions.tell(session, event, [who], actor=SYSTEM)
        case Rule.TEAM:
            triage.set_team(session, conversation.id, actor=SYSTEM, team=policy.team)


# --- what comes of it -------------------------------------------------------------------------------------------------


def _show(session: Session, conversation: Conversation, clocks: Sequence[ServiceClock], *, changed: bool) -> None:
    """Write the next deadline, or the one that passed, where lists read it; and tell open consoles where it is new."""
    running = [clock for clock in clocks if clock.state is ClockState.RUNNING and clock.due_at is not None]
    first = min(running, key=lambda clock: (clock.due_at or NEVER, clock.id), default=None)
    shown = None if first is None else (first.due_at, first.target, _due_state(first))
    if (shown or (None,) * 3) != (conversation.due_at, conversation.due_target, conversation.due_state):
        changed = True
        conversation.due_at, conversation.due_target, conversation.due_state = shown or (None, None, None)
    if changed:
        publish(session, CONSOLE, "service_level", conversation_id=conversation.id)


def _due_state(clock: ServiceClock) -> DueState:
    if clock.breached_at is not None:
        return DueState.BREACHED
    return DueState.RUNNING if clock.warned_at is None else DueState.SOON


def _ask_for_next(
    session: Session, conversation: Conversation, clocks: Iterable[ServiceClock], moment: datetime
) -> None:
    """Have it looked at again when the next thing is due: a durable job, which outlives every process."""
    coming = [
        at
        for clock in clocks
        if clock.state is ClockState.RUNNING and clock.breached_at is None
        for at in (clock.due_at, None if clock.warned_at else clock.warn_at)
        if at is not None
    ]
    if coming:
        enqueue(
            session,
            JOB,
            {"conversation_id": conversation.id, "ask": False},
            run_at=max(min(coming), moment + AGAIN),
            unique_key=f"{JOB}:{conversation.id}",
            keep_earlier=True,
        )
