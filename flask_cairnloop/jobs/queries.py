"""What the one on call reads about deferred work: workers, queues, jobs that are dead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import extract, func, select
from sqlalchemy.orm import Session

from flask_cairnloop.clock import database_now
from flask_cairnloop.jobs.heartbeat import ALIVE
from flask_cairnloop.jobs.models import Job, JobState, QueueName, WorkerKind, WorkerProcess

UNFINISHED = (JobState.SCHEDULED, JobState.QUEUED, JobState.RUNNING, JobState.RETRYING)
COUNTED = (*UNFINISHED, JobState.DEAD)


@dataclass(frozen=True, slots=True)
class WorkerState:
    """The processes of one kind.

    Args:
        alive: how many have beaten within the last half minute.
        last_beat: seconds since the newest beat of any; ``None`` where none is known.
    """

    kind: WorkerKind
    alive: int
    last_beat: float | None


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue.

    Args:
        due: how many jobs should have been claimed by now.
        later: how many wait for their time, first or next attempt.
        oldest: seconds the oldest due job has waited; 0 where none is due.
    """

    queue: QueueName
    due: int
    later: int
    running: int
    dead: int
    oldest: float


def worker_states(session: Session) -> tuple[WorkerState, ...]:
    """Every kind of worker process, also those of which there is none. One query."""
    age = extract("epoch", func.clock_timestamp() - WorkerProcess.beat_at)
    rows = session.execute(
        select(
            WorkerProcess.kind,
            func.count().filter(age <= ALIVE.total_seconds()).label("alive"),
            func.min(age).label("last"),
        ).group_by(WorkerProcess.kind)
    )
    found = {row.kind: WorkerState(row.kind, row.alive, max(0.0, float(row.last))) for row in rows}
    return tuple(found.get(kind) or WorkerState(kind, 0, None) for kind in WorkerKind)


def queue_states(session: Session) -> tuple[QueueState, ...]:
    """Every queue, with what has not ended well yet. One query over partial indexes: finished jobs are not read."""
    moment = database_now()
    unclaimed = Job.state.in_((JobState.SCHEDULED, JobState.QUEUED, JobState.RETRYING))
    due = unclaimed & (Job.run_at <= moment)
    rows = session.execute(
        select(
            Job.queue,
            func.count().filter(due).label("due"),
            func.count().filter(unclaimed & (Job.run_at > moment)).label("later"),
            func.count().filter(Job.state == JobState.RUNNING).label("running"),
            func.count().filter(Job.state == JobState.DEAD).label("dead"),
            extract("epoch", moment - func.min(Job.run_at).filter(due)).label("oldest"),
        )
        .where(Job.state.in_(COUNTED))
        .group_by(Job.queue)
    )
    found = {
        row.queue: QueueState(row.queue, row.due, row.later, row.running, row.dead, max(0.0, float(row.oldest or 0)))
        for row in rows
    }
    return tuple(found.get(queue) or QueueState(queue, 0, 0, 0, 0, 0.0) for queue in QueueName)


def dead_jobs(session: Session, *, before: int | None = None, limit: int = 25) -> Sequence[Job]:
    """Dead jobs, newest first, from an id downwards."""
    statement = select(Job).where(Job.state == JobState.DEAD).order_by(Job.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(Job.id < before)
    return session.scalars(statement).all()
