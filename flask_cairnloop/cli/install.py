"""``flask cairnloop install``: one short revision in the host's own migrations."""

from __future__ import annotations

from pathlib import Path

import click
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from flask import current_app
from flask.cli import with_appcontext

from flask_cairnloop.database import migrations

REVISION = '''"""{message}

Revision ID: {revision}
Revises: {down_revision}
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "{revision}"
down_revision = {down_literal}
branch_labels = None
depends_on = None

cairnloop_version = {to}


def upgrade(engine_name: str = "") -> None:
    if not engine_name:  # the default one, where an app has several databases
        migrations.upgrade(op, from_={from_}, to={to})


def downgrade(engine_name: str = "") -> None:
    if not engine_name:
        migrations.downgrade(op, from_={to}, to={from_})
'''


@click.command()
@with_appcontext
def install() -> None:
    """Write a revision that creates or upgrades the desk's tables, on top of your own migrations.

    Safe to run again: when your migrations are up to date it says so and writes nothing.
    """
    script = _script_directory()
    heads = script.get_heads()
    if len(heads) > 1:
        raise click.ClickException(
            f"Your migrations have {len(heads)} heads ({', '.join(heads)}). "
            "Merge them with `flask db merge heads` first."
        )
    installed = _installed_version(script)
    if installed >= migrations.LATEST:
        click.echo(f"Your migrations contain the desk's tables, version {installed}. Nothing to do.")
        return
    path = _write(script, heads[0] if heads else None, installed)
    click.echo(f"Wrote {path}")
    click.echo("Next: flask db upgrade")


def _script_directory() -> ScriptDirectory:
    migrate = current_app.extensions.get("migrate")
    if migrate is None:
        raise click.ClickException("This app has no Flask-Migrate. Add Migrate(app, db), then run `flask db init`.")
    directory = Path(migrate.directory)
    if not (directory / "env.py").is_file():
        raise click.ClickException(f"There are no migrations in {directory} yet. Run `flask db init` first.")
    try:
        return ScriptDirectory.from_config(migrate.migrate.get_config(migrate.directory))
    except CommandError as error:
        raise click.ClickException(str(error)) from error


def _installed_version(script: ScriptDirectory) -> int:
    versions = [
        int(getattr(revision.module, "cairnloop_version", 0)) for revision in script.walk_revisions("base", "heads")
    ]
    return max(versions, default=0)


def _write(script: ScriptDirectory, head: str | None, installed: int) -> Path:
    to = migrations.LATEST
    revision = f"cairnloop_{to:04d}"
    message = "support desk tables" if installed == 0 else f"support desk tables, version {to}"
    folder = Path(script.versions)
    folder.mkdir(exist_ok=True)
    path = folder / f"{revision}_support_desk.py"
    path.write_text(
        REVISION.format(
            message=message,
            revision=revision,
            down_revision=head or "",
            down_literal=f'"{head}"' if head else "None",
            from_=installed,
            to=to,
        ),
        encoding="utf-8",
    )
    return path
