"""What is taken in, by its content and size alone, and what becomes of it."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import fsspec
import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_wtf import CSRFProtect
from PIL import Image
from sqlalchemy import select, text
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.files import service
from flask_cairnloop.files.content import clean_name, recognise
from flask_cairnloop.files.links import Shown, as_markdown
from flask_cairnloop.files.models import File
from flask_cairnloop.files.storage import storage_of
from flask_cairnloop.knowledge.rendering import files_named, render
from flask_cairnloop.knowledge.service import Words, create_article, edit_article
from flask_cairnloop.testing import frozen, run_jobs
from tests.browser.hostile import FILE_NAMES
from tests.files.conftest import bomb, png

Send = Callable[..., TestResponse]
HTML = b"<!doctype html><script>alert(1)</script>"
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'


@pytest.fixture(autouse=True)
def none_yet(session: Session) -> None:
    """Files of the tests before are gone."""
    session.execute(text("DELETE FROM cairnloop.article_files"))
    session.execute(text("DELETE FROM cairnloop.files"))
    session.execute(text("DELETE FROM cairnloop.jobs"))
    session.commit()


def kept(app: Flask) -> list[str]:
    storage = storage_of(app.extensions["cairnloop"])
    assert storage is not None
    return [key for key, _ in storage.written()]


def all_files(session: Session) -> list[File]:
    session.rollback()
    return list(session.scalars(select(File).order_by(File.id)))


def test_a_picture_is_kept_under_its_digest_with_its_author_and_sent_twice_it_is_kept_once(
    app: Flask, session: Session, send: Send
) -> None:
    first, again = send(png()), send(png())
    assert (first.status_code, first.json) == (200, again.json)
    (file,) = all_files(session)
    assert first.json == {"markdown": f"![plan](files/{file.uuid}/plan.png)", "name": "plan.png", "image": True}
    assert (file.width, file.height, file.media_type, file.author_id) == (40, 30, "image/png", "mina")
    assert kept(app) == [file.storage_key]
    assert file.sha256 in file.storage_key
    entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "file.add")).one()
    assert (entry.actor_id, entry.subject_id) == ("mina", file.id)


@pytest.mark.parametrize(
    ("data", "name", "why"),
    [
        (HTML, "page.png", "no kind of file"),
        (b"  \n" + SVG, "drawing.png", "no kind of file"),
        (b"\xef\xbb\xbf<svg/>", "drawing.svg", "no kind of file"),
        (b"MZ\x90\x00\x03" + bytes(60), "setup.png", "no kind of file"),
        (b"PK\x03\x04" + bytes(60), "all.zip", "kind ZIP"),
        (b"GIF89a" + HTML, "smile.gif", "damaged"),
        (png()[:60], "half.png", "damaged"),
        (png()[:50] + bytes([png()[50] ^ 255]) + png()[51:], "bent.png", "damaged"),
        (bomb(30_000, 30_000), "flat.png", "30 million pixels"),
        (bomb(5_000, 7_000), "less.png", "30 million pixels"),
        (b"", "none.png", "empty"),
        (b"%PDF-1.7\n" + bytes(20_000), "long.pdf", "larger than"),
    ],
)
def test_what_it_is_not_is_refused_in_words_and_nothing_is_kept(
    make_app: Callable[..., Flask], session: Session, send: Send, data: bytes, name: str, why: str
) -> None:
    app = make_app(FILE_SIZE_LIMIT=20_000)
    answer = send(data, name, of=app)
    assert answer.status_code == 422
    assert why in answer.json["message"]  # type: ignore[index]
    assert all_files(session) == []
    assert kept(app) == []


def test_a_file_far_too_long_is_not_read_at_all(make_app: Callable[..., Flask], send: Send) -> None:
    answer = send(b"%PDF-" + bytes(500_000), of=make_app(FILE_SIZE_LIMIT=20_000))
    assert (answer.status_code, answer.json) == (413, {"message": "The file is larger than 19.5 KB."})


def test_the_hosts_own_limit_holds_for_its_own_forms(
    make_app: Callable[..., Flask], make_client: Callable[..., FlaskClient], send: Send
) -> None:
    limits = {"FLASK_MAX_CONTENT_LENGTH": 1_000, "FILE_SIZE_LIMIT": 20_000}
    assert send(b"%PDF-" + bytes(15_000), of=make_app(**limits)).status_code == 200
    app = make_app(**limits)
    CSRFProtect(app)  # as a host's, which reads the form before anybody is asked who they are
    for who in ("", "mina"):
        client = make_client(app, who)
        answer = client.post(
            "/support/knowledge/new", data=bytes(11_000_000), content_type="multipart/form-data; boundary=x"
        )
        assert answer.status_code == 413
        assert "The file is larger than 19.5 KB." in answer.text


def test_a_picture_loses_what_it_tells_of_its_maker_and_stays_as_it_looks() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "A camera", 6
    exif.get_ifd(0x8825)[1] = "N"
    pictures = {}
    for kind in ("JPEG", "PNG", "WEBP"):
        made = io.BytesIO()
        Image.effect_noise((40, 30), 80).convert("RGB").save(made, kind, exif=exif, lossless=True, comment=b"secret")
        found = recognise(made.getvalue() + HTML)
        pictures[kind] = found
        assert b"A camera" in made.getvalue()
        assert not [part for part in (b"A camera", b"secret", b"<script>") if part in found.data], kind
        assert recognise(found.data) == found
        with Image.open(io.BytesIO(made.getvalue())) as before, Image.open(io.BytesIO(found.data)) as after:
            assert before.tobytes() == after.tobytes(), kind
    assert (pictures["JPEG"].width, pictures["JPEG"].height) == (30, 40)  # it is turned
    assert Image.open(io.BytesIO(pictures["JPEG"].data)).getexif() == {0x0112: 6}


@pytest.mark.parametrize(
    ("name", "media_type", "cleaned"),
    [
        ("../../etc/passwd", "image/png", "passwd.png"),
        ("C:\\fakepath\\Ab b.JPG", "image/jpeg", "Ab b.JPG"),
        ("invoice\u202egnp.exe\x00\r\n.html", "text/plain", "invoicegnp.exe .html.txt"),
        ("...", "image/gif", "file.gif"),
        ("ü" * 300 + ".pdf", "application/pdf", "ü" * 90 + ".pdf"),
    ],
)
def test_names_are_one_line_without_a_folder_and_end_as_their_content_is(
    name: str, media_type: str, cleaned: str
) -> None:
    assert clean_name(name, media_type) == cleaned


def test_a_link_to_a_file_of_any_name_leads_to_it_and_to_nothing_else() -> None:
    uuid = UUID(int=7)
    shown = {uuid: Shown("/here", "notes.txt", "text/plain")}
    for name in FILE_NAMES:
        text = as_markdown(uuid, clean_name(name, "text/plain"), is_image=False, words=name)
        assert files_named(f"See {text}.") == {uuid}, name
        html = render(f"See {text}.", shown)
        assert html.startswith('<p>See <a href="/here" rel="noopener noreferrer nofollow">'), name
        assert html.count("<") == 4, name


def test_a_storage_that_fails_keeps_nothing_and_says_so(
    make_app: Callable[..., Flask], session: Session, send: Send, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    with caplog.at_level(logging.ERROR):
        answer = send(png(), of=make_app(FILE_STORAGE=str(tmp_path / "taken")))
    assert answer.status_code == 503
    assert answer.json["message"].startswith("The file storage does not answer. Nothing was kept")  # type: ignore[index]
    assert all_files(session) == []
    assert str(tmp_path) not in caplog.text


def test_without_a_storage_uploads_are_off(make_app: Callable[..., Flask], send: Send) -> None:
    answer = send(png(), of=make_app(FILE_STORAGE=None))
    assert answer.status_code == 503
    assert "CAIRNLOOP_FILE_STORAGE" in answer.json["message"]  # type: ignore[index]


def test_a_host_may_make_the_filesystem_itself(
    make_app: Callable[..., Flask], session: Session, send: Send, tmp_path: Path
) -> None:
    app = make_app(FILE_STORAGE=lambda: fsspec.filesystem("dir", path=str(tmp_path), fs=fsspec.filesystem("file")))
    assert send(png(), of=app).status_code == 200
    (file,) = all_files(session)
    assert (tmp_path / file.storage_key).read_bytes() == png()
    assert kept(app) == [file.storage_key]


def test_uploads_are_counted(make_app: Callable[..., Flask], send: Send) -> None:
    app = make_app(RATE_LIMITS={"uploads": "2/minute"})
    assert [send(png(), of=app, as_="omar").status_code for _ in range(3)] == [200, 200, 422]


def test_bytes_whose_row_never_came_are_taken_back_and_after_a_crash_the_sweep_takes_them(
    app: Flask, session: Session, send: Send, make_app: Callable[..., Flask]
) -> None:
    def refuse(*_: Any) -> None:
        raise ValueError("the host's own row does not fit")

    app = make_app(AUDITOR=refuse)
    app.config["PROPAGATE_EXCEPTIONS"] = app.testing = False
    assert send(png(), of=app).status_code == 500
    assert all_files(session) == []
    assert kept(app) == []

    app = make_app()
    storage = storage_of(app.extensions["cairnloop"])
    assert storage is not None
    service.store(storage, service.examine(io.BytesIO(png()), "crash.png", app.extensions["cairnloop"].settings))
    storage.write(".incoming/half", b"half")
    send(png(colour=1), "unused.png", of=app)
    used = send(png(colour=2), "used.png", of=app).json["markdown"]  # type: ignore[index]
    with app.app_context():
        own = app.extensions["sqlalchemy"].session
        article = create_article(own, Words("", "Pictures", used), actor=Actor.system("test"))
        own.commit()
        article_id, edits = article.id, article.edits
    start = datetime.now(UTC)

    def after(days: float) -> set[str]:
        with frozen(start + timedelta(days=days)):
            run_jobs(app)
        assert sorted(kept(app)) == sorted(file.storage_key for file in all_files(session)) or days < 1
        return {file.name for file in all_files(session)}

    assert after(0.9) == {"unused.png", "used.png"}
    assert len(kept(app)) == 4
    assert after(1.1) == {"used.png"}
    with app.app_context(), frozen(start + timedelta(days=2)):
        own = app.extensions["sqlalchemy"].session
        edit_article(own, article_id, Words("", "Pictures", "No more"), edits=edits, actor=Actor.system("test"))
        own.commit()
    assert after(2.9) == {"used.png"}  # whoever thinks again within a day has it still
    assert after(4.2) == set()
