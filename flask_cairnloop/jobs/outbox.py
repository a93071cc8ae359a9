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
from sqlalchemy import (
    CTE,
    ColumnElement,
    DateTime,
    FromClause,
    Interval,
    bindparam,
    case,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import Insert, insert
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
_AFTER = bindparam("after", type_=Interval())
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
    terms = request_terms(name, run_at=run_at, delay=delay)
    session.flush()
    statement = _request(unique=unique_key is not None, keep_earlier=keep_earlier, held=frozen() is not None)
    # By the connection: the ORM's own way of inserting takes many times as long for the same statement.
    found = session.connection().execute(statement, {**terms, "given": arguments, "key": unique_key})
    job_id, attempt = found.one()
    requested(session, name, job_id, attempt, terms)
    return int(job_id)


def request_terms(name: str, *, run_at: datetime | None = None, delay: timedelta | None = None) -> dict[str, Any]:
    """When, where and how often a job shall run: the parameters of the statement that asks for it.

    Args:
        run_at, delay: see :func:`enqueue`.
    """
    wanted = definition(name)
    due = not delay and (run_at is None or run_at <= now())
    return {
        "in_queue": wanted.queue.value,
        "called": name,
        "as_state": (JobState.QUEUED if due else JobState.SCHEDULED).value,
        "at": run_at,
        "after": delay or timedelta(0),
        "attempts": wanted.max_attempts,
        "lease": PUSH_LEASE if due else None,
        "traced": trace_parent(),
        "frozen": frozen(),
    }


def requested(session: Session, name: str, job_id: int, attempt: int, terms: dict[str, Any]) -> None:
    """Push a job that was asked for by these terms after commit, if it is due."""
    if terms["as_state"] == JobState.QUEUED:
        wanted = definition(name)
        _after_commit(session, push_all, Push(job_id, attempt + 1, wanted.queue, wanted.timeout))


def request_of(source: FromClause, *, arguments: ColumnElement[Any], unique_key: ColumnElement[str], held: bool) -> CTE:
    """A job for each row of ``source``, asked for within a statement that does more than that.

    Its parameters are those of :func:`request_terms`, without ``run_at``; it returns ``id`` and ``attempt``, for
    :func:`requested`.

    Args:
        held: whether our clock is, by :func:`flask_cairnloop.clock.freeze`.
    """
    moment = _moment(held=held)
    values = {**_values(moment, moment + _AFTER), Job.arguments: arguments, Job.unique_key: unique_key}
    chosen = select(*values.values()).select_from(source)
    statement = insert(Job).from_select(list(values), chosen, include_defaults=False)
    return _coalesced(statement).returning(Job.id, Job.attempt).cte("request")


@cache
def _request(*, unique: bool, keep_earlier: bool, held: bool) -> ReturningInsert[int, int]:
    """The statement behind :func:`enqueue`, built once: that takes longer than to run it."""
    moment = _moment(held=held)
    statement = insert(Job).values(
        {
            **_values(moment, func.coalesce(bindparam("at", type_=DateTime(timezone=True)), moment + _AFTER)),
            Job.arguments: bindparam("given"),
            Job.unique_key: bindparam("key"),
        }
    )
    if unique:
        statement = _coalesced(statement, keep_earlier=keep_earlier)
    return statement.returning(Job.id, Job.attempt)


def _moment(*, held: bool) -> ColumnElement[datetime]:
    """The database's current time, or the one at which our clock is held."""
    return bindparam("frozen", type_=DateTime(timezone=True)) if held else func.clock_timestamp()


def _values(moment: ColumnElement[datetime], run_at: ColumnElement[datetime]) -> dict[Any, Any]:
    """A new job's columns, but for what it is to do and the key it may share."""
    return {
        Job.queue: bindparam("in_queue", type_=Job.queue.type),
        Job.name: bindparam("called", type_=Job.name.type),
        Job.state: bindparam("as_state", type_=Job.state.type),
        Job.run_at: run_at,
        Job.attempt: literal_column("0"),
        Job.max_attempts: bindparam("attempts", type_=Job.max_attempts.type),
        Job.lease_until: moment + bindparam("lease", type_=Interval()),
        Job.created_at: moment,
        Job.trace: bindparam("traced", type_=Job.trace.type),
    }


def _coalesced(statement: Insert, *, keep_earlier: bool = False) -> Insert:
    """The same, where a job that nobody has claimed yet and that has the same key takes the request over."""
    changes = {
        **{key: getattr(statement.excluded, key) for key in RENEWED},
        # One that waits for another attempt has a full series for the new request.
        "max_attempts": Job.attempt + statement.excluded.max_attempts,
    }
    if keep_earlier:
        earlier = Job.run_at <= statement.excluded.run_at
        changes = {key: case((earlier, getattr(Job, key)), else_=value) for key, value in changes.items()}
    return statement.on_conflict_do_update(index_elements=[Job.unique_key], index_where=text(UNCLAIMED), set_=changes)


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
