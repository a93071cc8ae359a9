"""Helpers for hosts that test what they have wired to the desk.

They run against real rows: a job that is run inline is claimed, executed and finished exactly as a worker does it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import Flask
from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from flask_cairnloop import clock
from flask_cairnloop.actors import Acting
from flask_cairnloop.governance.service import propose_action
from flask_cairnloop.governance.types import Tier
from flask_cairnloop.jobs.models import Job, JobState
from flask_cairnloop.jobs.runner import UNCLAIMED_STATES, run_row

# How often one that asks for itself may run ahead of its time, so that a held clock ends nobody's test.
AHEAD = 20


def run_jobs(app: Flask, *, within: timedelta = timedelta(seconds=30), limit: int = 1000) -> int:
    """Run waiting jobs in this process until none is left.

    Args:
        within: also jobs that become due in this time, such as a draft that waits for quiet. One that finds that it
            is too early may ask to be run again: of those that share a key :data:`AHEAD` run ahead of their time.
        limit: how many at the most.

    Returns:
        How many were run.
    """
    done, ahead = 0, Counter[str]()
    while done < limit:
        with app.app_context():
            engine = app.extensions["cairnloop"].engine
            with engine.begin() as connection:
                due = Job.run_at <= clock.database_now()
                tired = [key for key, times in ahead.items() if times >= AHEAD]
                first = or_(Job.unique_key.is_(None), Job.unique_key.not_in(tired))
                found = connection.execute(
                    select(Job.id, Job.unique_key, due)
                    .where(
                        Job.state.in_(UNCLAIMED_STATES),
                        or_(due, and_(first, Job.run_at <= clock.database_now() + within)),
                    )
                    .order_by(Job.run_at, Job.id)
                    .limit(1)
                    .with_for_update(skip_locked=True)
                ).one_or_none()
                if found is None:
                    return done
                job_id, key, is_due = found
                if key is not None and not is_due:
                    ahead[key] += 1
                connection.execute(
                    update(Job)
                    .where(Job.id == job_id)
                    .values(state=JobState.QUEUED, lease_until=clock.database_now() + timedelta(minutes=5))
                )
        done += run_row(app, job_id, "inline")
    return done


def enqueued(app: Flask, name: str | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Name and arguments of the jobs that wait, oldest first; of one name only, if given."""
    with app.app_context(), app.extensions["cairnloop"].engine.connect() as connection:
        rows = connection.execute(
            select(Job.name, Job.arguments).where(Job.state.in_(UNCLAIMED_STATES)).order_by(Job.id)
        ).all()
    return [(row.name, row.arguments) for row in rows if name is None or row.name == name]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What would become of a proposal.

    Args:
        refusal: why it would be refused; ``None`` when it would not.
        tier: who would have to agree.
        consequence: what they would read.
    """

    refusal: str | None
    tier: Tier
    consequence: str


def rehearse(
    app: Flask,
    tool: str,
    inputs: Mapping[str, Any],
    *,
    actor: Acting,
    conversation_id: int | None = None,
    scopes: Collection[str] = (),
) -> Rehearsal:
    """Propose an action and take it all back: what your tool, your keys and your policy say of it.

    Raises:
        InvalidFields, NotFound, Conflict: as ``propose_action`` does.
    """
    with app.app_context():
        session: Session = app.extensions["cairnloop"].session()
        try:
            made = propose_action(session, tool, inputs, actor=actor, conversation_id=conversation_id, scopes=scopes)
            return Rehearsal(made.failure, made.tier, made.consequence)
        finally:
            session.rollback()


@contextmanager
def frozen(moment: datetime) -> Iterator[None]:
    """Hold the desk's clock of this process at a moment with a time zone."""
    if moment.tzinfo is None:
        raise ValueError("Give the moment with a time zone.")
    clock.freeze(moment)
    try:
        yield
    finally:
        clock.freeze(None)
