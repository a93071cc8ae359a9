"""Work leaves by the outbox only: a row in the caller's transaction, a push to RQ after its commit.

A push that is lost, with Redis and all in it if need be, is made again by the relay: a queued row that nobody claims
before its ``lease_until`` is pushed once more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from rq.job import Job as RQJob
from sqlalchemy import DateTime, Interval, bindparam, case, func, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningInsert

from flask_cairnloop.clock import frozen, now
from flask_cairnloop.context import current
from flask_cairnloop.database.after_commit import after_commit
from flask_cairnloop.jobs.models import UNCLAIMED, Job, JobState, QueueName
from flask_cairnloop.jobs.registry import definition
from flask_cairnloop.signals import SIGNALS
from flask_cairnloop.telemetry import trace_parent

if TYPE_CHECKING:
    from blinker import NamedSignal

    from flask_cairnloop.extension import Cairnloop

log = logging.getLogger(__name__)

PUSH_LEASE = timedelta(seconds=15)
# What a further request for the same unclaimed job brings with it.
RENEWED = ("arguments", "state", "run_at", "lease_until", "trace")
RUN_PATH = "flask_cairnloop.jobs.runner.run"


@dataclass(frozen=True, slots=True)
class Push:
    """A due row on its way to RQ. ``attempt`` is the number the run will have."""

    id: int
    attempt: int
    queue: QueueName
    timeout: int


def enqueue(
    session: Session,
    name: str,
    arguments: dict[str, Any],
    *,
    run_at: datetime | None = None,
    delay: timedelta | None = None,
    unique_key: str | None = None,
    keep_earlier: bool = False,
) -> int:
    """Ask for a job in the caller's transaction.

    Args:
        arguments: JSON values; ids, not objects.
        run_at: not before this time of day; now when left out.
        delay: not before so long from now, by the database's clock; in place of ``run_at``.
        unique_key: while an unclaimed job has this key no second one is made; the one there moves to the new time
            instead and takes the new arguments. A request that comes while the job runs makes a successor.
        keep_earlier: leave one that is due before that time as it is.

    Returns:
        The id of the job's row.
    """
    wanted = definition(name)
    due = not delay and (run_at is None or run_at <= now())
    session.flush()
    job_id, attempt = session.execute(
        _request(unique=unique_key is not None, keep_earlier=keep_earlier),
        {
            "in_queue": wanted.queue,
            "called": name,
            "given": arguments,
            "as_state": JobState.QUEUED if due else JobState.SCHEDULED,
            "at": run_at,
            "after": delay or timedelta(0),
            "attempts": wanted.max_attempts,
            "key": unique_key,
            "lease": PUSH_LEASE if due else None,
            "traced": trace_parent(),
            "frozen": frozen(),
        },
    ).one()
    if due:
        _after_commit(session, push_all, Push(job_id, attempt + 1, wanted.queue, wanted.timeout))
    return int(job_id)


@cache
def _request(*, unique: bool, keep_earlier: bool) -> ReturningInsert[int, int]:
    """The statement behind :func:`enqueue`, built once: that takes longer than to run it."""
    moment = func.coalesce(bindparam("frozen", type_=DateTime(timezone=True)), func.clock_timestamp())
    statement = insert(Job).values(
        queue=bindparam("in_queue"),
        name=bindparam("called"),
        arguments=bindparam("given"),
        state=bindparam("as_state"),
        run_at=func.coalesce(
            bindparam("at", type_=DateTime(timezone=True)), moment + bindparam("after", type_=Interval())
        ),
        attempt=0,
        max_attempts=bindparam("attempts"),
        unique_key=bindparam("key"),
        lease_until=moment + bindparam("lease", type_=Interval()),
        created_at=moment,
        trace=bindparam("traced"),
    )
    if unique:
        changes = {
            **{key: getattr(statement.excluded, key) for key in RENEWED},
            # One that waits for another attempt has a full series for the new request.
            "max_attempts": Job.attempt + statement.excluded.max_attempts,
        }
        if keep_earlier:
            earlier = Job.run_at <= statement.excluded.run_at
            changes = {key: case((earlier, getattr(Job, key)), else_=value) for key, value in changes.items()}
        statement = statement.on_conflict_do_update(
            index_elements=[Job.unique_key], index_where=text(UNCLAIMED), set_=changes
        )
    return statement.returning(Job.id, Job.attempt)


def publish(session: Session, topic: str, type: str, **data: Any) -> None:
    """Send a live event after commit. ``data`` holds ids and bounded values, never customer text."""
    _after_commit(session, _publish_all, {"topic": topic, "type": type, "data": data})


def publish_conversation(session: Session, conversation_id: int, type: str, **data: Any) -> None:
    """Send a live event about a conversation to those who have it open, and to every console."""
    for topic in (f"conversation:{conversation_id}", "console"):
        publish(session, topic, type, conversation_id=conversation_id, **data)


def send_signal(session: Session, signal: NamedSignal, **payload: Any) -> None:
    """Send a domain signal after commit.

    Raises:
        ValueError: the payload is not the one that the signal was declared with.
    """
    if set(payload) != set(SIGNALS[signal.name].payload):
        raise ValueError(f"{signal.name} carries {', '.join(SIGNALS[signal.name].payload)}.")
    _after_commit(session, _send_signals, (signal, payload))


def _after_commit(session: Session, action: Any, item: Any) -> None:
    after_commit(session, action, (current(), item))


def push_all(items: list[tuple[Cairnloop, Push]]) -> None:
    """Put rows into RQ after their commit. Redis being away is no error here: the relay pushes again."""
    cairnloop = items[0][0]
    with cairnloop.breaker.guard() as usable:
        if usable:
            push(cairnloop, [item for _, item in items])


def queue_key(namespace: str, queue: QueueName) -> str:
    """The name of one of our three queues in RQ."""
    return f"{namespace}-{queue.value}"


def rq_id(namespace: str, job_id: int, attempt: int) -> str:
    """RQ's id for one run of a row. RQ deletes the hash of a finished run, and with it a retry under the same id."""
    return f"{namespace}-{job_id}-{attempt}"


def push(cairnloop: Cairnloop, pushes: Iterable[Push]) -> None:
    """Put rows into RQ, one pipeline for all.

    Raises:
        redis.RedisError: Redis cannot be reached.
    """
    namespace = cairnloop.settings.redis_namespace
    with cairnloop.redis.pipeline() as pipe:
        for item in pushes:
            queue = cairnloop.rq_queue(item.queue)
            rq_job = RQJob.create(
                RUN_PATH,
                args=(item.id,),
                id=rq_id(namespace, item.id, item.attempt),
                origin=queue.name,
                connection=cairnloop.redis,
                timeout=item.timeout,
                result_ttl=0,
                failure_ttl=60,
            )
            queue.enqueue_job(rq_job, pipeline=pipe)
        pipe.execute()


def _publish_all(items: list[tuple[Cairnloop, dict[str, Any]]]) -> None:
    items[0][0].publisher.send(*{repr(item): item for _, item in items}.values())


def _send_signals(items: list[tuple[Cairnloop, tuple[NamedSignal, dict[str, Any]]]]) -> None:
    for cairnloop, (signal, payload) in items:
        for receiver in signal.receivers_for(cairnloop.app):
            try:
                # A context of its own: the session that has just committed must not be used here, `db.session` may.
                with cairnloop.app.app_context():
                    receiver(cairnloop.app, **payload)
            except Exception:
                log.exception("A receiver of %r raised", signal)
