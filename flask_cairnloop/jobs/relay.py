"""The relay: pushes what is due, pushes again what got lost, takes back what a dead worker held.

Everything it knows is in the jobs table, so it may be killed at any moment and any number of relays may run: each sweep
holds a transaction-level advisory lock.
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from datetime import timedelta
from typing import TYPE_CHECKING

from redis import RedisError
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from flask_cairnloop.clock import database_now
from flask_cairnloop.database.failures import AWAY
from flask_cairnloop.jobs.heartbeat import FORGET
from flask_cairnloop.jobs.models import Job, JobState, QueueName, WorkerProcess
from flask_cairnloop.jobs.outbox import PUSH_LEASE, Push, enqueue, push, rq_id
from flask_cairnloop.jobs.registry import GiveUp, at_start, chore, chores, definition
from flask_cairnloop.jobs.runner import Claim, fail

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop

log = logging.getLogger(__name__)

BATCH = 500
IDLE_SECONDS = 0.25
LEASE_AGAIN = timedelta(seconds=60)
PRUNE_BATCH = 5_000


def run_relay(cairnloop: Cairnloop, stop: threading.Event) -> None:
    """Sweep until told to stop. A lost database or Redis is waited out."""
    wait = IDLE_SECONDS
    due: dict[str, float] = {}
    begun = False
    while not stop.wait(wait):
        try:
            with cairnloop.app.app_context():
                do_chores(cairnloop, due)
                if not begun:
                    _ask_for_first_jobs(cairnloop)
                    begun = True
                moved = sweep(cairnloop)
            wait = 0.0 if moved >= BATCH else IDLE_SECONDS
        except Exception as error:
            log.warning("The relay waits: %s", type(error).__name__, exc_info=not isinstance(error, RedisError))
            wait = 2.0


def do_chores(cairnloop: Cairnloop, due: dict[str, float]) -> None:
    """Do what is due, each in a transaction of its own. One that fails is told of, and hinders no other.

    Args:
        due: when each is due next, by the monotonic clock. It is kept up to date.

    Raises:
        sqlalchemy.exc.OperationalError: the database is away, or another of ``AWAY``: no other could do better.
    """
    for known in chores():
        if time.monotonic() < due.get(known.name, 0.0):
            continue
        session: Session = cairnloop.session()
        more = False
        try:
            more = known.function(cairnloop, session)
            session.commit()
        except AWAY:
            session.rollback()
            raise
        except Exception:
            session.rollback()
            log.exception("The relay could not do %s.", known.name)
        due[known.name] = time.monotonic() + (0.0 if more else known.seconds)


def _ask_for_first_jobs(cairnloop: Cairnloop) -> None:
    session: Session = cairnloop.session()
    for found in at_start():
        enqueue(session, found.name, {}, unique_key=found.name, keep_earlier=True)
    session.commit()


def sweep(cairnloop: Cairnloop) -> int:
    """One round. Returns how many rows were pushed or taken back.

    Raises:
        redis.RedisError: Redis is away. Rows stay as they were, or are pushed again when their lease ends.
    """
    cairnloop.redis.ping()
    session: Session = cairnloop.session()
    key = zlib.crc32(f"flask_cairnloop.relay.{cairnloop.settings.schema}".encode())
    if not session.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": key}):
        session.rollback()
        return 0
    lost = _take_back(cairnloop, session)
    pushes = _due(session) + _unclaimed(cairnloop, session)
    session.commit()
    if pushes:
        push(cairnloop, pushes)
    return lost + len(pushes)


@chore("jobs.prune", every=60)
def prune(cairnloop: Cairnloop, session: Session) -> bool:
    """Delete a batch of jobs that ended well, or were discarded, longer than ``RETENTION_JOBS`` ago.

    Dead jobs stay until somebody decides on them. Rows of workers long gone go too.
    """
    old = (
        select(Job.id)
        .where(
            Job.state.in_((JobState.SUCCEEDED, JobState.DISCARDED)),
            Job.finished_at < database_now() - timedelta(seconds=cairnloop.settings.retention_jobs),
        )
        .limit(PRUNE_BATCH)
        .with_for_update(skip_locked=True)
    )
    plain = {"synchronize_session": False}
    gone = session.execute(delete(Job).where(Job.id.in_(old.scalar_subquery())).execution_options(**plain))
    long_gone = WorkerProcess.beat_at < func.clock_timestamp() - FORGET
    session.execute(delete(WorkerProcess).where(long_gone).execution_options(**plain))
    return bool(gone.rowcount == PRUNE_BATCH)  # type: ignore[attr-defined]


def _due(session: Session) -> list[Push]:
    moment = database_now()
    due = (
        select(Job.id)
        .where(Job.state.in_((JobState.SCHEDULED, JobState.RETRYING)), Job.run_at <= moment)
        .order_by(Job.run_at, Job.id)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    rows = session.execute(
        update(Job)
        .where(Job.id.in_(due.scalar_subquery()))
        .values(state=JobState.QUEUED, lease_until=moment + PUSH_LEASE)
        .returning(Job.id, Job.attempt, Job.queue, Job.name)
        .execution_options(synchronize_session=False)
    )
    return [_push(*row) for row in rows]


def _unclaimed(cairnloop: Cairnloop, session: Session) -> list[Push]:
    """Rows that were pushed and not claimed in time, less those that still wait their turn in RQ."""
    moment = database_now()
    late = (
        select(Job.id)
        .where(Job.state == JobState.QUEUED, Job.lease_until < moment)
        .order_by(Job.lease_until, Job.id)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    rows = session.execute(
        update(Job)
        .where(Job.id.in_(late.scalar_subquery()))
        .values(lease_until=moment + LEASE_AGAIN)
        .returning(Job.id, Job.attempt, Job.queue, Job.name)
        .execution_options(synchronize_session=False)
    ).all()
    waiting: dict[QueueName, set[str]] = {
        queue: set(cairnloop.rq_queue(queue).job_ids) for queue in {row.queue for row in rows}
    }
    namespace = cairnloop.settings.redis_namespace
    return [_push(*row) for row in rows if rq_id(namespace, row.id, row.attempt + 1) not in waiting[row.queue]]


def _push(job_id: int, attempt: int, queue: QueueName, name: str) -> Push:
    try:
        timeout = definition(name).timeout
    except GiveUp:  # the runner will say so on the row
        timeout = 60
    return Push(job_id, attempt + 1, queue, timeout)


def _take_back(cairnloop: Cairnloop, session: Session) -> int:
    """Running rows whose lease ran out: their worker died, or was cut off."""
    rows = session.scalars(
        select(Job)
        .where(Job.state == JobState.RUNNING, Job.lease_until < database_now())
        .order_by(Job.lease_until)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        log.warning("Job %s (%s) was lost by %s", row.id, row.name, row.claimed_by)
        fail(cairnloop, session, Claim.of(row), "The worker was lost while it ran.")
    return len(rows)
