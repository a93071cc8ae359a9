"""``flask cairnloop worker``: everything that runs beside the web server, in one command."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from flask_cairnloop.context import current
from flask_cairnloop.jobs.models import QueueName
from flask_cairnloop.jobs.supervisor import supervise


@click.command()
@click.option("--interactive", default=1, show_default=True, type=click.IntRange(0, 64), help="Workers for drafts.")
@click.option(
    "--default", "ordinary", default=1, show_default=True, type=click.IntRange(0, 64), help="Workers for the rest."
)
@click.option(
    "--bulk", default=1, show_default=True, type=click.IntRange(0, 64), help="Workers for imports and indexing."
)
@with_appcontext
def worker(interactive: int, ordinary: int, bulk: int) -> None:
    """Run the job workers and the relay. SIGTERM or Ctrl-C lets running jobs finish."""
    cairnloop = current()
    counts = {QueueName.INTERACTIVE: interactive, QueueName.DEFAULT: ordinary, QueueName.BULK: bulk}
    click.echo("Working. " + ", ".join(f"{queue.value}: {count}" for queue, count in counts.items()))
    supervise(cairnloop, counts)
    click.echo("Stopped.")
