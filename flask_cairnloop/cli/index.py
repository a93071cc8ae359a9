"""``flask cairnloop index``: what search can find."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from flask_cairnloop.context import current
from flask_cairnloop.retrieval import indexing
from flask_cairnloop.retrieval.vectors import prepare


@click.group()
def index() -> None:
    """The search index."""


@index.command("status")
@with_appcontext
def status_command() -> None:
    """How many published articles are found, and how."""
    status = indexing.status(current().session())
    click.echo(f"Articles published     {status.articles}")
    click.echo(f"Found by words         {status.indexed}")
    click.echo(f"Found by meaning       {status.with_vectors}")
    click.echo(f"Passages               {status.passages}")
    click.echo(f"Embedding model        {status.model or 'none: keyword search only'}")
    if not status.vectors:
        click.echo("Vectors                not in this database: pgvector is missing, keyword search only")


@index.command("rebuild")
@click.option("--stale", is_flag=True, help="Only articles that are not found by words and by meaning yet.")
@with_appcontext
def rebuild_command(stale: bool) -> None:
    """Queue articles for indexing; the worker does it while search goes on.

    Run it after pgvector was installed, the embedding model or CAIRNLOOP_SEARCH_LANGUAGE was changed.
    """
    session = current().session()
    prepare(session)
    session.commit()
    articles = indexing.stale(session) if stale else indexing.everything(session)
    session.rollback()
    for done in indexing.queue(session, articles):
        session.commit()
        click.echo(f"{done} of {len(articles)} queued", err=True)
    click.echo(f"{len(articles)} articles queued for the worker.")
