"""Articles in the console: a list in pages, and one article with the words that count now."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, inspect, select
from sqlalchemy.orm import QueryContext

from flask_cairnloop.actors import Actor
from flask_cairnloop.clock import now
from flask_cairnloop.drafting import service as drafting
from flask_cairnloop.drafting.models import DraftState
from flask_cairnloop.knowledge import queries as reading
from flask_cairnloop.knowledge import service
from flask_cairnloop.knowledge.models import Article, ArticleState, Revision
from flask_cairnloop.testing import run_jobs
from tests.conftest import Client
from tests.console.conftest import CITATION, Desk
from tests.support.embedders import Words

WRITER = Actor.system("test")
Write = Callable[..., int]


@pytest.fixture
def write(app: Flask) -> Write:
    """``write(slug, words, ...)`` publishes each of the words in turn, the last one not with ``publish=False``."""

    def make(slug: str, *words: str, publish: bool = True) -> int:
        with app.app_context():
            session = app.extensions["sqlalchemy"].session
            for number, body in enumerate(words, 1):
                article = service.save_article(session, slug=slug, title=slug.title(), body=body, actor=WRITER)
                if publish or number < len(words):
                    service.publish(session, article.id, actor=WRITER)
            session.commit()
            return int(article.id)

    return make


def revisions(app: Flask, article_id: int) -> list[int]:
    with app.app_context():
        found = select(Revision.id).where(Revision.article_id == article_id).order_by(Revision.number)
        return list(app.extensions["sqlalchemy"].session.scalars(found))


def test_an_article_shows_its_published_words_and_loads_no_others(
    app: Flask, operator_client: FlaskClient, write: Write
) -> None:
    article_id = write("gauge", "First words", "Second words", "Third words", "Words that are not out", publish=False)
    loaded: list[Revision] = []

    def note(revision: Revision, _context: QueryContext) -> None:
        loaded.append(revision)

    event.listen(Revision, "load", note)
    try:
        page = operator_client.get(f"/support/knowledge/{article_id}").get_data(as_text=True)
    finally:
        event.remove(Revision, "load", note)
    assert "Third words" in page
    assert "Version 3" in page
    assert [revision.number for revision in loaded if "body" not in inspect(revision).unloaded] == [3]


def test_what_was_never_published_shows_its_draft(operator_client: FlaskClient, write: Write) -> None:
    page = operator_client.get(f"/support/knowledge/{write('new', 'Not out yet', publish=False)}")
    assert "Not out yet" in page.get_data(as_text=True)


def test_a_source_link_of_an_older_version_says_so(app: Flask, operator_client: FlaskClient, write: Write) -> None:
    article_id, other_id = write("lamp", "Old words", "New words"), write("bell", "Elsewhere")
    old, new = revisions(app, article_id)
    notice = "The draft cites version 1"

    def page(revision: object) -> str:
        answer = operator_client.get(f"/support/knowledge/{article_id}", query_string={"revision": revision})
        assert answer.status_code == 200
        return answer.get_data(as_text=True)

    assert notice in page(old)
    for other in (new, revisions(app, other_id)[0], 999_999, "9" * 30, "x", "", "\x00", "-1"):
        assert "The draft cites" not in page(other)


def test_the_list_is_read_in_pages_by_state(app: Flask, operator_client: FlaskClient, write: Write) -> None:
    published = write("published", "Words")
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        for number in range(reading.PAGE_SIZE + 3):
            service.save_article(session, slug=f"part-{number}", title="Part", body="Words", actor=WRITER)
        session.commit()
        newest_first = select(Article.id).order_by(Article.updated_at.desc(), Article.id.desc())
        everything = list(session.scalars(newest_first))
        drafts = list(session.scalars(newest_first.where(Article.state == ArticleState.DRAFT)))

    def walk(path: str) -> list[int]:
        seen: list[int] = []
        while path:
            page = operator_client.get(path).get_data(as_text=True)
            seen += [int(found) for found in re.findall(r'href="/support/knowledge/(\d+)"', page)]
            more = re.search(r'class="more"><a href="([^"]+)"', page)
            path = more[1].replace("&amp;", "&") if more else ""
        return seen

    assert walk("/support/knowledge") == everything
    assert walk("/support/knowledge?state=draft") == drafts
    assert published in set(everything) - set(drafts)


def signed_in(app: Flask, operator_id: str) -> FlaskClient:
    app.test_client_class = Client
    client = app.test_client()
    client.environ_base.update(
        HTTP_ORIGIN="http://localhost", HTTP_SEC_FETCH_SITE="same-origin", HTTP_X_OPERATOR=operator_id
    )
    return client


class Moody:
    """An embedder that works when it is in the mood."""

    model = "moody"
    dimensions = 2
    works = False

    def embed(self, texts: Sequence[str], *, kind: str) -> Sequence[Sequence[float]]:  # noqa: ARG002
        if not self.works:
            raise OSError("no network")
        return [(1.0, float(len(words))) for words in texts]


def test_the_index_is_told_in_words_with_the_reason_and_a_way_to_try_again(
    fresh_database_url: str, make_app: Callable[..., Flask]
) -> None:
    embedder = Moody()
    app = make_app(database_url=fresh_database_url, EMBEDDER=embedder)
    mina, editor = signed_in(app, "mina"), signed_in(app, "editor")
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        article_id = service.save_article(session, slug="bell", title="Bell", body="It rings.", actor=WRITER).id
        session.commit()
        address = f"/support/knowledge/{article_id}"

        def page(path: str = address, client: FlaskClient = mina) -> str:
            return client.get(path).get_data(as_text=True)

        assert "In the index" not in page()  # nothing of it is published
        service.publish(session, article_id, actor=WRITER)
        session.commit()
    assert "Being indexed" in page()
    assert "Being indexed" in page("/support/knowledge")
    run_jobs(app)
    assert "The embedder raised OSError. Tried once; it is tried again." in page()
    assert "Not fully indexed" in page("/support/knowledge")
    assert "Try again now" in page()
    assert "Try again now" not in page(client=editor)
    assert editor.post(f"{address}/index").status_code == 403
    assert mina.post("/support/knowledge/999999/index").status_code == 404

    embedder.works = True
    assert mina.post(f"{address}/index").location == address
    run_jobs(app)
    assert "In the index" in page()
    assert "Try again now" not in page()
    assert "indexed" not in page("/support/knowledge")

    renewed = make_app(database_url=fresh_database_url, EMBEDDER=Words("another"))
    outdated = signed_in(renewed, "mina").get(address).get_data(as_text=True)
    assert "Index out of date" in outdated
    assert "Try again now" in outdated


def test_a_list_asks_no_more_about_many_articles_than_about_few(
    operator_client: FlaskClient, write: Write, queries: Callable[[], Any]
) -> None:
    counts = []
    for number in range(2):
        write(f"counted-{number}", "Words")
        with queries() as seen:
            operator_client.get("/support/knowledge")
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 10


def test_an_article_says_how_the_drafts_did_that_cite_it(
    app: Flask, desk: Desk, operator_client: FlaskClient, write: Write
) -> None:
    article_id, other_id = write("cited", "Words"), write("not-cited", "Words")
    cited = [{**CITATION, "article_id": article_id}]
    for reason in ("wrong", "wrong", "tone"):
        draft_id = desk.draft(desk.ask(), citations=cited, engine="deterministic-1")
        with app.app_context():
            session = app.extensions["sqlalchemy"].session
            drafting.discard(session, draft_id, actor=WRITER, reason=reason)
            session.commit()
    changed = {"state": DraftState.EDITED, "decided_by": "mina", "decided_at": now(), "changed": 0.25}
    desk.draft(desk.ask(), citations=cited, engine="deterministic-1", **changed)
    desk.draft(desk.ask(), citations=cited, engine="deterministic-1")
    page = operator_client.get(f"/support/knowledge/{article_id}").get_data(as_text=True)
    assert (
        "Cited by 5 drafts in the last 90 days: 1 sent with changes (25% of the words), "
        "3 not used (2 wrong, 1 of the wrong tone), 1 to check."
    ) in page
    assert "Cited by" not in operator_client.get(f"/support/knowledge/{other_id}").get_data(as_text=True)
