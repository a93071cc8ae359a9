"""The table of deferred work. PostgreSQL remembers; RQ only executes."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Identity, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from flask_cairnloop.clock import now
from flask_cairnloop.database.base import Base, choice


class JobState(StrEnum):
    SCHEDULED = "scheduled"  # waits for run_at
    QUEUED = "queued"  # due, pushed to RQ; pushed again when nobody claims it before lease_until
    RUNNING = "running"  # claimed; lease_until is renewed by the worker
    RETRYING = "retrying"  # failed or lost, waits for run_at
    SUCCEEDED = "succeeded"
    DEAD = "dead"  # attempts used up or failed for good; a person may retry or discard it
    DISCARDED = "discarded"


class QueueName(StrEnum):
    INTERACTIVE = "interactive"
    DEFAULT = "default"
    BULK = "bulk"


class WorkerKind(StrEnum):
    RELAY = "relay"
    INTERACTIVE = "interactive"
    DEFAULT = "default"
    BULK = "bulk"


UNCLAIMED = "state IN ('scheduled', 'queued', 'retrying')"


class Job(Base):
    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("attempt >= 0 AND max_attempts >= 1", name="attempts"),
        CheckConstraint("(state = 'running') = (claimed_by IS NOT NULL)", name="claimed_while_running"),
        Index("uq_jobs_unique_key", "unique_key", unique=True, postgresql_where=text(UNCLAIMED)),
        Index("ix_jobs_due", "run_at", "id", postgresql_where=text("state IN ('scheduled', 'retrying')")),
        Index("ix_jobs_lease", "lease_until", "id", postgresql_where=text("state IN ('queued', 'running')")),
        Index("ix_jobs_finished", "state", "finished_at", "id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    queue: Mapped[QueueName] = mapped_column(choice(QueueName, "queue"))
    name: Mapped[str] = mapped_column(String(100))
    arguments: Mapped[dict[str, Any]]
    state: Mapped[JobState] = mapped_column(choice(JobState, "state"))
    run_at: Mapped[datetime]
    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    unique_key: Mapped[str | None] = mapped_column(String(200))
    claimed_by: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[datetime | None]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    # W3C traceparent of whoever asked for the job, so that its span stands in the same trace.
    trace: Mapped[str | None] = mapped_column(String(60))


class WorkerProcess(Base):
    """A process of ``flask cairnloop worker`` that is, or was a moment ago, alive."""

    __tablename__ = "workers"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    kind: Mapped[WorkerKind] = mapped_column(choice(WorkerKind, "kind"))
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]
