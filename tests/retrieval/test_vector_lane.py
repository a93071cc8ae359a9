"""Exact comparison and the HNSW index: the same answers, and no gap between the two."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from flask_cairnloop import search
from flask_cairnloop.actors import Actor
from flask_cairnloop.context import current
from flask_cairnloop.jobs import enqueue
from flask_cairnloop.jobs.models import Job, JobState
from flask_cairnloop.jobs.runner import run_row
from flask_cairnloop.knowledge.models import Article, Audience
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.retrieval import ann, indexing, vector_lane, vectors
from flask_cairnloop.retrieval.models import Chunk, ChunkEmbedding, EmbeddingModel
from flask_cairnloop.retrieval.types import LaneState
from flask_cairnloop.retrieval.vector_lane import LiveModel
from flask_cairnloop.retrieval.visibility import Scope
from flask_cairnloop.testing import run_jobs
from tests.support.databases import blocked, role_of_rows
from tests.support.embedders import Words
from tests.support.processes import wait_until

ACTOR = Actor.system("test")
TOWNS = [f"{first}{second}" for first in ("Ash", "Birch", "Cedar", "Elm", "Fir") for second in ("by", "ford", "ham")]
MODEL = "it's 50% of a: model"  # as unpleasant inside SQL as a fingerprint can be


@pytest.fixture
def database_url(fresh_database_url: str) -> str:
    return fresh_database_url


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten vectors call for an index."""
    monkeypatch.setattr(vector_lane, "EXACT_LIMIT", 10)
    monkeypatch.setattr(vector_lane, "PROBES", 30)


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(EMBEDDER=Words(MODEL, 64))


def towns(app: Flask) -> None:
    """Fifteen articles of four passages each; every third one is for the team only."""
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        for number, town in enumerate(TOWNS):
            body = "\n\n".join(
                f"## {place}\n\n" + f"The {place} of {town} opens at nine and closes at five. " * 9
                for place in ("library", "station", "market", "school")
            )
            audience = Audience.INTERNAL if number % 3 == 0 else Audience.PUBLIC
            saved = save_article(session, slug=town.lower(), title=town, body=body, actor=ACTOR, audience=audience)
            publish(session, saved.id, actor=ACTOR)
        session.commit()


def tend(app: Flask) -> None:
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        enqueue(session, indexing.TEND, {}, unique_key=indexing.TEND)
        session.commit()
    run_jobs(app)


def live(session: Session) -> LiveModel:
    found = vectors.live(session, current().hooks)
    assert not isinstance(found, str)
    return found[1]


def is_valid(session: Session) -> bool | None:
    name = f"cairnloop.{vector_lane.index_name(MODEL)}"
    found = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
    return session.scalar(found, {"name": name})


def rows(session: Session, question: str, model: LiveModel, audience: Audience | None) -> list[tuple[object, ...]]:
    vector = list(Words(MODEL, 64).embed([question], kind="query")[0])
    found = vector_lane.nearest(session, vector, model, scope=Scope(audience), candidates=5)
    best = sorted(found, key=lambda row: (-row.similarity, row.id))
    return [(row.id, row.article_id, round(row.similarity, 5), round(row.breadth, 5)) for row in best]


@pytest.mark.usefixtures("few_are_many")
def test_beyond_the_limit_an_index_is_built_and_finds_the_same(app: Flask, session: Session) -> None:
    towns(app)
    run_jobs(app)
    model = live(session)
    assert model.ann_index == vector_lane.index_name(MODEL)
    assert is_valid(session)
    exact = LiveModel(model.model, model.dimensions, model.vectors)
    session.execute(text("SET LOCAL enable_seqscan = off"))  # so few rows are read faster without it
    session.execute(text("SET LOCAL enable_sort = off"))
    asked = text("EXPLAIN " + vector_lane.statement(session, model).text)
    empty = {"audience": None, "tags": None, "articles": [], "chunks": []}
    values = {"vector": str([1.0] * 64), "candidates": 5, **empty}
    assert model.ann_index in "\n".join(session.scalars(asked, values))
    for audience in (None, Audience.PUBLIC):
        for question in ("When does the library of Elmford open?", "station Cedarby", "the school of Ashham"):
            assert rows(session, question, model, audience) == rows(session, question, exact, audience)
    results = search(session, "When does the library of Elmford open?")
    assert results.passages[0].title == "Elmford"
    assert {lane.state for lane in results.lanes} == {LaneState.OK}


@pytest.mark.usefixtures("few_are_many")
def test_what_may_not_be_shown_takes_no_place_among_the_nearest(app: Flask, session: Session) -> None:
    towns(app)
    run_jobs(app)
    vector_lane.PROBES = 4  # type: ignore[misc] - put back by the fixture
    vector = list(Words(MODEL, 64).embed(["The library of Ashby opens at nine"], kind="query")[0])
    found = vector_lane.nearest(session, vector, live(session), scope=Scope(Audience.PUBLIC), candidates=5)
    inside = set(session.scalars(select(Article.id).where(Article.audience == Audience.INTERNAL)))
    assert found
    assert not inside & {row.article_id for row in found}


