"""What the one on call can do with jobs."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import exists, select
from sqlalchemy.orm import Session, aliased

from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.database.after_commit import after_commit
from flask_cairnloop.errors import Conflict, IllegalTransition, NotFound
from flask_cairnloop.jobs.models import Job, JobState
from flask_cairnloop.jobs.outbox import PUSH_LEASE, Push, push_all
from flask_cairnloop.jobs.registry import definition
from flask_cairnloop.jobs.runner import UNCLAIMED_STATES

DISCARDABLE = (JobState.DEAD, JobState.SCHEDULED, JobState.RETRYING, JobState.QUEUED)


def jobs_in(session: Session, states: Sequence[JobState], *, limit: int = 50) -> Sequence[Job]:
    """Jobs in these states, newest first."""
    return session.scalars(select(Job).where(Job.state.in_(states)).order_by(Job.id.desc()).limit(limit)).all()


def retry(session: Session, job_id: int, *, actor: Actor) -> Job:
    """Give a dead or discarded job one new series of attempts, at once.

    Raises:
        NotFound: there is no such job.
        IllegalTransition: it is neither dead nor discarded.
        Conflict: a newer job with the same key is waiting already.
    """
    job = _lock(session, job_id)
    if job.state not in (JobState.DEAD, JobState.DISCARDED):
        raise IllegalTransition("job", job.state.value, "be retried")
    other = aliased(Job)
    if job.unique_key is not None and session.scalar(
        select(exists().where(other.unique_key == job.unique_key, other.state.in_(UNCLAIMED_STATES)))
    ):
        raise Conflict("A newer job for the same thing is waiting already.")
    found = definition(job.name)
    moment = now()
    job.state = JobState.QUEUED
    job.run_at = moment
    job.lease_until = moment + PUSH_LEASE
    job.finished_at = None
    job.max_attempts = job.attempt + found.max_attempts
    record(session, actor, "job.retry", "job", job.id, name=job.name)
    after_commit(session, push_all, (current(), Push(job.id, job.attempt + 1, job.queue, found.timeout)))
    return job


def discard(session: Session, job_id: int, *, actor: Actor) -> Job:
    """Decide that a job that is dead or still waiting shall not run.

    Raises:
        NotFound: there is no such job.
        IllegalTransition: it runs, or is done.
    """
    job = _lock(session, job_id)
    if job.state not in DISCARDABLE:
        raise IllegalTransition("job", job.state.value, "be discarded")
    job.state = JobState.DISCARDED
    job.lease_until = None
    job.finished_at = now()
    record(session, actor, "job.discard", "job", job.id, name=job.name)
    return job


def _lock(session: Session, job_id: int) -> Job:
    job = session.scalars(select(Job).where(Job.id == job_id).with_for_update()).one_or_none()
    if job is None:
        raise NotFound("There is no such job.")
    return job
