"""What deferred work holds about a customer: ids of their rows, and what an exception may have said."""

from __future__ import annotations

from sqlalchemy import ColumnElement, String, case, cast, or_, select, update
from sqlalchemy.orm import Session

from flask_cairnloop.clock import database_now
from flask_cairnloop.conversations.models import Conversation, Message
from flask_cairnloop.errors import Conflict
from flask_cairnloop.jobs.models import Job, JobState

OVER = (JobState.SUCCEEDED, JobState.DISCARDED)


def forget_jobs(session: Session, customer_id: int) -> int:
    """Discard what is still to be done about a customer's conversations, and erase what went wrong with the rest.

    One that runs at this moment loses its row: what it was about to write is rolled back.

    Returns:
        How many jobs.

    Raises:
        Conflict: one of them is being claimed or ended at this moment. It is not waited for, because its end may wait
            for the conversation that the caller has locked.
    """
    ours = session.scalars(select(Job.id).where(_about(customer_id))).all()
    free = session.scalars(select(Job.id).where(Job.id.in_(ours)).with_for_update(skip_locked=True)).all()
    if len(free) < len(ours):
        raise Conflict("A job about this customer is changing at this moment. Try again.")
    over = Job.state.in_(OVER)
    session.execute(
        update(Job)
        .where(Job.id.in_(free))
        .values(
            state=case((over, Job.state), else_=JobState.DISCARDED),
            finished_at=case((over, Job.finished_at), else_=database_now()),
            claimed_by=None,
            lease_until=None,
            last_error=None,
        )
        .execution_options(synchronize_session=False)
    )
    return len(free)


def _about(customer_id: int) -> ColumnElement[bool]:
    theirs = Conversation.customer_id == customer_id
    conversations = select(cast(Conversation.id, String)).where(theirs)
    messages = select(cast(Message.id, String)).join(Conversation).where(theirs)
    return or_(
        Job.arguments["conversation_id"].astext.in_(conversations),
        Job.arguments["message_id"].astext.in_(messages),
    )
