"""``flask cairnloop customers``: hand out what is held about a customer, or forget them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import click
from flask.cli import AppGroup, with_appcontext
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.context import current
from flask_cairnloop.errors import CairnloopError, Conflict, NoStorage
from flask_cairnloop.files.storage import storage_of
from flask_cairnloop.privacy import service

ACTOR = Actor.system("cli")
TRIES = 10
PAUSE = 0.2  # seconds; a job that ends needs some milliseconds

T = TypeVar("T")

customers = AppGroup("customers", help="What is held about a customer: hand it out, or forget it.")


@customers.command("export")
@click.argument("ref")
@click.option("--json", "as_json", is_flag=True, help="On one line.")
@click.option(
    "--files",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the files of their conversations below this folder, at the paths that the JSON names.",
)
@with_appcontext
def export_customer(ref: str, as_json: bool, folder: Path | None) -> None:
    """Print everything held about the customer of this reference, as one JSON object."""
    held = _found(lambda session: service.export(session, ref, actor=ACTOR))
    keys = _found(lambda session: service.exported_files(session, ref)) if folder else {}
    current().session().commit()
    if folder is not None:
        _write_files(folder, keys)
    click.echo(json.dumps(held, ensure_ascii=False, indent=None if as_json else 2))


@customers.command("forget")
@click.argument("ref")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@with_appcontext
def forget_customer(ref: str, yes: bool, as_json: bool) -> None:
    """Erase who the customer of this reference was and every word said with them. This cannot be undone."""
    if not yes:
        held = _found(lambda session: service.export(session, ref))
        current().session().rollback()  # no transaction waits for a person
        said = sum(len(conversation["messages"]) for conversation in held["conversations"])
        who, count = held["customer"]["name"] or ref, len(held["conversations"])
        click.echo(f"{who}. Conversations: {count}, with messages, notes and events: {said}.", err=True)
        click.confirm("Erase them for good?", abort=True, err=True)
    gone = _found(lambda session: _forget(session, ref))
    if as_json:
        click.echo(json.dumps({"customer": gone.customer_id, "erased": dict(gone.counts)}))
        return
    counts = ", ".join(f"{name} {count}" for name, count in gone.counts.items())
    click.echo(f"Forgotten. Erased: {counts}.")


def _write_files(folder: Path, keys: Mapping[str, str]) -> None:
    storage = storage_of(current())
    if keys and storage is None:
        raise click.ClickException(str(NoStorage()))
    try:
        for path, key in keys.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(storage.read(key) if storage else b"")
    except (CairnloopError, OSError) as fault:
        raise click.ClickException(f"The files could not be written: {fault}") from fault


def _forget(session: Session, ref: str) -> service.Forgotten:
    tries = TRIES
    while True:
        try:
            gone = service.forget(session, ref, actor=ACTOR)
            session.commit()
            return gone
        except Conflict:
            session.rollback()
            tries -= 1
            if not tries:
                raise
            time.sleep(PAUSE)


def _found(ask: Callable[[Session], T]) -> T:
    session: Session = current().session()
    try:
        return ask(session)
    except CairnloopError as error:
        session.rollback()
        raise click.ClickException(str(error)) from error
