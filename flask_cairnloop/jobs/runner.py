"""What RQ calls: claims a row, runs its function, and commits the effects together with the end of the job."""

from __future__ import annotations

import logging
import os
import random
import secrets
import socket
import threading
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import Flask
from sqlalchemy import Update, exists, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.clock import database_now
from flask_cairnloop.jobs.models import Job, JobState, QueueName
from flask_cairnloop.jobs.registry import GiveUp, JobContext, JobDefinition, TakenOver, definition, short_error
from flask_cairnloop.telemetry import JOB, span

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop

log = logging.getLogger(__name__)

RUN_LEASE = timedelta(seconds=60)
HEARTBEAT_SECONDS = 15.0
UNCLAIMED_STATES = (JobState.SCHEDULED, JobState.QUEUED, JobState.RETRYING)

# The app of this worker process. RQ calls `run` with a row id alone; the worker command sets this once, after its fork.
_app: Flask | None = None
_me = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A row that this process runs, as it was when claimed. The attempt is the fence for everything that follows."""

    id: int
    name: str
    arguments: dict[str, Any]
    attempt: int
    max_attempts: int
    unique_key: str | None
    claimer: str
    queue: QueueName
    trace: str | None

    @classmethod
    def of(cls, row: Job) -> Claim:
        return cls(
            row.id,
            row.name,
            row.arguments,
            row.attempt,
            row.max_attempts,
            row.unique_key,
            row.claimed_by or "",
            row.queue,
            row.trace,
        )


def serve(app: Flask) -> str:
    """Make this process run jobs of ``app``. Returns the name it claims them under."""
    global _app, _me
    _app = app
    _me = process_name()
    return _me


def process_name() -> str:
    """A name for this process that no other has, on any host and at any time."""
    return f"{socket.gethostname()[:150]}:{os.getpid()}:{secrets.token_hex(4)}"


def run(job_id: int) -> None:
    """Entry point for RQ. Never raises for what a job does: the row remembers, not RQ."""
    if _app is None:
        raise RuntimeError("flask_cairnloop jobs run in `flask cairnloop worker`, not in a bare RQ worker.")
    run_row(_app, job_id, _me)


def run_row(app: Flask, job_id: int, claimer: str) -> bool:
    """Claim and run one row in a new app context. Returns whether it was there to be claimed."""
    with app.app_context():
        cairnloop: Cairnloop = app.extensions["cairnloop"]
        claim = _claim(cairnloop, job_id, claimer)
        if claim is None:
            return False
        with _Heartbeat(cairnloop, claim), span(JOB, parent=claim.trace) as note:
            note("job.name", claim.name)
            note("job.attempt", claim.attempt)
            note("job.queue", claim.queue.value)
            note("job.outcome", _execute(cairnloop, claim))
        return True


def _claim(cairnloop: Cairnloop, job_id: int, claimer: str) -> Claim | None:
    with cairnloop.engine.begin() as connection:
        # A claim lost in a crash of the database is only a row that is run again, so it need not wait for the disk.
        connection.execute(text("SET LOCAL synchronous_commit = off"))
        moment = database_now()
        row = connection.execute(
            update(Job)
            .where(Job.id == job_id, Job.state == JobState.QUEUED)
            .values(
                state=JobState.RUNNING,
                attempt=Job.attempt + 1,
                claimed_by=claimer,
                lease_until=moment + RUN_LEASE,
                started_at=moment,
            )
            .returning(Job.name, Job.arguments, Job.attempt, Job.max_attempts, Job.unique_key, Job.queue, Job.trace)
        ).one_or_none()
    if row is None:
        return None
    return Claim(
        job_id,
        row.name,
        row.arguments,
        row.attempt,
        row.max_attempts,
        row.unique_key,
        claimer,
        row.queue,
        row.trace,
    )


def _execute(cairnloop: Cairnloop, claim: Claim) -> str:
    """Run a claimed row to the end of this attempt. Returns how it ended, in a word."""
    session: Session = cairnloop.session()
    try:
        found = definition(claim.name)
        context = JobContext(session, cairnloop, claim.attempt, claim.max_attempts, hold=partial(_hold, claim))
        found.function(context, **claim.arguments)
        session.flush()
        if not _finish(session, claim, state=JobState.SUCCEEDED, last_error=None):
            log.warning("Job %s (%s) was taken over; its effects are dropped", claim.id, claim.name)
            session.rollback()
            return "taken_over"
        session.commit()
        return "succeeded"
    except TakenOver:
        log.warning("Job %s (%s) was taken over; it stops", claim.id, claim.name)
        session.rollback()
        return "taken_over"
    except Exception as error:
        session.rollback()
        log.exception("Job %s (%s) failed at attempt %s", claim.id, claim.name, claim.attempt)
        fail(cairnloop, session, claim, short_error(error), final=isinstance(error, GiveUp))
        session.commit()
        return "failed"


def _hold(claim: Claim, session: Session) -> bool:
    """Renew the lease of this attempt in the session's transaction, if it is still ours."""
    result = session.execute(
        _still_ours(claim).values(lease_until=database_now() + RUN_LEASE).execution_options(synchronize_session=False)
    )
    return bool(result.rowcount)  # type: ignore[attr-defined]


