"""What the one on call can do with jobs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import exists, select
from sqlalchemy.orm import Session, aliased

from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import database_now
from flask_cairnloop.context import current
from flask_cairnloop.database.after_commit import after_commit
from flask_cairnloop.errors import Conflict, IllegalTransition, NotFound
from flask_cairnloop.jobs.models import Job, JobState
from flask_cairnloop.jobs.outbox import PUSH_LEASE, Push, push_all
from flask_cairnloop.jobs.registry import JobContext, definition
from flask_cairnloop.jobs.runner import UNCLAIMED_STATES, Claim, last_word

RETRYABLE = (JobState.DEAD, JobState.DISCARDED)
DISCARDABLE = (JobState.DEAD, JobState.SCHEDULED, JobState.RETRYING, JobState.QUEUED)


def jobs_in(session: Session, states: Sequence[JobState], *, limit: int = 50) -> Sequence[Job]:
    """Jobs in these states, newest first."""
    return session.scalars(select(Job).where(Job.state.in_(states)).order_by(Job.id.desc()).limit(limit)).all()


def retry(session: Session, job_id: int, *, actor: Actor) -> Job:
    """Give a dead or discarded job one new series of attempts, at once.

    Raises:
        NotFound: there is no such job.
        IllegalTransition: it is neither dead nor discarded.
        Conflict: a newer job with the same key is waiting already, or this one is changing at this moment.
    """
    job = _look(session, job_id, RETRYABLE, "be retried")
    found = definition(job.name)
    with session.begin_nested():
        if found.on_retry is not None:
            context = JobContext(session, current(), job.attempt, job.max_attempts, actor=actor)
            found.on_retry(context, **job.arguments)
        _lock(session, job, RETRYABLE, "be retried")
        other = aliased(Job)
        if job.unique_key is not None and session.scalar(
            select(exists().where(other.unique_key == job.unique_key, other.state.in_(UNCLAIMED_STATES)))
        ):
            raise Conflict("A newer job for the same thing is waiting already.")
        moment = _database_now(session)
        job.state = JobState.QUEUED
        job.run_at = moment
        job.lease_until = moment + PUSH_LEASE
        job.finished_at = None
        job.max_attempts = job.attempt + found.max_attempts
        record(session, actor, "job.retry", "job", job.id, name=job.name)
        after_commit(session, push_all, (current(), Push(job.id, job.attempt + 1, job.queue, found.timeout)))
    return job


def discard(session: Session, job_id: int, *, actor: Actor) -> Job:
    """Decide that a job that is dead or still waiting shall not run. What waited for it hears so.

    Raises:
        NotFound: there is no such job.
        IllegalTransition: it runs, or is done.
        Conflict: it is changing at this moment.
    """
    job = _look(session, job_id, DISCARDABLE, "be discarded")
    with session.begin_nested():
        if job.state is not JobState.DEAD:  # of a dead one it was said when it died
            last_word(current(), session, Claim.of(job), "Its job was discarded before it ran.", actor)
        _lock(session, job, DISCARDABLE, "be discarded")
        job.state = JobState.DISCARDED
        job.lease_until = None
        job.finished_at = _database_now(session)
        record(session, actor, "job.discard", "job", job.id, name=job.name)
    return job


def _database_now(session: Session) -> datetime:
    return session.scalars(select(database_now())).one()


def _look(session: Session, job_id: int, allowed: Collection[JobState], step: str) -> Job:
    """A job as it stands, not locked yet: see :func:`_lock`."""
    job = session.scalars(select(Job).where(Job.id == job_id).execution_options(populate_existing=True)).one_or_none()
    if job is None:
        raise NotFound("There is no such job.")
    _check(job, allowed, step)
    return job


def _lock(session: Session, job: Job, allowed: Collection[JobState], step: str) -> None:
    """Lock a job's row, if it is still what was looked at.

    A room locks its own rows first and then asks for a job. So what the room has to say comes before this, and this
    does not wait: whoever holds the row might be waiting for what the room has locked.
    """
    seen = (job.attempt, job.run_at)  # who asks for it again moves it
    found = session.scalars(
        select(Job).where(Job.id == job.id).with_for_update(skip_locked=True).execution_options(populate_existing=True)
    ).one_or_none()
    if found is not None:
        _check(found, allowed, step)
    if found is None or (found.attempt, found.run_at) != seen:
        raise Conflict("This job is changing at this moment. Look at it again.")


def _check(job: Job, allowed: Collection[JobState], step: str) -> None:
    if job.state not in allowed:
        raise IllegalTransition("job", job.state.value, step)
