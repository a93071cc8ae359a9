"""``flask cairnloop kb``: articles from files."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import click
from flask.cli import with_appcontext
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.context import current
from flask_cairnloop.errors import NotFound, StorageUnavailable
from flask_cairnloop.files.storage import storage_of
from flask_cairnloop.knowledge import exporter
from flask_cairnloop.knowledge.attachments import files_in
from flask_cairnloop.knowledge.importer import (
    ImportFailed,
    Outcome,
    SourceFile,
    find_files,
    import_file,
    parse,
    with_files,
)
from flask_cairnloop.knowledge.models import ArticleState

ACTOR = Actor.system("kb import")
SHOWN = 10  # of a list that may be long
LEFT_OUT = (ArticleState.DRAFT, ArticleState.ARCHIVED)


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

    Front matter may hold title, slug, category or topics, tags, language or locale, source and audience. Images and
    files that an article leads to within PATH come along. Running it again changes only what has changed; it may be
    interrupted at any time.
    """
    files = list(find_files(paths))
    session = current().session()
    counts: Counter[str] = Counter()
    slugs: dict[str, Path] = {}
    audiences: Counter[str] = Counter()
    refused: dict[Path, str] = {}
    with click.progressbar(files, label="Importing", file=sys.stderr) as progress:
        for file in progress:
            try:
                counts[_import(session, file, slugs, audiences, refused)] += 1
                session.commit()
            except ImportFailed as fault:
                session.rollback()
                counts["failed"] += 1
                click.echo(f"\n{file.path}: {fault}", err=True)
    summary = ", ".join(f"{counts[name]} {name}" for name in (*Outcome, "failed") if counts[name])
    click.echo(f"{_counted(len(files), 'file')}: {summary or 'nothing to import'}.")
    for word, count in audiences.most_common(SHOWN):
        click.echo(f'{count} of them name the audience "{word[:40]}": that is neither public nor internal, so public.')
    for path, why in list(refused.items())[:SHOWN]:
        click.echo(f"Not taken: {path}: {why}")
    if len(refused) > SHOWN:
        click.echo(f"Not taken either: {_counted(len(refused) - SHOWN, 'other file')}.")
    if counts[Outcome.CREATED] or counts[Outcome.UPDATED]:
        click.echo("They are found by their words; the worker makes their vectors. See: flask cairnloop index status")
    if counts["failed"]:
        raise click.exceptions.Exit(1)


def _import(
    session: Session, file: SourceFile, slugs: dict[str, Path], audiences: Counter[str], refused: dict[Path, str]
) -> Outcome:
    article = parse(file)
    if article.foreign_audience is not None:
        audiences[article.foreign_audience] += 1
    first = slugs.setdefault(article.slug, file.path)
    if first != file.path:
        raise ImportFailed(f'has the slug "{article.slug}", which {first} has already')
    cairnloop = current()
    article, left = with_files(session, storage_of(cairnloop), file, article, cairnloop.settings, actor=ACTOR)
    refused.update(left)
    return import_file(session, article, actor=ACTOR)


@kb.command("export")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path, resolve_path=True), metavar="DIR")
@with_appcontext
def export_command(folder: Path) -> None:
    """Write every published article, internal ones too, into DIR as Markdown that `kb import` reads.

    The images and files that they show and link to are written to DIR/files.

    A file that says the same already is left alone; it may be interrupted at any time and run again.
    """
    session = current().session()
    counts: Counter[str] = Counter()
    files: Counter[str] = Counter()
    storage = storage_of(current())
    names = exporter.Names()
    states = exporter.counts(session)
    there = _markdown_in(folder)
    path = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            closing(exporter.published(session)) as articles,
            click.progressbar(
                articles, length=states.get(ArticleState.PUBLISHED, 0), label="Exporting", file=sys.stderr
            ) as progress,
        ):
            for article, revision in progress:
                path = folder / names.of(article)
                there.discard(path.name)
                counts[exporter.write(path, exporter.document(article, revision))] += 1
                for path, data in files_in(folder, session, storage, revision.body):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    files[exporter.write(path, data)] += 1
    except (StorageUnavailable, NotFound) as fault:
        raise click.ClickException(f"A file of {path.name} could not be read. {fault}") from fault
    except OSError as fault:
        raise click.ClickException(f"{path} could not be written ({fault.strerror}).") from fault
    summary = ", ".join(f"{counts[name]} {name}" for name in exporter.Outcome if counts[name])
    click.echo(f"{_counted(counts.total(), 'article')}: {summary or 'nothing to export'}.")
    if files:
        summary = ", ".join(f"{files[name]} {name}" for name in exporter.Outcome if files[name])
        click.echo(f"{_counted(files.total(), 'image or file')}: {summary}.")
    left_out = [f"{states[state]} {state.value}" for state in LEFT_OUT if states.get(state)]
    if left_out:
        click.echo(f"Left out, as they are not published: {', '.join(left_out)}.")
    if there:
        click.echo(f"Left alone: {_counted(len(there), 'other Markdown file')}: {_some(sorted(there))}.")


def _markdown_in(folder: Path) -> set[str]:
    """The Markdown files that lie in a folder already."""
    return {file.path.name for file in find_files([folder]) if file.path.parent == folder} if folder.is_dir() else set()


def _counted(number: int, noun: str) -> str:
    many = "images and files" if noun == "image or file" else f"{noun}s"
    return f"{number} {noun}" if number == 1 else f"{number} {many}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
