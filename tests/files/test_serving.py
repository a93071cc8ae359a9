"""Who is given a file, how, and what else a page makes of it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy.orm import Session

from flask_cairnloop import Operator, Permission, Subject
from flask_cairnloop.actors import Actor
from flask_cairnloop.files.storage import storage_of
from flask_cairnloop.knowledge import service
from flask_cairnloop.knowledge.models import Audience
from tests.files.conftest import png
from tests.files.test_uploads import HTML, Send

MakeClient = Callable[..., FlaskClient]
SYSTEM = Actor.system("test")


@pytest.fixture
def uploaded(send: Send) -> Callable[..., tuple[str, str]]:
    """``uploaded(data, name)`` gives the file's address and its Markdown."""

    def upload(data: bytes, name: str = "plan.png", **of: Any) -> tuple[str, str]:
        markdown = send(data, name, **of).json["markdown"]  # type: ignore[index]
        found = re.search(r"\((files/.+)\)", markdown)
        assert found
        return f"/support/{found[1]}", markdown

    return upload


def write(session: Session, body: str, audience: Audience = Audience.PUBLIC) -> int:
    words = service.Words(f"a-{uuid4().hex[:8]}", "With a picture", body, audience=audience)
    article_id = service.create_article(session, words, actor=SYSTEM).id
    session.commit()
    return article_id


def test_a_file_is_for_whoever_may_read_an_article_that_uses_it_and_unknown_to_anybody_else(
    app: Flask, session: Session, make_client: MakeClient, uploaded: Callable[..., tuple[str, str]]
) -> None:
    address, markdown = uploaded(png(colour=1))

    def seen_by() -> set[str]:
        """Who of nobody, an operator that may do nothing, one that reads and one that writes is given it."""
        seen = set()
        for who in ("", "outsider", "editor", "mina"):
            answer = make_client(app, who).get(address)
            if answer.status_code == 200:
                seen.add(who)
                assert answer.data == png(colour=1)
            else:
                unknown = make_client(app, who).get(f"/support/files/{uuid4()}/plan.png")
                assert (answer.status, answer.data) == (unknown.status, unknown.data)
                assert dict(answer.headers) == dict(unknown.headers)
        return seen

    operators, everybody = {"editor", "mina"}, {"", "outsider", "editor", "mina"}
    assert seen_by() == {"mina"}  # whoever writes sees what they have just added
    internal = write(session, markdown, Audience.INTERNAL)
    service.publish(session, internal, actor=SYSTEM)
    session.commit()
    assert seen_by() == operators
    public = write(session, markdown)
    assert seen_by() == operators
    service.publish(session, public, actor=SYSTEM)
    session.commit()
    assert seen_by() == everybody
    service.archive(session, public, actor=SYSTEM)
    session.commit()
    assert seen_by() == operators
    service.unarchive(session, public, actor=SYSTEM)
    session.commit()
    assert seen_by() == everybody
    edits = session.get_one(service.Article, public).edits
    service.edit_article(session, public, service.Words("", "Without", "No picture"), edits=edits, actor=SYSTEM)
    session.commit()
    assert seen_by() == everybody  # what is published shows it still
    service.publish(session, public, actor=SYSTEM)
    session.commit()
    assert seen_by() == operators


def test_where_the_host_narrows_articles_files_are_for_operators_and_row_by_row(
    make_app: Callable[..., Flask],
    session: Session,
    make_client: MakeClient,
    uploaded: Callable[..., tuple[str, str]],
) -> None:
    refused: set[Subject] = set()

    def authorize(_: Operator, __: Permission, subject: Subject | None) -> bool:
        return subject not in refused

    app = make_app(ARTICLE_SCOPE=lambda customer: {"everybody"}, AUTHORIZE=authorize)
    address, markdown = uploaded(png(colour=2), of=app)
    article_id = write(session, markdown)
    service.publish(session, article_id, actor=SYSTEM)
    session.commit()
    assert make_client(app).get(address).status_code == 404
    assert make_client(app, "omar").get(address).status_code == 200
    refused.add(Subject("article", article_id))
    assert make_client(app, "omar").get(address).status_code == 404


def test_nothing_in_a_file_runs_and_it_is_what_we_say_it_is(
    app: Flask, session: Session, make_client: MakeClient, uploaded: Callable[..., tuple[str, str]]
) -> None:
    drawn = io.BytesIO()
    Image.new("P", (1, 1)).save(drawn, "GIF")
    gif = drawn.getvalue()
    kinds = {
        "both.html": (gif + HTML, "image/gif", None),
        "a.png": (png(), "image/png", None),
        'prices "2026" ü.pdf': (b"%PDF-1.7\n" + HTML, "application/pdf", "attachment"),
        "page.html": (b"Words and then " + HTML, "text/plain", "attachment"),
    }
    mina = make_client(app, "mina")
    for name, (data, media_type, disposition) in kinds.items():
        address, _ = uploaded(data, name)
        answer = mina.get(address)
        assert (answer.status_code, answer.data) == (200, data)
        assert answer.mimetype == media_type
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        policy = answer.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "sandbox"} <= set(policy)
        assert (answer.headers.get("Content-Disposition") or "").partition(";")[0] == (disposition or "")
        assert not address.endswith(".html")
        head = mina.head(address)
        assert (head.data, head.content_length) == (b"", len(data))


