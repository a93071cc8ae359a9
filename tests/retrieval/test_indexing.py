"""The index follows what is published."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import event, func, select, text
from sqlalchemy.orm import Session, scoped_session

from flask_cairnloop import search
from flask_cairnloop.actors import Actor
from flask_cairnloop.config import LONGEST_HOOK
from flask_cairnloop.jobs import JobContext
from flask_cairnloop.jobs.models import Job, JobState
from flask_cairnloop.jobs.registry import definition
from flask_cairnloop.jobs.runner import run_row
from flask_cairnloop.knowledge.models import Article
from flask_cairnloop.knowledge.service import archive, publish, published_revision
from flask_cairnloop.retrieval import indexing
from flask_cairnloop.retrieval.jobs import index
from flask_cairnloop.retrieval.models import Chunk, ChunkEmbedding
from flask_cairnloop.testing import run_jobs
from tests.support.databases import blocked, role_of_rows
from tests.support.processes import wait_until

ACTOR = Actor.system("test")
Publish = Callable[..., Article]


class Failing:
    """An embedder that can be switched off. It takes the kind of its texts by name, as the guide says it."""

    model = "switchable"
    dimensions = 2

    def __init__(self) -> None:
        self.works = False

    def embed(self, texts: Sequence[str], *, kind: str) -> Sequence[Sequence[float]]:
        if not self.works:
            raise OSError("no network")
        assert kind in ("query", "passage")
        return [(1.0, float(len(words))) for words in texts]


def test_a_published_article_has_passages_terms_and_vectors(session: Session, publish_article: Publish) -> None:
    body = "## Roses\n\n" + "Water the roses. " * 50 + "\n\n## Lawn\n\n" + "Mow it. " * 90
    article = publish_article("gardens", body)
    chunks = session.scalars(select(Chunk).where(Chunk.article_id == article.id).order_by(Chunk.ordinal)).all()
    assert [chunk.heading for chunk in chunks] == ["Roses", "Lawn"]
    revision = published_revision(session, article.id)
    assert revision is not None
    assert {chunk.revision_id for chunk in chunks} == {revision.id}
    assert "'rose':" in chunks[0].terms
    models = session.scalars(
        select(ChunkEmbedding.model).where(ChunkEmbedding.chunk_id.in_([chunk.id for chunk in chunks]))
    ).all()
    assert len(models) == 2
    assert models[0].startswith("all-MiniLM-L6-v2")


def test_running_it_twice_leaves_one_set_of_passages(app: Flask, session: Session, publish_article: Publish) -> None:
    article = publish_article("twice", "Once is enough.")
    for _ in indexing.queue(session, [article.id, article.id]):
        session.commit()
    assert run_jobs(app) == 1
    assert session.scalar(select(func.count()).where(Chunk.article_id == article.id)) == 1


def test_words_that_are_no_longer_the_published_ones_are_not_written(
    session: Session, publish_article: Publish
) -> None:
    article = publish_article("race", "The old words.")
    old = indexing.published(session, article.id)
    assert old is not None
    publish_article("race", "The new words.")
    assert indexing.write(session, old, old.pieces(), None, None) is False
    session.rollback()
    assert session.scalars(select(Chunk.content).where(Chunk.article_id == article.id)).all() == ["The new words."]


def test_an_article_published_while_it_is_taken_out_stays_in(
    app: Flask, session: Session, publish_article: Publish, database_url: str
) -> None:
    article_id = publish_article("back-again", "A wombat digs.").id
    archive(session, article_id, actor=ACTOR)
    session.commit()

    def take_out() -> None:
        """What a worker does who has looked before the article came back."""
        with app.app_context():
            desk = app.extensions["cairnloop"]
            index(JobContext(desk.session(), desk, 1, 5), article_id)
            desk.session.commit()

    publish(session, article_id, actor=ACTOR)
    worker = threading.Thread(target=take_out)
    worker.start()
    wait_until(lambda: blocked(database_url))
    session.commit()
    worker.join()
    assert session.scalars(select(Chunk.content).where(Chunk.article_id == article_id)).all() == ["A wombat digs."]


def test_an_archived_article_is_taken_out(app: Flask, session: Session, publish_article: Publish) -> None:
    article_id = publish_article("gone", "A quoll hides.").id
    archive(session, article_id, actor=ACTOR)
    session.commit()
    run_jobs(app)
    assert session.scalar(select(func.count()).where(Chunk.article_id == article_id)) == 0


def test_an_embedder_that_fails_does_not_delay_what_was_asked_for_meanwhile(
    make_app: Callable[..., Flask], publish_article: Publish, session: scoped_session[Session]
) -> None:
    article_id = publish_article("meanwhile", "A potoroo hops.", index=False).id
    session.remove()

    class AskedAgain(Failing):
        def embed(self, texts: Sequence[str], *, kind: str) -> Sequence[Sequence[float]]:
            if not self.works:  # somebody rebuilds the index while this fails
                asking = other.extensions["sqlalchemy"].session
                for _ in indexing.queue(asking, [article_id]):
                    asking.commit()
            return super().embed(texts, kind=kind)

    embedder = AskedAgain()
    other = make_app(EMBEDDER=embedder)
    with other.app_context():
        desk = other.extensions["sqlalchemy"].session
        mine = desk.scalars(select(Job).where(Job.unique_key == indexing.index_key(article_id))).one().id
        desk.rollback()
        assert run_row(other, mine, "me")
        again = desk.scalars(select(Job).where(Job.unique_key == indexing.index_key(article_id), Job.id != mine)).one()
        assert (again.state, again.arguments) == (JobState.QUEUED, {"article_id": article_id})
        desk.rollback()
        embedder.works = True
        run_jobs(other, within=timedelta(0))
        assert article_id not in indexing.stale(desk)
        desk.remove()


def test_looking_for_stale_articles_reads_no_texts(app: Flask, session: Session, publish_article: Publish) -> None:
    article_id = publish_article("long", "Long words. " * 100, index=False).id
    asked: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    engine = app.extensions["sqlalchemy"].engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        assert article_id in indexing.stale(session)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert not any("body" in statement for statement in asked)


def test_when_the_embedder_fails_words_are_found_and_vectors_follow(
    make_app: Callable[..., Flask], publish_article: Publish, session: scoped_session[Session]
) -> None:
    article_id = publish_article("later", "A numbat sleeps in a log.", index=False).id
    session.remove()
    embedder = Failing()
    other = make_app(EMBEDDER=embedder)
    run_jobs(other)
    with other.app_context():
        desk = other.extensions["sqlalchemy"].session
        assert search(desk, "numbat log").passages[0].article_id == article_id
        assert article_id in indexing.stale(desk)
        waiting = select(Job).where(Job.unique_key == indexing.index_key(article_id), Job.state == JobState.SCHEDULED)
        assert desk.scalars(waiting).one().arguments == {"article_id": article_id, "failures": 1}
        desk.rollback()
        embedder.works = True
        run_jobs(other, within=timedelta(minutes=2))
        assert article_id not in indexing.stale(desk)
        desk.remove()


class Slow(Failing):
    """One that takes its time for every batch, and counts them."""

    model = "slow"
    batches = 0

    def embed(self, texts: Sequence[str], *, kind: str) -> Sequence[Sequence[float]]:  # noqa: ARG002
        self.batches += 1
        time.sleep(0.1)
        return [(1.0, float(len(words))) for words in texts]


def test_an_embedder_that_is_too_slow_for_an_article_costs_its_vectors_and_not_the_job(
    make_app: Callable[..., Flask],
    publish_article: Publish,
    session: scoped_session[Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert definition(indexing.INDEX).timeout > indexing.EMBEDDING_SECONDS + LONGEST_HOOK, "a last batch, and our work"
    monkeypatch.setattr(indexing, "EMBEDDING_SECONDS", 0.15)
    body = "\n\n".join(f"## Part {n}\n\n" + f"The quokka of part {n} smiles. " * 30 for n in range(80))
    article_id = publish_article("quokkas", body, index=False).id
    session.remove()
    embedder = Slow()
    other = make_app(EMBEDDER=embedder)
    run_jobs(other)
    with other.app_context():
        desk = other.extensions["sqlalchemy"].session
        assert search(desk, "quokka smiles").passages[0].article_id == article_id
        assert article_id in indexing.stale(desk)
        waiting = select(Job).where(Job.unique_key == indexing.index_key(article_id), Job.state == JobState.SCHEDULED)
        assert desk.scalars(waiting).one().arguments == {"article_id": article_id, "failures": 1}
        desk.remove()
    assert 1 <= embedder.batches <= 3, "of five, and one for the question"


def test_the_commands_tell_how_far_it_is_and_queue_what_is_missing(
    app: Flask, session: Session, publish_article: Publish
) -> None:
    publish_article("first", "The first one.")
    for _ in indexing.queue(session, indexing.stale(session)):  # whatever other tests did to the index
        session.commit()
    publish_article("second", "The second one.", index=False)
    runner = app.test_cli_runner()
    run_jobs(app)
    session.execute(text("DELETE FROM cairnloop.chunks WHERE title = 'second'"))
    session.commit()
    status = indexing.status(session)
    assert (status.articles - status.indexed, status.articles - status.with_vectors) == (1, 1)
    session.rollback()
    assert f"Found by words         {status.indexed}" in runner.invoke(args=["cairnloop", "index", "status"]).output
    rebuilt = runner.invoke(args=["cairnloop", "index", "rebuild", "--stale"])
    assert rebuilt.exit_code == 0, rebuilt.output
    assert "1 article queued" in rebuilt.output
    run_jobs(app)
    assert indexing.stale(session) == []


def test_vectors_get_their_place_when_pgvector_comes_later(
    app: Flask, session: Session, publish_article: Publish
) -> None:
    article = publish_article("pgvector", "A bilby digs at night.")
    session.execute(text("DROP TABLE cairnloop.chunk_embeddings"))
    session.commit()
    assert indexing.status(session).vectors is False
    session.rollback()
    result = app.test_cli_runner().invoke(args=["cairnloop", "index", "rebuild"])
    assert result.exit_code == 0, result.output
    run_jobs(app)
    session.rollback()
    assert indexing.status(session).vectors is True
    assert article.id not in indexing.stale(session)


def test_a_role_that_may_not_create_tables_can_rebuild_the_index(
    app: Flask, make_app: Callable[..., Flask], database_url: str, session: Session, publish_article: Publish
) -> None:
    publish_article("owned", "Somebody else owns the tables.")
    with role_of_rows(app, database_url) as url:
        done = make_app(database_url=url).test_cli_runner().invoke(args=["cairnloop", "index", "rebuild"])
        assert done.exit_code == 0, done.exception
        assert "queued for the worker" in done.output
