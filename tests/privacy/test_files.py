"""Files of a customer: handed out with the rest, and gone with it, names and bytes."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, add_note, keep_file, receive, reply
from flask_cairnloop.actors import Actor
from flask_cairnloop.errors import StorageUnavailable
from flask_cairnloop.files import storage as storages
from flask_cairnloop.files.models import File
from flask_cairnloop.files.storage import Storage, storage_of
from flask_cairnloop.jobs import Job, JobState
from flask_cairnloop.privacy.service import export, forget
from flask_cairnloop.testing import run_jobs
from tests.files.conftest import png
from tests.support import traces
from tests.support.host import OPERATORS

MINA = Actor.operator(OPERATORS["mina"])
PDF = b"%PDF-1.7 steps"


@pytest.fixture
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "FILE_STORAGE": f"memory://{uuid.uuid4().hex}"}


@pytest.fixture
def mark() -> str:
    return f"wumpel{uuid.uuid4().hex[:10]}"


@pytest.fixture
def zoe(session: Session, mark: str) -> Customer:
    """A customer with a file of each way: theirs, a reply's, a note's, and one that no message took."""
    zoe = Customer(f"zoe-{mark}", f"Zoe {mark}")

    def kept(actor: Any, name: str, data: bytes = PDF) -> uuid.UUID:
        return keep_file(io.BytesIO(data), f"{name}-{mark}", actor=actor)

    files = [kept(zoe, "roof", png())]
    number = receive(session, customer=zoe, body="", channel="widget", files=files).conversation_id
    reply(session, number, actor=MINA, body="Here", files=[kept(MINA, "steps")])
    add_note(session, number, actor=MINA, body="Odd", files=[kept(MINA, "inside")])
    kept(zoe, "unsent")
    session.commit()
    return zoe


@pytest.fixture
def bystander(session: Session) -> Iterator[uuid.UUID]:
    """Somebody else's file, which is none of it."""
    other = Customer(f"other-{uuid.uuid4().hex[:8]}", "Other")
    file = keep_file(io.BytesIO(PDF), "theirs.pdf", actor=other)
    receive(session, customer=other, body="Mine", channel="widget", files=[file])
    session.commit()
    yield file
    session.rollback()
    assert session.scalar(select(File.id).where(File.uuid == file)) is not None


def stored(app: Flask) -> set[str]:
    storage = storage_of(app.extensions["cairnloop"])
    assert storage is not None
    return {key for key, _ in storage.written()}


def test_forgetting_leaves_no_bytes_and_no_names(
    app: Flask, session: Session, redis: Redis, zoe: Customer, mark: str, bystander: uuid.UUID
) -> None:
    session.execute(text("DELETE FROM cairnloop.jobs"))
    session.commit()
    assert len(stored(app)) == 5
    digests = session.scalars(select(File.sha256).where(File.name.contains(mark))).all()
    gone = forget(session, zoe.ref, actor=MINA)
    session.commit()
    assert gone.counts["files"] == 4
    run_jobs(app)
    session.rollback()
    assert len(stored(app)) == 1
    words = (mark, "roof-", "steps-", "inside-", "unsent-", digests[0])
    assert traces.found(session, redis, words) == set()


def test_bytes_that_the_storage_does_not_delete_are_tried_again(
    app: Flask, session: Session, zoe: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.execute(text("DELETE FROM cairnloop.jobs"))
    forget(session, zoe.ref, actor=MINA)
    session.commit()
    with monkeypatch.context() as away:

        def fail(self: Storage, key: str) -> None:
            raise StorageUnavailable("delete", "OSError")

        away.setattr(storages.Storage, "delete", fail)
        run_jobs(app)
    session.rollback()
    job = session.scalars(select(Job).where(Job.name == "files.erase")).one()
    assert job.state is JobState.RETRYING
    assert len(stored(app)) == 4
    session.execute(text("UPDATE cairnloop.jobs SET run_at = now() WHERE name = 'files.erase'"))
    session.commit()
    run_jobs(app)
    assert stored(app) == set()


def test_an_export_names_files_and_writes_them_beside(app: Flask, zoe: Customer, mark: str, tmp_path: Path) -> None:
    answer = app.test_cli_runner().invoke(args=["cairnloop", "customers", "export", zoe.ref, "--files", str(tmp_path)])
    assert answer.exit_code == 0, answer.output
    held = json.loads(answer.stdout)
    messages = held["conversations"][0]["messages"]
    files = [file for message in messages for file in message.get("files", ())] + held["unsent_files"]
    assert [file["name"].partition("-")[0] for file in files] == ["roof", "steps", "inside", "unsent"]
    assert (tmp_path / files[0]["path"]).read_bytes() == png()
    assert {(tmp_path / file["path"]).read_bytes() for file in files[1:]} == {PDF}
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 4
    assert all(mark in path.name for path in tmp_path.rglob("*") if path.is_file())


def test_an_export_without_a_folder_writes_nothing(app: Flask, session: Session, zoe: Customer) -> None:
    files = export(session, zoe.ref)["conversations"][0]["messages"][0]["files"]
    assert files[0] == {"name": files[0]["name"], "type": "image/png", "size": len(png()), "path": files[0]["path"]}


def test_the_job_waits_for_a_storage_that_was_taken_away(
    make_app: Callable[..., Flask], session: Session, zoe: Customer
) -> None:
    session.execute(text("DELETE FROM cairnloop.jobs"))
    forget(session, zoe.ref, actor=MINA)
    session.commit()
    run_jobs(make_app(FILE_STORAGE=None))
    session.rollback()
    assert session.scalars(select(Job.state).where(Job.name == "files.erase")).one() is JobState.RETRYING
