"""Deferred work of service levels: reckoning one conversation, or all, and telling the host of a breach."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import exists, null, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload

from flask_cairnloop.clock import database_now, now
from flask_cairnloop.conversations.models import Conversation, ConversationStatus, Priority
from flask_cairnloop.errors import HookFailed
from flask_cairnloop.hooks import BreachEvent, ConversationInfo, Customer
from flask_cairnloop.jobs import Job, JobContext, JobState, QueueName, enqueue, job
from flask_cairnloop.jobs.registry import chore
from flask_cairnloop.service_levels import reckoning, service
from flask_cairnloop.service_levels.following import JOB
from flask_cairnloop.service_levels.models import ServiceAnswer, ServiceClock
from flask_cairnloop.service_levels.targets import ACTIVE, ClockState

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop

BATCH = 200
TOGETHER = 10  # conversations whose rows are held at once: their customers wait for so long, at most
OVERDUE = timedelta(minutes=1)
OVERDUE_BATCH = 500


@job(JOB, max_attempts=8)
def reckon(context: JobContext, *, conversation_id: int, ask: bool = False) -> None:
    """Bring one conversation's clocks up to date.

    Args:
        ask: something happened there, so the host's policy is asked anew. When a deadline comes, what it said counts.
    """
    if ask and context.cairnloop.hooks.configured("SLA_POLICY"):
        _ask(context, conversation_id)
    conversation = reckoning.lock(context.session, conversation_id)
    if conversation is not None:
        reckoning.bring_up_to_date(context.session, conversation)


def _ask(context: JobContext, conversation_id: int) -> None:
    """Ask the host's policy about a conversation, with no transaction open, and write its answer down."""
    session = context.session
    conversation = session.scalars(
        select(Conversation).where(Conversation.id == conversation_id).options(joinedload(Conversation.customer))
    ).one_or_none()
    if conversation is None or conversation.erased_at is not None:
        return
    info, asked_at = info_of(conversation), now()
    context.release()
    failure = level = None
    try:
        level = context.cairnloop.hooks.service_level(info)
    except HookFailed as failed:
        failure = failed.reason
    if reckoning.lock(session, conversation_id) is None:
        return
    statement = insert(ServiceAnswer).values(
        conversation_id=conversation_id,
        level=null() if level is None else level.plain(),
        failure=failure,
        asked_at=asked_at,
    )
    new = statement.excluded
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[ServiceAnswer.conversation_id],
            set_={"level": new.level, "failure": new.failure, "asked_at": new.asked_at},
            where=ServiceAnswer.asked_at <= new.asked_at,  # of two answers, the one to the newer question
        )
    )


def info_of(conversation: Conversation) -> ConversationInfo:
    """A conversation as ``SLA_POLICY`` is asked about it."""
    person = conversation.customer
    return ConversationInfo(
        id=conversation.id,
        subject=conversation.subject,
        status=conversation.status.value,
        channel=conversation.channel,
        opened_at=conversation.created_at,
        resolved_at=conversation.resolved_at,
        assignee_id=conversation.assignee_id,
        priority=Priority(conversation.priority).word,
        team=conversation.team,
        customer=Customer(person.ref, person.name, person.email, person.organization),
    )


@job(service.APPLY, queue=QueueName.BULK, max_attempts=8, timeout=600, at_start=True)
def apply(context: JobContext, *, after: int = 0) -> None:
    """Reckon every open conversation by the policy as it is now, a batch at a time.

    Args:
        after: the last conversation of the batch before.
    """
    session, hooked = context.session, context.cairnloop.hooks.configured("SLA_POLICY")
    if not after and not _needed(session):
        return
    is_open = Conversation.status == ConversationStatus.OPEN
    wanted = select(Conversation.id).where(is_open, Conversation.id > after).order_by(Conversation.id)
    ids = list(session.scalars(wanted.limit(BATCH)))
    asked = set(session.scalars(select(ServiceAnswer.conversation_id).where(ServiceAnswer.conversation_id.in_(ids))))
    for place, number in enumerate(ids):
        if hooked and number not in asked:  # the host's policy is new here
            _ask_for(session, number, ask=True)
        elif (conversation := reckoning.lock(session, number)) is not None:
            reckoning.bring_up_to_date(session, conversation)
        if place % TOGETHER == TOGETHER - 1:
            context.keep()
    if len(ids) == BATCH:
        # A request that came meanwhile begins at the first again, and takes this one's place.
        enqueue(session, service.APPLY, {"after": ids[-1]}, unique_key=service.APPLY, keep_earlier=True)


def _needed(session: Session) -> bool:
    active = exists().where(ServiceClock.state.in_(ACTIVE))
    return service.in_use(session) or bool(session.scalar(select(active)))


def _ask_for(session: Session, conversation_id: int, *, ask: bool) -> None:
    arguments = {"conversation_id": conversation_id, "ask": ask}
    enqueue(session, JOB, arguments, unique_key=f"{JOB}:{conversation_id}", keep_earlier=not ask)


@chore("service_levels.overdue", every=60)
def overdue(_cairnloop: Cairnloop, session: Session) -> bool:
    """Have deadlines looked at that passed without anybody looking: the job that was to do it is lost, or dead.

    One whose job has failed for good waits for whoever decides on that.
    """
    key = f"{JOB}:"
    dead = exists().where(
        Job.unique_key == key + ServiceClock.conversation_id.cast(Job.unique_key.type), Job.state == JobState.DEAD
    )
    found = session.scalars(
        select(ServiceClock.conversation_id)
        .where(
            ServiceClock.state == ClockState.RUNNING,
            ServiceClock.breached_at.is_(None),
            ServiceClock.due_at < database_now() - OVERDUE,
            ~dead,
        )
        .order_by(ServiceClock.due_at, ServiceClock.id)
        .limit(OVERDUE_BATCH)
    )
    for number in dict.fromkeys(found):
        _ask_for(session, number, ask=False)
    return False


@job(reckoning.TELL, max_attempts=8)
def tell_breached(context: JobContext, *, clock_id: int, **_: object) -> None:
    """Tell the host that a deadline passed. The event's key names this breach over all retries.

    Its arguments name the conversation as well: so it goes when its customer is forgotten.
    """
    found = context.session.execute(
        select(ServiceClock, Conversation)
        .join(Conversation, Conversation.id == ServiceClock.conversation_id)
        .where(ServiceClock.id == clock_id)
        .options(joinedload(Conversation.customer))
    ).one_or_none()
    if found is None or found[1].erased_at is not None:  # there is nobody left to tell of
        return
    clock, conversation = found
    if clock.due_at is None or clock.breached_at is None:
        return
    person = conversation.customer
    event = BreachEvent(
        key=f"service_clock:{clock.id}:breached",
        conversation_id=conversation.id,
        customer=Customer(person.ref, person.name, person.email, person.organization),
        subject=conversation.subject,
        target=clock.target.value,
        due_at=clock.due_at,
        breached_at=clock.breached_at,
        actor_id=reckoning.SYSTEM.id,
        metadata={
            "clock_id": clock.id,
            "started_at": clock.started_at.isoformat(),
            "promised_seconds": clock.promised,
            "policy_version": clock.policy_version,
            "priority": Priority(conversation.priority).word,
            "team": conversation.team,
            "assignee_id": conversation.assignee_id,
            "ended": clock.ended_at is not None,
        },
    )
    context.release()
    context.cairnloop.hooks.sla_breached(event)