@pytest.mark.usefixtures("few_are_many")
def test_what_the_keyword_lane_named_is_compared_too(app: Flask, session: Session) -> None:
    towns(app)
    run_jobs(app)
    model = live(session)
    far = session.scalars(select(Chunk).where(Chunk.title == "Firham").order_by(Chunk.ordinal)).all()
    vector = list(Words(MODEL, 64).embed(["Ashford"], kind="query")[0])
    for way in (model, LiveModel(model.model, model.dimensions, model.vectors)):
        found = vector_lane.nearest(
            session,
            vector,
            way,
            scope=Scope(),
            candidates=1,
            also_articles=[far[0].article_id],
            also_chunks=[chunk.id for chunk in far],
        )
        assert {chunk.id for chunk in far} <= {row.id for row in found}


@pytest.mark.usefixtures("few_are_many")
def test_a_build_that_breaks_off_leaves_search_exact_and_is_made_up_for(
    app: Flask, session: Session, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setattr(vector_lane, "EXACT_LIMIT", 1_000)
    towns(app)
    run_jobs(app)
    monkeypatch.setattr(vector_lane, "EXACT_LIMIT", 10)
    enqueue(session, indexing.TEND, {}, unique_key=indexing.TEND)
    session.commit()
    job_id = session.scalars(select(Job.id).where(Job.name == indexing.TEND, Job.state == JobState.QUEUED)).one()
    session.rollback()
    with app.app_context(), app.extensions["cairnloop"].engine.connect() as writer:
        # A writer that is not done makes the build wait in its midst; then its connection dies.
        writer.execute(text("UPDATE cairnloop.chunk_embeddings SET model = model WHERE chunk_id = 1"))
        building = threading.Thread(target=run_row, args=(app, job_id, "me"))
        building.start()
        wait_until(lambda: blocked(database_url))
        assert live(session).ann_index is None
        session.rollback()
        writer.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%'")
        )
        building.join()
        writer.rollback()
    assert session.scalars(select(Job.state).where(Job.id == job_id)).one() is JobState.RETRYING
    assert is_valid(session) is False
    assert live(session).ann_index is None
    assert search(session, "the market of Birchham").passages[0].title == "Birchham"
    session.rollback()
    run_jobs(app, within=timedelta(minutes=1))
    assert is_valid(session) is True
    assert live(session).ann_index is not None


@pytest.mark.usefixtures("few_are_many")
def test_two_builders_do_not_get_into_each_others_way(app: Flask, session: Session) -> None:
    towns(app)
    run_jobs(app)
    with app.app_context(), ann._alone(app.extensions["cairnloop"].engine, MODEL):
        assert ann.keep(app.extensions["cairnloop"].engine, MODEL) is True
        tend(app)
        waits = select(Job.run_at - func.now()).where(Job.name == indexing.TEND, Job.state == JobState.SCHEDULED)
        assert session.scalars(waits).one() > timedelta(seconds=20)


def test_an_index_that_is_lost_or_not_worth_it_any_more_leaves_search_exact(
    app: Flask, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_lane, "EXACT_LIMIT", 10)
    towns(app)
    run_jobs(app)
    session.execute(text(f"DROP INDEX cairnloop.{vector_lane.index_name(MODEL)}"))
    session.commit()
    assert live(session).ann_index is None
    assert search(session, "the market of Birchham").passages[0].title == "Birchham"
    session.rollback()
    tend(app)
    assert live(session).ann_index is not None
    session.rollback()
    monkeypatch.setattr(vector_lane, "EXACT_LIMIT", 1_000)
    tend(app)
    assert live(session).ann_index is None
    assert is_valid(session) is None


@pytest.mark.usefixtures("few_are_many")
def test_a_role_that_may_not_build_it_switches_all_the_same(
    app: Flask, make_app: Callable[..., Flask], session: Session, database_url: str
) -> None:
    towns(app)
    run_jobs(app)
    session.rollback()
    with role_of_rows(app, database_url) as url:
        other = make_app(database_url=url, EMBEDDER=Words("other"), PREVIOUS_EMBEDDER=Words(MODEL, 64))
        with other.app_context():
            desk = other.extensions["sqlalchemy"].session
            enqueue(desk, indexing.START, {}, unique_key=indexing.START)
            desk.commit()
            run_jobs(other)
            assert vectors.live_model(desk) == "other"
            assert live(desk).ann_index is None
            assert search(desk, "the market of Birchham").passages[0].title == "Birchham"
            desk.remove()


@pytest.mark.usefixtures("few_are_many")
def test_the_next_model_has_its_index_before_the_switch_and_the_old_one_goes_with_its_vectors(
    app: Flask, make_app: Callable[..., Flask], session: Session
) -> None:
    towns(app)
    run_jobs(app)
    other = make_app(EMBEDDER=Words("other"), PREVIOUS_EMBEDDER=Words(MODEL, 64))
    with other.app_context():
        desk = other.extensions["sqlalchemy"].session
        enqueue(desk, indexing.START, {}, unique_key=indexing.START)
        desk.commit()
        run_jobs(other)
        after = live(desk)
        assert (after.model, after.dimensions, after.ann_index) == ("other", 64, vector_lane.index_name("other"))
        assert desk.get_one(EmbeddingModel, "other").centroid is not None
        desk.rollback()
        run_jobs(other, within=timedelta(minutes=5))
        assert set(desk.scalars(select(ChunkEmbedding.model))) == {"other"}
        assert is_valid(desk) is None
        desk.remove()