def _still_ours(claim: Claim) -> Update:
    return update(Job).where(
        Job.id == claim.id,
        Job.state == JobState.RUNNING,
        Job.claimed_by == claim.claimer,
        Job.attempt == claim.attempt,
    )


def _finish(session: Session, claim: Claim, **values: Any) -> bool:
    """End this attempt, if it is still ours."""
    values = {"claimed_by": None, "lease_until": None, "finished_at": database_now(), **values}
    result = session.execute(_still_ours(claim).values(**values).execution_options(synchronize_session=False))
    return bool(result.rowcount)  # type: ignore[attr-defined]


def fail(cairnloop: Cairnloop, session: Session, claim: Claim, error: str, *, final: bool = False) -> None:
    """Record a failed or lost attempt: try again later, hand over to a successor, or declare the job dead."""
    if not final and claim.attempt < claim.max_attempts:
        if _has_successor(session, claim):
            _finish(session, claim, state=JobState.DISCARDED, last_error=f"{error} (a newer job took over)")
            return
        try:
            with session.begin_nested():
                _finish(
                    session,
                    claim,
                    state=JobState.RETRYING,
                    run_at=database_now() + backoff(claim.attempt),
                    finished_at=None,
                    last_error=error,
                )
        except IntegrityError:  # the successor came between look and leap
            _finish(session, claim, state=JobState.DISCARDED, last_error=f"{error} (a newer job took over)")
        return
    if _finish(session, claim, state=JobState.DEAD, last_error=error) and not _has_successor(session, claim):
        _tell_dead(cairnloop, session, claim, error)


def _has_successor(session: Session, claim: Claim) -> bool:
    """Whether a newer job for the same thing waits, or runs already: then the last word is its, not ours."""
    if claim.unique_key is None:
        return False
    others = exists().where(Job.unique_key == claim.unique_key, Job.id != claim.id)
    waits = others.where(Job.state.in_(UNCLAIMED_STATES))
    runs = others.where(Job.state == JobState.RUNNING, Job.id > claim.id)
    return bool(session.scalar(select(waits | runs)))


def _tell_dead(cairnloop: Cairnloop, session: Session, claim: Claim, error: str) -> None:
    try:
        with session.begin_nested():
            last_word(cairnloop, session, claim, error)
    except Exception:
        log.exception("The last word of job %s (%s) failed", claim.id, claim.name)


def last_word(cairnloop: Cairnloop, session: Session, claim: Claim, error: str, actor: Actor | None = None) -> None:
    """Let a job's room say what it means that the job will not run any more.

    Args:
        error: why it will not.
        actor: who decided it, if anybody did.
    """
    try:
        found: JobDefinition = definition(claim.name)
    except GiveUp:
        return
    if found.on_dead is not None:
        found.on_dead(
            JobContext(session, cairnloop, claim.attempt, claim.max_attempts, error, actor), **claim.arguments
        )


def backoff(attempt: int) -> timedelta:
    """How long to wait after a failed attempt: about 2, 4, 8 … seconds, at most ten minutes, spread by a quarter."""
    seconds = min(600.0, 2.0**attempt)
    return timedelta(seconds=seconds * random.uniform(0.75, 1.25))  # noqa: S311 - spreads load, protects nothing


class _Heartbeat:
    """Renews the lease of a running job, so that only a dead worker ever loses it."""

    def __init__(self, cairnloop: Cairnloop, claim: Claim) -> None:
        self._engine = cairnloop.engine  # the timer's thread has no app context to ask for it
        self._claim = claim
        self._timer: threading.Timer | None = None
        self._done = False

    def __enter__(self) -> None:
        self._arm()

    def __exit__(self, *_: object) -> None:
        self._done = True
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        self._timer = threading.Timer(HEARTBEAT_SECONDS, self._beat)
        self._timer.daemon = True
        self._timer.start()

    def _beat(self) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(_still_ours(self._claim).values(lease_until=database_now() + RUN_LEASE))
        except Exception:
            log.warning("The lease of job %s could not be renewed; trying again", self._claim.id, exc_info=True)
        if not self._done:
            self._arm()
