"""``flask cairnloop index``: what search can find."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

import click
from flask.cli import with_appcontext
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.context import current
from flask_cairnloop.jobs import enqueue
from flask_cairnloop.jobs.models import WorkerKind
from flask_cairnloop.jobs.queries import worker_states
from flask_cairnloop.retrieval import indexing
from flask_cairnloop.retrieval.indexing import Status
from flask_cairnloop.retrieval.vectors import prepare

ACTOR = Actor.system("cli")
LOOK_SECONDS = 0.5


@click.group()
def index() -> None:
    """The search index."""


@index.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@with_appcontext
def status_command(as_json: bool) -> None:
    """How many published articles are found, and how."""
    session = current().session()
    status, work = indexing.status(session), indexing.work(session)
    if as_json:
        click.echo(json.dumps(_plain(status, work), indent=2, default=str))
        return
    click.echo(f"Articles published     {status.articles}")
    click.echo(f"Found by words         {status.indexed}")
    click.echo(f"Found by meaning       {status.with_vectors}")
    click.echo(f"States                 {', '.join(f'{count} {state}' for state, count in status.states.items())}")
    click.echo(f"Passages               {status.passages}")
    click.echo(f"Waiting for a worker   {work.due}{f', {work.later} later' if work.later else ''}")
    if status.rebuilding:
        click.echo(f"Rebuild                {status.rebuilding} articles left")
    click.echo(f"Embedding model        {status.model or 'none: keyword search only'}")
    if not status.vectors:
        click.echo("Vectors                not in this database: pgvector is missing, keyword search only")
    for model in status.models:
        way = "HNSW" if model.ann_index else "exact"
        click.echo(f"  {model.state:<9} {model.passages} of {status.passages} passages, {way}: {model.model}")
    for failure in status.failed:
        click.echo(f"  failed    article {failure.article_id}, {failure.failures} times: {failure.reason}")
    if status.states[indexing.IndexState.FAILED] > len(status.failed):
        click.echo(f"  and {status.states[indexing.IndexState.FAILED] - len(status.failed)} further")


@index.command("rebuild")
@click.option("--stale", is_flag=True, help="Only what is not found by words and by meaning as it should be.")
@click.option("--wait", is_flag=True, help="Until the worker has done it; Ctrl-C stops only the waiting.")
@with_appcontext
def rebuild_command(stale: bool, wait: bool) -> None:
    """Queue articles for indexing; the worker does it while search goes on.

    Run it after pgvector was installed or CAIRNLOOP_SEARCH_LANGUAGE was changed. A rebuild that was interrupted goes on
    where it was when it is called again.
    """
    session = current().session()
    prepare(session)
    begun = not stale and indexing.ask_for_rebuild(session)
    if not stale and not begun:
        click.echo("A rebuild is under way: it goes on.")
    session.commit()
    taken = indexing.taken(session, running=not begun)
    wanted = indexing.stale(session) if stale else indexing.marked(session)
    session.rollback()
    articles = [article_id for article_id in wanted if article_id not in taken]
    for done in indexing.queue(session, articles):
        session.commit()
        click.echo(f"{done} of {len(articles)} queued", err=True)
    enqueue(session, indexing.START, {}, unique_key=indexing.START)
    record(session, ACTOR, "index.rebuild", "index", 0, articles=len(articles), stale=stale)
    session.commit()
    click.echo(f"{len(articles)} {'article' if len(articles) == 1 else 'articles'} queued for the worker.")
    if wait:
        _wait(session, f"flask cairnloop index rebuild{' --stale' if stale else ''} --wait")


def _wait(session: Session, again: str) -> None:
    """Show what is left until nothing is. Stopping it stops nothing else."""
    if not any(state.alive for state in worker_states(session) if state.kind is WorkerKind.BULK):
        click.echo("No worker for indexing is alive; start one: flask cairnloop worker", err=True)
    shown = None
    try:
        while True:
            work = indexing.work(session)
            session.rollback()
            if work.due != shown:
                click.echo(f"{work.due} left", err=True)
            if not work.due:
                break
            shown = work.due
            time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        click.echo(f"\nThe worker goes on. To see how far it is: {again}", err=True)
        raise click.exceptions.Exit(130) from None
    status = indexing.status(session)
    session.rollback()
    click.echo(f"{status.indexed} of {status.articles} articles are found by words, {status.with_vectors} by meaning.")
    missing = sum(status.states[state] for state in (indexing.IndexState.FAILED, indexing.IndexState.PENDING))
    if missing:
        click.echo("Some could not be indexed; see: flask cairnloop index status", err=True)
        raise click.exceptions.Exit(1)


def _plain(status: Status, work: indexing.Work) -> dict[str, Any]:
    ways = [
        {**asdict(model), "of": status.passages, "search": "hnsw" if model.ann_index else "exact"}
        for model in status.models
    ]
    return {**asdict(status), "models": ways, "work": asdict(work)}
