"""The help centre: what anybody may read, what they say of it, and nothing else."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from flask_cairnloop import Actor
from flask_cairnloop.knowledge.models import Article, ArticleVote, Audience
from flask_cairnloop.knowledge.service import archive, publish, save_article
from flask_cairnloop.retrieval.search import search
from flask_cairnloop.testing import run_jobs
from flask_cairnloop.upkeep.models import GapEvent, GapReason, GapSource
from tests.conftest import Client

SOMEONE = Actor.system("test")
QUERY_BUDGET = 8


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    limits = {"searches": None, "votes": None}
    return {**config, "HELP_URL_PREFIX": "/help", "HELP_CONTACT_URL": "/chat", "RATE_LIMITS": limits}


@pytest.fixture
def write(app: Flask, at_the_desk: Callable[..., Any]) -> Callable[..., str]:
    """``write(title, body, **described)`` publishes an article, indexed; returns its slug."""

    def make(title: str, body: str, *, published: bool = True, **described: Any) -> str:
        slug = f"a-{uuid.uuid4().hex[:10]}"

        def work(session: Session) -> None:
            made = save_article(session, slug=slug, title=title, body=body, actor=SOMEONE, **described)
            if published:
                publish(session, made.id, actor=SOMEONE)

        at_the_desk(work)
        run_jobs(app)
        return slug

    return make


@pytest.fixture
def visitor(app: Flask) -> FlaskClient:
    return stranger(app)


def stranger(app: Flask) -> FlaskClient:
    """Somebody who has never been here."""
    app.test_client_class = Client
    client = app.test_client()
    client.environ_base.update(HTTP_ORIGIN="http://localhost", HTTP_SEC_FETCH_SITE="same-origin")
    return client


def places(client: FlaskClient, slug: str, title: str) -> dict[str, bool]:
    """Where an article stands."""
    browsed = client.get("/help/browse?category=Kiln").get_data(as_text=True)
    return {
        "page": client.get(f"/help/articles/{slug}").status_code == 200,
        "browse": slug in browsed,
        "search": slug in client.get(f"/help/search?q={title}").get_data(as_text=True),
        "sitemap": slug in client.get("/help/sitemap.xml").get_data(as_text=True),
        "vote": client.post(f"/help/articles/{slug}/vote", data={"helpful": "yes"}).status_code == 303,
    }


def test_what_is_published_for_customers_stands_everywhere_and_nothing_else_anywhere(
    visitor: FlaskClient, write: Callable[..., str], at_the_desk: Callable[..., Any]
) -> None:
    title = "Firing stoneware at cone six"
    shown = write(title, "Heat the kiln slowly.", category="Kiln")
    assert set(places(visitor, shown, title).values()) == {True}
    hidden = {
        "internal": write(title, "Heat it slowly.", category="Kiln", audience=Audience.INTERNAL),
        "draft": write(title, "Heat it.", category="Kiln", published=False),
        "archived": write(title, "Heat the kiln.", category="Kiln"),
    }

    def put_away(session: Session) -> None:
        found = session.scalars(select(Article.id).where(Article.slug == hidden["archived"])).one()
        archive(session, found, actor=SOMEONE)

    at_the_desk(put_away)
    for kind, slug in hidden.items():
        assert set(places(visitor, slug, title).values()) == {False}, kind


def test_where_the_host_narrows_articles_only_tags_that_it_gives_out_are_shown(
    make_app: Callable[..., Flask], write: Callable[..., str]
) -> None:
    tagged = write("Glazes we sell", "Celadon and tenmoku.", category="Kiln", tags=["open"])
    other = write("Glazes for members", "Shino.", category="Kiln", tags=["members"])
    scoped = make_app(ARTICLE_SCOPE=lambda _: ["members"])
    assert scoped.test_client().get(f"/help/articles/{tagged}").status_code == 404
    given = make_app(ARTICLE_SCOPE=lambda _: ["members"], HELP_TAGS=["open"])
    assert places(stranger(given), tagged, "Glazes we sell")["page"]
    assert set(places(stranger(given), other, "Glazes for members").values()) == {False}


def test_where_articles_are_in_several_languages_each_is_offered(
    visitor: FlaskClient, write: Callable[..., str]
) -> None:
    english = write("Wedge the clay twice", "Cut it.", category="Tongues", language="en")
    assert 'aria-label="Languages"' not in visitor.get("/help/").get_data(as_text=True)
    german = write("Ton schlagen", "Zweimal.", category="Tongues", language="de-AT")
    assert "Deutsch" in visitor.get("/help/").get_data(as_text=True)
    page = visitor.get("/help/browse?category=Tongues&language=de-AT").get_data(as_text=True)
    assert german in page
    assert english not in page
    assert 'lang="de-AT"' in visitor.get(f"/help/articles/{german}").get_data(as_text=True)


def test_without_a_prefix_there_is_none(make_app: Callable[..., Flask]) -> None:
    app = make_app(HELP_URL_PREFIX="")
    assert app.test_client().get("/help/").status_code == 404
    assert not [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("cairnloop_help")]


def test_pages_need_no_script_and_set_no_cookie_to_read(visitor: FlaskClient, write: Callable[..., str]) -> None:
    slug = write("Wedging clay", "Cut and slam.", tags=["clay"])
    for path in ("/help/", "/help/browse", "/help/search?q=clay", f"/help/articles/{slug}", "/help/nowhere"):
        answer = visitor.get(path)
        assert "<script" not in answer.get_data(as_text=True), path
        assert "Set-Cookie" not in answer.headers, path
        if not path.endswith("nowhere"):  # the host's own 404
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'"), path


def test_a_page_that_has_not_changed_is_not_sent_again(visitor: FlaskClient, write: Callable[..., str]) -> None:
    slug = write("Trimming a foot", "Leather hard.")
    for path in ("/help/", f"/help/articles/{slug}", "/help/sitemap.xml"):
        etag = visitor.get(path).headers["ETag"]
        again = visitor.get(path, headers={"If-None-Match": etag})
        assert (again.status_code, again.data) == (304, b"")


def test_each_visitor_has_one_vote_a_revision_and_may_change_it(
    app: Flask, visitor: FlaskClient, write: Callable[..., str], at_the_desk: Callable[..., Any]
) -> None:
    slug = write("Throwing a cylinder", "Centre first.")

    def votes() -> list[tuple[bool, str | None]]:
        wanted = select(ArticleVote.helpful, ArticleVote.comment).join(Article, Article.id == ArticleVote.article_id)
        return at_the_desk(lambda s: [(one[0], one[1]) for one in s.execute(wanted.where(Article.slug == slug))])

    path = f"/help/articles/{slug}/vote"
    answer = visitor.post(path, data={"helpful": "yes"})
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert "Thank you" in visitor.get(answer.location).get_data(as_text=True)
    visitor.post(path, data={"helpful": "no", "comment": "Write to me at ada@customer.example"})
    visitor.post(path, data={"helpful": "no"})
    assert votes() == [(False, "Write to me at [email]")]
    assert visitor.post(path, data={"helpful": "perhaps"}).status_code == 400
    stranger(app).post(path, data={"helpful": "yes"})
    forged = stranger(app)
    forged.set_cookie("cairnloop_visitor", "made-up", path="/help")
    forged.post(path, data={"helpful": "yes"})
    assert len(votes()) == 3
    elsewhere = stranger(app)
    headers = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    assert elsewhere.post(path, data={"helpful": "no"}, headers=headers).status_code == 403
    assert len(votes()) == 3


def test_what_was_asked_in_vain_is_a_gap_once_a_visitor(
    app: Flask, visitor: FlaskClient, write: Callable[..., str], at_the_desk: Callable[..., Any]
) -> None:
    slug = write("Drying greenware", "Slowly, under plastic.")
    for _ in range(2):
        page = visitor.get("/help/search?q=Who won the football final in Lisbon last year?").get_data(as_text=True)
        assert "ask a person" in page
    for _ in range(2):
        vote = {"helpful": "no", "q": "Who won the football final in Lisbon last year?"}
        visitor.post(f"/help/articles/{slug}/vote", data=vote)
    asked = GapEvent.question == "Who won the football final in Lisbon last year?"
    kept = select(GapEvent.question, GapEvent.source, GapEvent.reason).where(asked)
    rows = at_the_desk(lambda s: s.execute(kept).all())
    told = {(question, source, reason is GapReason.NOT_HELPFUL) for question, source, reason in rows}
    assert told == {
        ("Who won the football final in Lisbon last year?", GapSource.HELP_SEARCH, False),
        ("Who won the football final in Lisbon last year?", GapSource.HELP_VOTE, True),
    }
    assert len(rows) == 2
    other = stranger(app)
    other.environ_base["REMOTE_ADDR"] = "10.1.2.3"
    other.get("/help/search?q=Who won the football final in Lisbon last year?")
    assert len(at_the_desk(lambda s: s.execute(kept).all())) == 3, "somebody else asks as well"


def test_votes_decide_between_what_is_alike_and_without_any_nothing_changes(
    app: Flask, session: Session, write: Callable[..., str]
) -> None:
    one = write("Mixing slip for casting", "Stir the slip for an hour before casting it.")
    other = write("Mixing slip for joining", "Stir the slip for an hour before joining it.")

    def order() -> list[str]:
        session.rollback()
        found = search(session, "How long do I stir slip?", limit=10).passages
        slugs = {article.id: article.slug for article in session.scalars(select(Article))}
        return [slugs[passage.article_id] for passage in found if slugs[passage.article_id] in (one, other)]

    def parts() -> set[str]:
        found = search(session, "How long do I stir slip?", limit=10).passages
        return {name for passage in found if passage.title.startswith("Mixing slip") for name in passage.parts}

    before = order()
    assert "readers" not in parts()
    for _ in range(20):
        stranger(app).post(f"/help/articles/{before[0]}/vote", data={"helpful": "no"})
        stranger(app).post(f"/help/articles/{before[1]}/vote", data={"helpful": "yes"})
    assert order() == before[::-1]
    assert "readers" in parts()


def test_searches_and_votes_have_a_limit(make_app: Callable[..., Flask], write: Callable[..., str]) -> None:
    slug = write("Cones", "They bend.")
    limits = {"searches": "2/minute", "votes": "1/minute"}
    client = stranger(make_app(RATE_LIMITS=limits))
    client.environ_base["REMOTE_ADDR"] = f"10.0.0.{uuid.uuid4().int % 250}"
    assert [client.get("/help/search?q=cones").status_code for _ in range(3)] == [200, 200, 429]
    vote = f"/help/articles/{slug}/vote"
    assert [client.post(vote, data={"helpful": "yes"}).status_code for _ in range(2)] == [303, 429]
    assert client.get(f"/help/articles/{slug}").status_code == 200


@pytest.mark.parametrize(
    "path", ["search?q=%00", "browse?after=x&category=%FF", "articles/%00", "search", "browse?tag=%00"]
)
def test_nonsense_is_answered_calmly(visitor: FlaskClient, write: Callable[..., str], path: str) -> None:
    write("Bats", "Wood or plaster.")
    assert visitor.get(f"/help/{path}").status_code in (200, 303, 404)


def test_each_page_stays_within_its_queries(app: Flask, visitor: FlaskClient, write: Callable[..., str]) -> None:
    slug = write("Wax resist", "Brush it on.", category="Glaze", tags=["wax"])
    with app.app_context():
        engine = app.extensions["sqlalchemy"].engine
    counted: dict[str, int] = {}
    for path in ("", "browse", "search?q=wax resist", f"articles/{slug}", "sitemap.xml"):
        asked: list[str] = []

        def note(_c: Any, _cursor: Any, statement: str, *_: Any, into: list[str] = asked) -> None:
            if re.match(r"\s*(SELECT|WITH)", statement, re.IGNORECASE):
                into.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        visitor.get(f"/help/{path}")
        event.remove(engine, "before_cursor_execute", note)
        counted[path] = len(asked)
    assert {path: number for path, number in counted.items() if number > QUERY_BUDGET} == {}


def test_an_operator_sees_on_the_article_what_visitors_said(
    app: Flask, visitor: FlaskClient, operator_client: FlaskClient, write: Callable[..., str], at_the_desk: Any
) -> None:
    slug = write("Kiln gods", "Optional.")
    visitor.post(f"/help/articles/{slug}/vote", data={"helpful": "no", "comment": "Which one?"})
    stranger(app).post(f"/help/articles/{slug}/vote", data={"helpful": "yes"})
    article_id = at_the_desk(lambda s: s.scalars(select(Article.id).where(Article.slug == slug)).one())
    page = operator_client.get(f"/support/knowledge/{article_id}").get_data(as_text=True)
    assert "1 of 2 visitors found it helpful" in page
    assert "Which one?" in page
