"""Search on real PostgreSQL with the real offline model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session

from flask_cairnloop import search
from flask_cairnloop.actors import Actor
from flask_cairnloop.context import current
from flask_cairnloop.knowledge.models import Article, Audience
from flask_cairnloop.knowledge.service import archive
from flask_cairnloop.retrieval import keyword_lane, statistics
from flask_cairnloop.retrieval.search import explore, passages
from flask_cairnloop.retrieval.types import LaneState, Outcome, SearchResults
from flask_cairnloop.retrieval.visibility import Scope
from flask_cairnloop.testing import run_jobs

ACTOR = Actor.system("test")
Publish = Callable[..., Article]
COUNT = text("SELECT count(*) FROM cairnloop.chunks")


def titles(results: SearchResults) -> list[str]:
    return [passage.title for passage in results.passages]


def lanes(results: SearchResults) -> dict[str, LaneState]:
    return {lane.name: lane.state for lane in results.lanes}


class Broken:
    """An embedder that has stopped working."""

    model = "broken"
    dimensions = 384

    def embed(self, texts: object, kind: object = None) -> Sequence[Sequence[float]]:  # noqa: ARG002
        raise TimeoutError("the provider does not answer")


class Hanging:
    """An embedder that does not come back before it is let go."""

    model = "hanging"
    dimensions = 384

    def __init__(self, release: threading.Event) -> None:
        self.release = release

    def embed(self, texts: object, kind: object = None) -> Sequence[Sequence[float]]:  # noqa: ARG002
        self.release.wait(10)
        return []


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("My wallet was stolen with my library card in it. What should I do?", "Your library card is lost or stolen"),
        ("I forgot my PIN and cannot sign in any more", "Resetting your PIN"),
        ("Are you open on Sunday?", "Opening hours"),
        ("E-4107", "Reading e-books on your device"),
        ("my screen says " + "and I do not know what to do " * 60 + "E-4107", "Reading e-books on your device"),
        ("is it posible to prolong the lending of books i still have at home", "How long you can keep what you borrow"),
    ],
)
def test_the_article_that_answers_comes_first(library: Session, question: str, title: str) -> None:
    results = search(library, question)
    assert titles(results)[0] == title
    assert lanes(results) == dict.fromkeys(("keyword", "vector", "memory"), LaneState.OK)


def test_one_passage_an_article_with_its_numbers(library: Session) -> None:
    results = search(library, "How much are fees for a late book?", limit=5)
    assert len(results.passages) == 5
    assert len({passage.article_id for passage in results.passages}) == 5
    best = results.passages[0]
    assert (best.keyword_rank, best.vector_rank) == (1, 1)
    assert best.similarity is not None
    assert 0.4 < best.similarity < 1
    assert best.keyword_score is not None
    assert 0 < best.keyword_score <= 1
    assert [p.score for p in results.passages] == sorted((p.score for p in results.passages), reverse=True)


@pytest.mark.parametrize(
    "question",
    ["", "   ", "\x00", "'", "\\", "'':*&|!()<->", "a\\'b ':* | x", "the of and", "%s %(x)s :n", "𝔘𝔫𝔦 ☃", "x" * 50_000],
)
def test_no_question_breaks_it(library: Session, question: str) -> None:
    results = search(library, question)
    assert not results.degraded
    assert library.execute(text("SELECT 1")).scalar_one() == 1


def test_without_an_embedder_words_alone_find_and_the_lane_says_why(
    library: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(current().hooks), "embedder", lambda _hooks: None)
    results = search(library, "My library card was stolen")
    assert titles(results)[0] == "Your library card is lost or stolen"
    assert lanes(results) == {"keyword": LaneState.OK, "vector": LaneState.OFF, "memory": LaneState.OFF}
    assert results.lanes[1].reason
    assert not results.degraded


def test_a_broken_embedder_is_a_lane_that_is_down_and_articles_are_still_found(
    make_app: Callable[..., Flask], library: Session
) -> None:
    library.rollback()
    other = make_app(EMBEDDER=Broken())
    with other.app_context():
        results = search(other.extensions["sqlalchemy"].session, "My library card was stolen")
    assert titles(results)[0] == "Your library card is lost or stolen"
    assert results.degraded
    assert lanes(results)["vector"] is LaneState.DOWN


def test_an_embedder_that_hangs_costs_no_more_than_the_limit(make_app: Callable[..., Flask], library: Session) -> None:
    library.rollback()
    release = threading.Event()
    other = make_app(EMBEDDER=Hanging(release), HOOK_TIMEOUT=0.2)
    with other.app_context():
        results = search(other.extensions["sqlalchemy"].session, "My library card was stolen")
    release.set()
    assert titles(results)[0] == "Your library card is lost or stolen"
    assert results.lanes[1].reason == "The embedder did not answer in time."


def test_a_lane_the_database_refuses_leaves_the_transaction_usable(library: Session) -> None:
    library.execute(text("ALTER TABLE cairnloop.chunk_embeddings RENAME COLUMN embedding TO elsewhere"))
    results = search(library, "My library card was stolen")
    assert titles(results)[0] == "Your library card is lost or stolen"
    assert lanes(results) == {"keyword": LaneState.OK, "vector": LaneState.DOWN, "memory": LaneState.OK}
    assert library.execute(text("SELECT 1")).scalar_one() == 1
    library.rollback()


def test_a_database_without_the_table_for_vectors_searches_by_words(library: Session) -> None:
    from flask_cairnloop.database.base import quoted_schema

    library.execute(text(f"DROP TABLE {quoted_schema(library)}.chunk_embeddings"))
    results = search(library, "My library card was stolen")
    assert titles(results)[0] == "Your library card is lost or stolen"
    assert lanes(results)["vector"] is LaneState.OFF
    assert "pgvector" in (results.lanes[1].reason or "")
    library.rollback()


def test_superseded_and_archived_words_are_never_found(app: Flask, session: Session, publish_article: Publish) -> None:
    article = publish_article("ferry", "The quokka ferry leaves at nine.", title="Ferry")
    assert titles(search(session, "quokka ferry"))[:1] == ["Ferry"]
    publish_article("ferry", "The wallaby ferry leaves at ten.", title="Ferry", index=False)
    found = search(session, "quokka ferry")  # before the worker has run
    assert all("quokka" not in passage.content for passage in found.passages)
    run_jobs(app)
    assert search(session, "wallaby ferry").passages[0].content == "The wallaby ferry leaves at ten."
    archive(session, article.id, actor=ACTOR)
    session.commit()
    assert article.id not in {passage.article_id for passage in search(session, "wallaby ferry").passages}
    run_jobs(app)
    assert article.id not in {passage.article_id for passage in search(session, "wallaby ferry").passages}


def test_internal_articles_are_marked_and_can_be_left_out(session: Session, publish_article: Publish) -> None:
    inside = publish_article("margins", "Our margin on axolotl food is forty percent.", audience=Audience.INTERNAL)
    (first, *_) = search(session, "margin on axolotl food").passages
    assert (first.article_id, first.public) == (inside.id, False)
    public = search(session, "margin on axolotl food", audience=Audience.PUBLIC)
    assert inside.id not in {passage.article_id for passage in public.passages}


def test_only_articles_with_one_of_the_tags_are_found_where_tags_are_given(
    session: Session, publish_article: Publish
) -> None:
    basic = publish_article("quoll-basic", "The quoll plan has one seat.", title="Quoll, basic", tags=["basic"])
    publish_article("quoll-pro", "The quoll plan has ten seats.", title="Quoll, pro", tags=["pro"])
    publish_article("quoll-none", "The quoll plan is a plan.", title="Quoll, no tag")
    found = search(session, "How many seats has the quoll plan?", tags=["basic", "other"])
    assert [passage.article_id for passage in found.passages] == [basic.id]


def test_four_ways_of_finding_nothing_are_told_apart(session: Session, make_app: Callable[..., Flask]) -> None:
    nothing = "zyzzyva quux"
    session.execute(text("DELETE FROM cairnloop.chunks"))
    assert search(session, nothing).outcome is Outcome.NO_HIT
    assert search(session, nothing, tags=[]).outcome is Outcome.REFUSED
    session.rollback()
    broken = make_app(EMBEDDER=Broken())
    with broken.app_context():
        other = broken.extensions["sqlalchemy"].session
        other.execute(text("DELETE FROM cairnloop.chunks"))
        assert search(other, nothing).outcome is Outcome.DEGRADED
        other.execute(text("ALTER TABLE cairnloop.chunks RENAME COLUMN terms TO elsewhere"))
        assert search(other, nothing).outcome is Outcome.ERROR
        other.rollback()


def test_the_statistics_of_terms_are_right_with_and_without_a_fold(
    app: Flask, session: Session, publish_article: Publish
) -> None:
    def counted() -> dict[str, int]:
        rows = session.execute(
            text(
                "SELECT lexeme, sum(passages) FROM (SELECT lexeme, passages FROM cairnloop.terms"
                " UNION ALL SELECT lexeme, passages FROM cairnloop.term_changes) AS counts"
                " GROUP BY lexeme HAVING sum(passages) > 0"
            )
        ).all()
        return {lexeme: int(passages) for lexeme, passages in rows}

    def true() -> dict[str, int]:
        rows = session.execute(
            text(
                "SELECT lexeme, count(*) FROM cairnloop.chunks, unnest(tsvector_to_array(terms)) AS lexeme"
                " GROUP BY lexeme"
            )
        ).all()
        return {**{lexeme: int(passages) for lexeme, passages in rows}, "": session.scalar(COUNT) or 0}

    article = publish_article("numbat", "The numbat eats termites. The numbat sleeps.", title="Numbat")
    publish_article("numbat-two", "A second numbat.", title="Numbat again")
    assert counted() == true()
    statistics.fold(session)
    session.commit()
    assert counted() == true()
    assert session.scalar(text("SELECT count(*) FROM cairnloop.term_changes")) == 0
    archive(session, article.id, actor=ACTOR)
    session.commit()
    run_jobs(app)  # the fold too
    assert counted() == true()
    assert "termit" not in counted()


def test_an_identifier_is_found_the_moment_it_is_indexed_however_long_the_question(
    session: Session, publish_article: Publish
) -> None:
    publish_article("err", "When the screen shows ZX-90417, unplug the reader.", title="A code on the screen")
    question = "It says ZX-90417. " + "I have tried to turn it off and on again and wait. " * 40
    assert search(session, question).passages[0].title == "A code on the screen"


def test_common_words_are_not_scanned(session: Session, publish_article: Publish, monkeypatch: Any) -> None:
    for number in range(6):
        publish_article(f"common-{number}", "A wombat digs a burrow in the evening.", title=f"Wombat {number}")
    rare = publish_article("rare", "A wombat digs a burrow near the bilby.", title="Bilby")
    monkeypatch.setattr(keyword_lane, "POSTINGS", 3)
    rows = keyword_lane.find(session, "wombat burrow bilby", "english", Scope())
    assert {row.article_id for row in rows} == {rare.id}
    assert keyword_lane.find(session, "wombat burrow", "english", Scope())  # only common ones: together they are asked


def test_articles_that_may_not_be_shown_crowd_nobody_out(
    session: Session, publish_article: Publish, monkeypatch: Any
) -> None:
    words = "A quokka, a quokka and a quokka."
    for number in range(4):
        publish_article(f"quokka-{number}", words, title=f"Quokka {number}", audience=Audience.INTERNAL)
    shown = publish_article("quokka-shown", "Now and then a quokka comes by.", title="Visitors")
    monkeypatch.setattr(keyword_lane, "CANDIDATES", 2)
    for postings in (keyword_lane.POSTINGS, 2):  # as a rare word, and as a common one
        monkeypatch.setattr(keyword_lane, "POSTINGS", postings)
        rows = keyword_lane.find(session, "quokka", "english", Scope(Audience.PUBLIC))
        assert {row.article_id for row in rows} == {shown.id}


def test_an_article_archived_while_it_was_searched_is_not_shown(session: Session, publish_article: Publish) -> None:
    article = publish_article("numbat", "A numbat eats nothing but termites.", title="The numbat")
    found = explore(session, "What does a numbat eat?", Scope())
    assert article.id in {passage.article_id for passage in passages(session, found, 8)}
    archive(session, article.id, actor=ACTOR)
    assert article.id not in {passage.article_id for passage in passages(session, found, 8)}


def test_each_result_says_what_each_lane_added(library: Session) -> None:
    best = search(library, "How much are fees for a late book?").passages[0]
    assert set(best.parts) == {"meaning", "breadth", "words", "memory"}
    assert sum(best.parts.values()) == pytest.approx(best.score, abs=1e-3)


def test_articles_that_say_the_same_are_one_result(session: Session, publish_article: Publish) -> None:
    words = "To calm a restless potoroo, dim the light, lower your voice and offer it a piece of fresh truffle."
    one, two = (publish_article(f"potoroo-{n}", words, title=f"A restless potoroo {n}") for n in (1, 2))
    found = [p for p in search(session, "My potoroo is restless").passages if p.article_id in (one.id, two.id)]
    assert len(found) == 1
    assert {found[0].article_id, *found[0].also_in} == {one.id, two.id}
