"""``flask cairnloop kb``: articles from files."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click
from flask.cli import with_appcontext
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.context import current
from flask_cairnloop.knowledge.importer import ImportFailed, Outcome, SourceFile, find_files, import_file, parse

ACTOR = Actor.system("kb import")
SHOWN = 10  # words for an audience that are not ours


@click.group()
def kb() -> None:
    """Articles of the knowledge base."""


@kb.command("import")
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path, resolve_path=True), metavar="PATH..."
)
@with_appcontext
def import_command(paths: tuple[Path, ...]) -> None:
    """Publish Markdown files, or all of a folder, as articles.

    Front matter may hold title, slug, category or topics, tags, language or locale, source and audience. Running it
    again changes only what has changed; it may be interrupted at any time.
    """
    files = list(find_files(paths))
    session = current().session()
    counts: Counter[str] = Counter()
    slugs: dict[str, Path] = {}
    audiences: Counter[str] = Counter()
    with click.progressbar(files, label="Importing", file=sys.stderr) as progress:
        for file in progress:
            try:
                counts[_import(session, file, slugs, audiences)] += 1
                session.commit()
            except ImportFailed as fault:
                session.rollback()
                counts["failed"] += 1
                click.echo(f"\n{file.path}: {fault}", err=True)
    summary = ", ".join(f"{counts[name]} {name}" for name in (*Outcome, "failed") if counts[name])
    click.echo(f"{len(files)} files: {summary or 'nothing to import'}.")
    for word, count in audiences.most_common(SHOWN):
        click.echo(f'{count} of them name the audience "{word[:40]}": that is neither public nor internal, so public.')
    if counts[Outcome.CREATED] or counts[Outcome.UPDATED]:
        click.echo("They are found by their words; the worker makes their vectors. See: flask cairnloop index status")
    if counts["failed"]:
        raise click.exceptions.Exit(1)


def _import(session: Session, file: SourceFile, slugs: dict[str, Path], audiences: Counter[str]) -> Outcome:
    article = parse(file)
    if article.foreign_audience is not None:
        audiences[article.foreign_audience] += 1
    first = slugs.setdefault(article.slug, file.path)
    if first != file.path:
        raise ImportFailed(f'has the slug "{article.slug}", which {first} has already')
    return import_file(session, article, actor=ACTOR)
