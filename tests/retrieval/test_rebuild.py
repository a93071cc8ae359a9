"""Making the whole index anew: interrupted anywhere, it goes on; nothing is lost and nothing done twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from flask_cairnloop import search
from flask_cairnloop.actors import Actor
from flask_cairnloop.jobs.models import Job, JobState
from flask_cairnloop.knowledge.service import archive, publish, save_article
from flask_cairnloop.retrieval import indexing
from flask_cairnloop.retrieval.indexing import IndexState
from flask_cairnloop.retrieval.models import Chunk
from flask_cairnloop.testing import run_jobs
from tests.support.embedders import OLD, Words
from tests.support.processes import ROOT, environment
from tests.support.processes import worker as running_worker

ACTOR = Actor.system("test")
TEN = [f"tool-{number}" for number in range(10)]
REBUILD = ("cairnloop", "index", "rebuild")


@pytest.fixture
def database_url(fresh_database_url: str) -> str:
    return fresh_database_url


@pytest.fixture
def embedder() -> Words:
    return Words("words")


@pytest.fixture
def app(make_app: Callable[..., Flask], embedder: Words) -> Flask:
    app = make_app(EMBEDDER=embedder)
    fill(app)
    embedder.passages = 0
    return app


def fill(app: Flask) -> None:
    """Ten articles of one passage each, indexed."""
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        for slug in TEN:
            saved = save_article(session, slug=slug, title=slug, body=f"How to hold {slug}.", actor=ACTOR)
            publish(session, saved.id, actor=ACTOR)
        session.commit()
    run_jobs(app)


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=[*REBUILD, *arguments])


def status(app: Flask) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        app.test_cli_runner().invoke(args=["cairnloop", "index", "status", "--json"]).output
    )
    return found


def waiting(session: Session) -> list[str]:
    session.rollback()
    keys = select(Job.unique_key).where(Job.name == indexing.INDEX, Job.state == JobState.QUEUED)
    return sorted(str(key) for key in session.scalars(keys))


def test_queueing_that_is_interrupted_goes_on_where_it_was(
    app: Flask, session: Session, embedder: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "QUEUE_BATCH", 2)
    real, asked = indexing.enqueue, []

    def until_the_sixth(*arguments: Any, **more: Any) -> int:
        asked.append(arguments)
        if len(asked) == 6:
            raise KeyboardInterrupt
        return real(*arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(indexing, "enqueue", until_the_sixth)
        assert run(app).exit_code == 1
    assert len(waiting(session)) == 4, "two batches were committed"
    assert status(app)["rebuilding"] == 10
    again = run(app)
    assert "A rebuild is under way: it goes on." in again.output
    assert "6 articles queued" in again.output
    assert len(waiting(session)) == len(set(waiting(session))) == 10
    run_jobs(app)
    assert status(app)["rebuilding"] == 0
    assert embedder.passages == 10, "each one once"


def test_a_second_call_makes_nothing_anew_that_the_first_has_done(app: Flask, embedder: Words) -> None:
    run(app)
    run_jobs(app, limit=4)
    assert status(app)["rebuilding"] == 6
    assert "0 articles queued" in run(app).output
    run_jobs(app)
    assert (status(app)["rebuilding"], embedder.passages) == (0, 10)
    run(app)
    assert status(app)["rebuilding"] == 10, "when that is done, a further call is a further rebuild"


def test_a_rebuild_follows_a_changed_language_and_never_takes_an_article_away(
    app: Flask, make_app: Callable[..., Flask], embedder: Words
) -> None:
    other = make_app(EMBEDDER=embedder, SEARCH_LANGUAGE="simple")
    run(other)
    for _ in range(13):
        run_jobs(other, limit=1)
        with other.app_context():
            session = other.extensions["sqlalchemy"].session
            assert session.scalar(select(func.count()).select_from(Chunk)) == 10
            assert search(session, "hold tool-3").passages
            session.remove()
    with other.app_context():
        session = other.extensions["sqlalchemy"].session
        assert "'to'" in session.scalars(select(Chunk.terms)).first()
        session.remove()


def test_an_embedder_that_fails_leaves_what_is_there_and_the_rebuild_waits_for_it(
    app: Flask, session: Session, embedder: Words
) -> None:
    before = set(session.scalars(select(Chunk.id)))
    session.rollback()

    def fail(_kind: str) -> None:
        raise OSError("no network")

    embedder.before = fail
    run(app)
    run_jobs(app)
    assert set(session.scalars(select(Chunk.id))) == before
    session.rollback()
    found = status(app)
    assert (found["rebuilding"], found["with_vectors"], found["work"]["later"]) == (10, 10, 10)
    embedder.before = None
    assert "10 articles queued" in run(app).output, "they are not waited for any longer"
    run_jobs(app)
    assert status(app)["rebuilding"] == 0


def test_what_is_stale_is_queued_alone(app: Flask, session: Session, embedder: Words) -> None:
    session.execute(
        text("DELETE FROM cairnloop.chunk_embeddings WHERE chunk_id IN (SELECT min(id) FROM cairnloop.chunks)")
    )
    session.commit()
    assert status(app)["states"]["stale"] == 1
    assert "1 article queued" in run(app, "--stale").output
    assert "0 articles queued" in run(app, "--stale").output
    run_jobs(app)
    assert (status(app)["states"]["indexed"], embedder.passages) == (10, 1)


def test_every_state_is_counted_with_its_reason(app: Flask, session: Session, embedder: Words) -> None:
    def fail(kind: str) -> None:
        if kind == "passage":
            raise OSError("no network")

    save_article(session, slug="unwritten", title="Unwritten", body="Not yet.", actor=ACTOR)
    gone = save_article(session, slug=TEN[0], title=TEN[0], body=f"How to hold {TEN[0]}.", actor=ACTOR)
    archive(session, gone.id, actor=ACTOR)
    embedder.before = fail
    late = save_article(session, slug=TEN[1], title=TEN[1], body="Hold it otherwise.", actor=ACTOR)
    publish(session, late.id, actor=ACTOR)
    session.commit()
    run_jobs(app)
    newest = save_article(session, slug=TEN[2], title=TEN[2], body="Hold it with both hands.", actor=ACTOR)
    publish(session, newest.id, actor=ACTOR)
    session.commit()
    found = status(app)
    assert found["states"] == {"pending": 1, "indexed": 7, "failed": 1, "stale": 0, "empty": 2}
    assert [(one["article_id"], one["reason"], one["failures"]) for one in found["failed"]] == [
        (late.id, "The embedder raised OSError.", 1)
    ]
    assert [(one["model"], one["state"], one["passages"], one["of"], one["search"]) for one in found["models"]] == [
        ("words", "live", 7, 9, "exact")
    ]
    told = app.test_cli_runner().invoke(args=["cairnloop", "index", "status"]).output
    assert f"article {late.id}, 1 times: The embedder raised OSError." in told
    assert late.id in {passage.article_id for passage in search(session, "hold otherwise").passages}
    session.rollback()


def test_a_job_that_is_given_up_is_a_failure_with_its_reason(
    app: Flask, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = save_article(session, slug=TEN[1], title=TEN[1], body="Hold it otherwise.", actor=ACTOR)
    publish(session, late.id, actor=ACTOR)
    session.commit()

    def break_down(*_: object) -> None:
        raise RuntimeError("words of an article")

    with monkeypatch.context() as patched:
        patched.setattr(indexing, "plan", break_down)
        for _ in range(5):
            session.execute(text("UPDATE cairnloop.jobs SET run_at = now() WHERE state = 'retrying'"))
            session.commit()
            run_jobs(app)
    standing = indexing.standings(session, [late.id])[late.id]
    assert (standing.state, standing.reason) == (IndexState.FAILED, "Its indexing failed (RuntimeError).")
    assert not standing.waits
    session.rollback()
    run(app, "--stale")
    run_jobs(app)
    assert indexing.standings(session, [late.id])[late.id].state is IndexState.INDEXED


def test_waiting_shows_what_is_left_and_stopping_it_stops_no_work(
    make_app: Callable[..., Flask], database_url: str, redis_url: str, config: dict[str, Any]
) -> None:
    app = make_app(EMBEDDER=OLD)
    fill(app)
    env = environment(database_url, redis_url, **config, EMBEDDER="tests.support.embedders:OLD")
    command = [sys.executable, "-m", "flask", "--app", "tests.support.host:create_app", *REBUILD, "--wait"]

    def start() -> subprocess.Popen[str]:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins with it ignored
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    first = start()
    assert first.stdout is not None
    shown = []
    while "11 left\n" not in shown:  # ten articles, and a look at the whole
        shown.append(first.stdout.readline())
    first.send_signal(signal.SIGINT)
    said = first.communicate(timeout=60)[0]
    assert first.returncode == 130
    assert any("No worker for indexing is alive" in line for line in shown)
    assert "To see how far it is: flask cairnloop index rebuild --wait" in said
    second = start()
    assert second.stdout is not None
    told = ""
    while not told.endswith("articles queued for the worker.\n"):  # a worker might be done before it has looked
        told += second.stdout.readline()
    with running_worker(env):
        said = told + second.communicate(timeout=60)[0]
    assert second.returncode == 0, said
    assert "A rebuild is under way: it goes on.\n0 articles queued" in said
    assert "10 of 10 articles are found by words, 10 by meaning." in said
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        done = select(func.count()).select_from(Job).where(Job.name == indexing.INDEX, Job.state == JobState.SUCCEEDED)
        assert session.scalar(done) == 20, "ten when they were published, ten for the rebuild"
        session.remove()
