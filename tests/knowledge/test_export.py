"""``kb export``: what goes out comes back the same."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.hooks import Operator
from flask_cairnloop.knowledge import exporter
from flask_cairnloop.knowledge.importer import SourceFile, import_file, parse
from flask_cairnloop.knowledge.models import Article, Audience, Revision
from flask_cairnloop.knowledge.service import archive, publish, published_revision, save_article

DESCRIBED = ("title", "audience", "category", "tags", "language", "source_url")


def run(app: Flask, command: str, folder: Path) -> Result:
    return app.test_cli_runner().invoke(args=["cairnloop", "kb", command, str(folder)])


@pytest.fixture
def app(make_app: Callable[..., Flask], fresh_database_url: str) -> Flask:
    """An export takes all there is: each test has a database of its own."""
    return make_app(database_url=fresh_database_url)


@pytest.fixture
def actor(operator: Operator) -> Actor:
    return Actor.operator(operator)


@pytest.fixture
def articles(session: Session, actor: Actor) -> dict[str, Article]:
    """One of each kind: described in full, plain, a draft, archived."""
    made = {
        "full": {"title": "Zurück: so geht's", "category": "Geld", "tags": ["a, b", "c"], "language": "de"},
        "plain": {"title": "Opening hours"},
        "draft": {"title": "Soon"},
        "archived": {"title": "Once"},
    }
    made["full"] |= {"source_url": "https://help.example/a?b=c#d", "audience": Audience.INTERNAL}
    found: dict[str, Article] = {}
    for slug, values in made.items():
        found[slug] = save_article(session, **{"slug": slug, "body": f"# {slug}\n\nWords.", "actor": actor, **values})  # type: ignore[arg-type]
        if slug != "draft":
            publish(session, found[slug].id, actor=actor)
    archive(session, found["archived"].id, actor=actor)
    session.commit()
    return found


@pytest.mark.usefixtures("articles")
def test_published_articles_become_files_and_what_is_left_out_is_said(app: Flask, tmp_path: Path) -> None:
    (tmp_path / "older.md").write_text("# Older\n\nNot ours.\n")
    result = run(app, "export", tmp_path)
    assert result.exit_code == 0
    assert "2 articles: 2 written." in result.output
    assert "Left out, as they are not published: 1 draft, 1 archived." in result.output
    assert "Left alone: 1 other Markdown file: older.md." in result.output
    assert {path.name for path in tmp_path.iterdir()} == {"full.md", "plain.md", "older.md"}
    assert (tmp_path / "plain.md").read_text() == (
        "---\ntitle: Opening hours\nslug: plain\naudience: public\n---\n\n# Opening hours\n\n# plain\n\nWords.\n"
    )
    again = run(app, "export", tmp_path)
    assert "2 articles: 2 unchanged." in again.output


def test_an_import_of_the_files_changes_nothing(
    app: Flask, session: Session, articles: dict[str, Article], tmp_path: Path
) -> None:
    run(app, "export", tmp_path)
    before = {slug: article.updated_at for slug, article in articles.items()}
    result = run(app, "import", tmp_path)
    assert "2 files: 2 unchanged." in result.output
    session.expire_all()
    assert {slug: article.updated_at for slug, article in articles.items()} == before


def test_published_words_go_out_and_not_those_being_written(
    app: Flask, session: Session, articles: dict[str, Article], actor: Actor, tmp_path: Path
) -> None:
    save_article(session, slug="plain", title="Opening hours", body="Not yet.", actor=actor)
    session.commit()
    run(app, "export", tmp_path)
    assert "Not yet." not in (tmp_path / "plain.md").read_text()
    assert articles["plain"].title == "Opening hours"


def test_slugs_that_a_disk_may_take_for_one_have_files_of_their_own(
    app: Flask, session: Session, actor: Actor, tmp_path: Path
) -> None:
    for slug in ("Refunds", "refunds"):
        publish(session, save_article(session, slug=slug, title=slug, body="Words.", actor=actor).id, actor=actor)
    session.commit()
    run(app, "export", tmp_path)
    names = [path.name for path in tmp_path.iterdir()]
    assert len({name.casefold() for name in names}) == len(names)
    assert {parse(SourceFile(path, "")).slug for path in tmp_path.iterdir()} >= {"Refunds", "refunds"}


@pytest.mark.usefixtures("articles")
def test_a_folder_that_cannot_be_written_is_an_error_and_a_run_after_it_goes_on(app: Flask, tmp_path: Path) -> None:
    (tmp_path / "plain.md").mkdir()
    result = run(app, "export", tmp_path)
    assert result.exit_code == 1
    assert "plain.md could not be written" in result.output
    assert "Traceback" not in result.output
    (tmp_path / "plain.md").rmdir()
    assert "1 written, 1 unchanged" in run(app, "export", tmp_path).output
    assert not list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("articles")
def test_a_file_in_place_of_the_folder_is_an_error_of_usage(app: Flask, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    assert run(app, "export", tmp_path / "taken").exit_code == 2
    assert (tmp_path / "taken").read_text() == "mine"


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60)
lines = words.map(lambda text: " ".join(text.split())).filter(bool)
bodies = st.lists(
    st.one_of(
        words, lines.map("# {}".format), st.sampled_from(["---", "===", "```", "# Title", "    code", "", "- a"])
    ),
    min_size=1,
).map("\n".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    title=st.one_of(
        lines, st.sampled_from(["Title", "*Title*", "a #", "# a", "12. a", "2024-01-01", "null", "[x](y)"])
    ),
    body=bodies.filter(lambda text: text.strip()),
    category=st.none() | words,
    tags=st.lists(words, max_size=3),
    language=st.none() | st.text(max_size=20).filter(lambda text: text.isascii() and "\x00" not in text),
)
@example(title="Title", body="# Title\n\n# Title\n\nText", category=None, tags=[], language=None)
@example(title="*Title*", body="Title\n===\n\nText", category="yes", tags=["1", "null"], language="no")
@example(title="a #", body="\r\n\r\nText\r\n---\rmore", category=None, tags=["- a", "---"], language=None)
def test_any_article_comes_back_as_it_was(
    session: Session,
    actor: Actor,
    tmp_path: Path,
    title: str,
    body: str,
    category: str | None,
    tags: list[str],
    language: str | None,
) -> None:
    values: dict[str, Any] = {"title": title, "body": body, "category": category, "tags": tags, "language": language}
    saved = save_article(session, slug=f"s-{uuid.uuid4().hex[:8]}", actor=actor, **values)
    publish(session, saved.id, actor=actor)
    revision = published_revision(session, saved.id)
    assert revision is not None
    path = tmp_path / "article.md"
    exporter.write(path, exporter.document(saved, revision))
    back = parse(SourceFile(path, "other"))
    assert (back.slug, back.body.strip()) == (saved.slug, revision.body)
    assert import_file(session, back, actor=actor) == "unchanged"
    assert {name: getattr(back, name) for name in DESCRIBED} == {
        name: tuple(value) if isinstance(value := getattr(saved, name), list) else value for name in DESCRIBED
    }
    assert list(session.scalars(select(Revision.number).where(Revision.article_id == saved.id))) == [1]
