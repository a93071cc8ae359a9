"""``flask cairnloop jobs``: look at deferred work, retry or discard it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click
from flask.cli import AppGroup, with_appcontext
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.context import current
from flask_cairnloop.errors import CairnloopError
from flask_cairnloop.jobs import service
from flask_cairnloop.jobs.models import Job, JobState

ACTOR = Actor.system("cli")
JOB_ID = click.IntRange(1, 2**63 - 1)  # what the column holds
UNFINISHED = (JobState.SCHEDULED, JobState.QUEUED, JobState.RUNNING, JobState.RETRYING, JobState.DEAD)

jobs = AppGroup("jobs", help="Look at deferred work, retry or discard it.")


@jobs.command("list")
@click.option(
    "--state", type=click.Choice([state.value for state in JobState]), multiple=True, help="Default: all unfinished."
)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@with_appcontext
def list_jobs(state: tuple[str, ...], limit: int, as_json: bool) -> None:
    """List jobs, newest first."""
    states = [JobState(value) for value in state] or UNFINISHED
    rows = service.jobs_in(current().session(), states, limit=limit)
    if as_json:
        click.echo(json.dumps([_plain(row) for row in rows], indent=2))
        return
    for row in rows:
        error = f"  {row.last_error}" if row.last_error else ""
        click.echo(f"{row.id:>8}  {row.state.value:<10} {row.attempt}/{row.max_attempts}  {row.name}{error}")
    if not rows:
        click.echo("No jobs in these states.")


@jobs.command("retry")
@click.argument("job_id", type=JOB_ID)
@with_appcontext
def retry_job(job_id: int) -> None:
    """Give a dead or discarded job a new series of attempts."""
    _decide(service.retry, job_id, "will run again")


@jobs.command("discard")
@click.argument("job_id", type=JOB_ID)
@with_appcontext
def discard_job(job_id: int) -> None:
    """Decide that a dead or waiting job shall not run."""
    _decide(service.discard, job_id, "is discarded")


def _decide(verb: Callable[..., Job], job_id: int, outcome: str) -> None:
    session: Session = current().session()
    try:
        verb(session, job_id, actor=ACTOR)
        session.commit()
    except CairnloopError as error:
        session.rollback()
        raise click.ClickException(str(error)) from error
    click.echo(f"Job {job_id} {outcome}.")


def _plain(row: Job) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "queue": row.queue.value,
        "state": row.state.value,
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "run_at": row.run_at.isoformat(),
        "last_error": row.last_error,
    }