def test_what_is_private_is_asked_for_again_and_what_is_public_may_be_kept_for_an_hour(
    app: Flask, session: Session, make_client: MakeClient, uploaded: Callable[..., tuple[str, str]]
) -> None:
    address, markdown = uploaded(png(colour=3))
    mina = make_client(app, "mina")
    answer = mina.get(address)
    assert answer.headers["Cache-Control"] == "private, no-cache"
    again = mina.get(address, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert make_client(app).get(address, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 404
    service.publish(session, write(session, markdown), actor=SYSTEM)
    session.commit()
    assert make_client(app).get(address).headers["Cache-Control"] == "public, max-age=3600"


def test_a_storage_that_is_away_or_has_lost_a_file_is_no_error_of_the_page(
    app: Flask, make_app: Callable[..., Flask], make_client: MakeClient, uploaded: Callable[..., tuple[str, str]]
) -> None:
    def away() -> Any:
        raise ConnectionError("no route")

    address, _ = uploaded(png(colour=4))
    answer = make_client(make_app(FILE_STORAGE=away), "mina").get(address)
    assert (answer.status_code, answer.text) == (503, "The file storage does not answer. Try again in a moment.")
    storage = storage_of(app.extensions["cairnloop"])
    assert storage is not None
    for key, _ in storage.written():
        storage.delete(key)
    assert make_client(app, "mina").get(address).status_code == 404


def test_pages_show_pictures_with_their_size_and_nothing_from_elsewhere(
    app: Flask, session: Session, make_client: MakeClient, uploaded: Callable[..., tuple[str, str]]
) -> None:
    address, markdown = uploaded(png(width=120, height=80))
    elsewhere = f"![gone](files/{uuid4()}/x.png) ![t](https://a.example/x.png) ![p](/support/files/x) ![d](data:,x)"
    article_id = write(session, f"{markdown}\n\n[Whole]({markdown.partition('(')[2]}\n\n{elsewhere}")
    mina = make_client(app, "mina")
    assert mina.get(f"/support/knowledge/{article_id}").text.count("There is no such file.") == 1
    image = f'<img src="{address}" alt="plan" width="120" height="80" loading="lazy">'
    for page in (
        mina.get(f"/support/knowledge/{article_id}").text,
        mina.post("/support/knowledge/preview", data={"body": f"{markdown} {elsewhere}"}).text,
    ):
        assert re.findall("<img.*?>", page) == [image]
        assert "gone t p" in re.sub(r"\s+", " ", re.sub("<.*?>", "", page))
    assert (
        f'<a href="{address}" rel="noopener noreferrer nofollow">Whole</a>'
        in mina.get(f"/support/knowledge/{article_id}").text
    )


def test_the_editor_without_a_script_takes_a_file_with_the_words_and_lists_where_else_it_is_used(
    app: Flask, session: Session, make_client: MakeClient, uploaded: Callable[..., tuple[str, str]]
) -> None:
    _, markdown = uploaded(png(colour=5), "shared.png")
    other = write(session, markdown)
    mina = make_client(app, "mina")
    form = {"title": "Typed", "body": "Words", "then": "upload", "alt": "A [red] plan"}
    refused = mina.post("/support/knowledge/new", data={**form, "file": (io.BytesIO(HTML), "x.png")})
    assert refused.status_code == 422
    assert "no kind of file" in refused.text
    assert "Words</textarea>" in refused.text
    kept = mina.post("/support/knowledge/new", data={**form, "file": (io.BytesIO(png(colour=5)), "shared.png")})
    assert kept.status_code == 303
    page = mina.get(kept.location).text
    assert re.search(r"Words\n\n!\[A \\\[red\\\] plan\]\(files/[0-9a-f-]+/shared\.png\)</textarea>", page)
    assert 'alt="A [red] plan"' in page
    assert f'Also used in <a class="lnk" href="/support/knowledge/{other}">With a picture</a>' in page
    assert "PNG, 40 × 30, " in page


def test_the_editor_says_calmly_that_files_are_off(make_app: Callable[..., Flask], make_client: MakeClient) -> None:
    page = make_client(make_app(FILE_STORAGE=None), "mina").get("/support/knowledge/new").text
    assert "Images and files are off" in page
    assert 'type="file"' not in page
