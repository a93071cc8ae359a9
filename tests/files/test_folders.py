"""``kb import`` and ``kb export`` with images and files beside the Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import select

from flask_cairnloop.files.models import File
from flask_cairnloop.knowledge.models import Article, Revision
from tests.files.conftest import png
from tests.files.test_uploads import SVG

PLAN = png(colour=200)
BODY = """![A plan](img/my%20plan.png "T") and ![again](<img/my plan.png>), [prices][p] and [text](../shared/a.csv).

`![A plan](img/other.png)` ![out](../../outside.png) ![gone](img/gone.png) ![drawn](img/drawing.svg) [next](next.md)
![linked](img/linked.png) ![hidden](.hidden/x.png) ![etc](/etc/hostname) ![odd](img/%00.png) [web](https://a.example/x.png)

[p]: img/prices.pdf
"""


def run(app: Flask, command: str, folder: Path) -> str:
    result = app.test_cli_runner().invoke(args=["cairnloop", "kb", command, str(folder)])
    assert result.exit_code == 0, result.output
    return str(result.output)


def body_of(app: Flask, slug: str) -> str:
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        found = select(Revision.body).join(Article).where(Article.slug == slug, Revision.state == "published")
        return str(session.scalars(found).one())


def files_of(app: Flask) -> dict[str, File]:
    with app.app_context():
        return {file.name: file for file in app.extensions["sqlalchemy"].session.scalars(select(File))}


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "kb"
    for inside in ("guides/img", "guides/.hidden", "shared"):
        (root / inside).mkdir(parents=True)
    (root / "guides/first.md").write_text(f"# First\n\n{BODY}")
    (root / "guides/next.md").write_text("# Next\n\nNothing here.")
    (root / "guides/img/my plan.png").write_bytes(PLAN)
    (root / "guides/img/prices.pdf").write_bytes(b"%PDF-1.7\nPrices")
    (root / "guides/img/drawing.svg").write_bytes(SVG)
    (root / "guides/.hidden/x.png").write_bytes(png())
    (root / "shared/a.csv").write_text("a,b\n")
    (tmp_path / "outside.png").write_bytes(png())
    (root / "guides/img/linked.png").symlink_to(tmp_path / "outside.png")
    return root


def test_what_goes_out_comes_back_the_same_on_this_desk_and_on_another(
    make_app: Callable[..., Flask],
    fresh_database_url: str,
    database_url: str,
    folder: Path,
    tmp_path: Path,
) -> None:
    app = make_app(database_url=fresh_database_url)
    said = run(app, "import", folder)
    assert "2 files: 2 created." in said
    assert re.findall(r"Not taken: \S+/([^/:]+): ", said) == ["drawing.svg"]
    files = files_of(app)
    assert set(files) == {"my plan.png", "prices.pdf", "a.csv"}
    plan = f"files/{files['my plan.png'].uuid}/my%20plan.png"
    body = body_of(app, "guides-first")
    assert body == (
        BODY.replace("img/my%20plan.png", plan)
        .replace("<img/my plan.png>", plan)
        .replace("img/prices.pdf", f"files/{files['prices.pdf'].uuid}/prices.pdf")
        .replace("../shared/a.csv", f"files/{files['a.csv'].uuid}/a.csv")
        .strip()
    )
    assert "2 files: 2 unchanged." in run(app, "import", folder)
    assert len(files_of(app)) == 3

    out, back = tmp_path / "out", tmp_path / "back"
    assert "3 images and files: 3 written." in run(app, "export", out)
    assert (out / "files" / str(files["my plan.png"].uuid) / "my plan.png").read_bytes() == PLAN
    assert "2 files: 2 unchanged." in run(app, "import", out)
    assert "3 images and files: 3 unchanged." in run(app, "export", out)

    other = make_app(database_url=database_url, FILE_STORAGE=f"memory://{uuid4().hex}")
    assert "2 files: 2 created." in run(other, "import", out)
    assert body_of(other, "guides-first") == body
    run(other, "export", back)
    assert everything(back) == everything(out)


def test_a_picture_that_was_changed_in_the_folder_is_another_file(
    make_app: Callable[..., Flask], fresh_database_url: str, folder: Path, tmp_path: Path
) -> None:
    app = make_app(database_url=fresh_database_url)
    run(app, "import", folder)
    before = files_of(app)["my plan.png"].uuid
    out = tmp_path / "out"
    run(app, "export", out)
    (out / "files" / str(before) / "my plan.png").write_bytes(png(colour=7))
    assert "1 updated, 1 unchanged" in run(app, "import", out)
    assert str(before) not in body_of(app, "guides-first")
    with app.app_context():
        kept = app.extensions["sqlalchemy"].session.scalars(select(File.sha256).where(File.name == "my plan.png")).all()
    assert len(set(kept)) == 2


def test_a_text_among_exported_files_is_no_article(
    app: Flask, send: Any, tmp_path: Path, make_app: Callable[..., Flask]
) -> None:
    (tmp_path / "files" / str(uuid4())).mkdir(parents=True)
    next((tmp_path / "files").iterdir()).joinpath("notes.md").write_text("# Notes\n\nWords.")
    assert "nothing to import" in run(app, "import", tmp_path)


def test_without_a_storage_articles_come_without_their_files_and_it_is_said(
    make_app: Callable[..., Flask], fresh_database_url: str, folder: Path
) -> None:
    app = make_app(database_url=fresh_database_url, FILE_STORAGE=None)
    said = run(app, "import", folder)
    assert "2 files: 2 created." in said
    assert "CAIRNLOOP_FILE_STORAGE is not set" in said
    assert body_of(app, "guides-first") == BODY.strip()
