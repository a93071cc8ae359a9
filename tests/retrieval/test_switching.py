"""From one embedding model to another: search goes on all the while, and what is old is gone in the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flask_cairnloop import search
from flask_cairnloop.actors import Actor
from flask_cairnloop.jobs import enqueue
from flask_cairnloop.jobs.models import Job, JobState
from flask_cairnloop.jobs.runner import run_row
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.retrieval import indexing
from flask_cairnloop.retrieval.indexing import IndexState
from flask_cairnloop.retrieval.models import Chunk, ChunkEmbedding, EmbeddingModel, ModelState
from flask_cairnloop.retrieval.types import LaneState, SearchResults
from flask_cairnloop.testing import run_jobs
from tests.support.embedders import Words
from tests.support.processes import wait_until

ACTOR = Actor.system("test")
ANIMALS = ("aardvark", "bandicoot", "capybara", "dormouse", "echidna", "ferret", "gibbon", "hedgehog", "ibex", "jackal")
WHOLE = timedelta(minutes=5)  # as far as the removal of what is old


@pytest.fixture
def database_url(fresh_database_url: str) -> str:
    """A database a test: models are states of the whole install."""
    return fresh_database_url


def article(session: Session, name: str, words: str) -> int:
    body = f"## {name}\n\n{words}\n\n## Feeding\n\n" + f"The {name} is fed with grass and fruit at noon. " * 12
    saved = save_article(session, slug=name, title=name.title(), body=body, actor=ACTOR)
    publish(session, saved.id, actor=ACTOR)
    session.commit()
    return saved.id


def zoo(app: Flask) -> None:
    """A house of ten animals, each with an article, indexed by the app's embedder."""
    with app.app_context():
        for name in ANIMALS:
            article(app.extensions["sqlalchemy"].session, name, f"The {name} lives in the {name} house.")
    run_jobs(app)


def at_start(app: Flask) -> None:
    """What a worker asks for when it starts."""
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        enqueue(session, indexing.START, {}, unique_key=indexing.START)
        session.commit()


@contextmanager
def desk(app: Flask) -> Iterator[Session]:
    with app.app_context():
        yield app.extensions["sqlalchemy"].session


def ask(app: Flask, name: str) -> SearchResults:
    with desk(app) as session:
        return search(session, f"Where does the {name} live?")


def lane(results: SearchResults) -> LaneState:
    return next(lane.state for lane in results.lanes if lane.name == "vector")


def states(app: Flask) -> dict[str, ModelState]:
    with desk(app) as session:
        return {row.model: row.state for row in session.scalars(select(EmbeddingModel))}


def vectors_of(app: Flask, model: str) -> int:
    with desk(app) as session:
        counted = select(func.count()).select_from(ChunkEmbedding).where(ChunkEmbedding.model == model)
        return session.scalar(counted) or 0


@dataclass
class Asking:
    """Somebody who asks all the time, in a thread."""

    app: Flask
    wrong: list[str] = field(default_factory=list)
    asked: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Asking:
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()

    def run(self) -> None:
        while not self.stop.is_set():
            name = ANIMALS[self.asked % len(ANIMALS)]
            try:
                results = ask(self.app, name)
                first = results.passages[0].title if results.passages else None
                if first != name.title() or lane(results) is not LaneState.OK:
                    self.wrong.append(f"{name}: {first}, {results.lanes}")
            except Exception as fault:
                self.wrong.append(repr(fault))
            self.asked += 1


def test_a_search_loop_during_reembedding_sees_no_error_and_no_empty_answer(make_app: Callable[..., Flask]) -> None:
    old = Words("old", 96)
    zoo(make_app(EMBEDDER=old))
    new = Words("new", 64, before=lambda kind: time.sleep(0.05) if kind == "passage" else None)
    app = make_app(EMBEDDER=new, PREVIOUS_EMBEDDER=old)
    with Asking(app) as somebody:
        wait_until(lambda: somebody.asked > 5)
        at_start(app)
        run_jobs(app, limit=4)  # the first of them are embedded
        assert states(app) == {"old": ModelState.LIVE, "new": ModelState.BUILDING}
        assert 0 < vectors_of(app, "new") < vectors_of(app, "old")
        with desk(app) as session:
            edited = article(session, "capybara", "The capybara has moved to the pond, and lives there.")
            kiwi = article(session, "kiwi", "The kiwi lives in the dark.")
        run_jobs(app, limit=2)
        before = somebody.asked
        run_jobs(app)
        assert states(app) == {"old": ModelState.RETIRED, "new": ModelState.LIVE}
        wait_until(lambda: somebody.asked > before + 5)
        run_jobs(app, within=WHOLE)
        assert vectors_of(app, "old") == 0
        before = somebody.asked
        wait_until(lambda: somebody.asked > before + 5)
    assert somebody.wrong == []
    with desk(app) as session:
        assert vectors_of(app, "new") == session.scalar(select(func.count()).select_from(Chunk))
        standing = indexing.standings(session, [edited, kiwi])
        assert {found.state for found in standing.values()} == {IndexState.INDEXED}
    assert "pond" in ask(app, "capybara").passages[0].content
    assert ask(app, "kiwi").passages[0].title == "Kiwi"


def test_what_is_published_meanwhile_gets_vectors_of_both(make_app: Callable[..., Flask]) -> None:
    old, new = Words("old"), Words("new")
    zoo(make_app(EMBEDDER=old))
    refuse = threading.Event()

    def not_yet(kind: str) -> None:
        if kind == "passage" and refuse.is_set():
            raise OSError("no network")

    new.before = not_yet
    app = make_app(EMBEDDER=new, PREVIOUS_EMBEDDER=old)
    refuse.set()
    at_start(app)
    run_jobs(app)
    refuse.clear()
    with desk(app) as session:
        article_id = article(session, "kiwi", "The kiwi lives in the dark.")
    run_jobs(app)
    with desk(app) as session:
        found = select(ChunkEmbedding.model).join(Chunk, Chunk.id == ChunkEmbedding.chunk_id)
        assert set(session.scalars(found.where(Chunk.article_id == article_id))) == {"old", "new"}
    assert states(app)["old"] is ModelState.LIVE


def test_without_the_previous_one_words_answer_until_it_is_done_and_the_lane_says_how_far_it_is(
    make_app: Callable[..., Flask],
) -> None:
    zoo(make_app(EMBEDDER=Words("old")))
    app = make_app(EMBEDDER=Words("new"))
    at_start(app)
    run_jobs(app, limit=4)
    results = ask(app, "gibbon")
    assert results.passages[0].title == "Gibbon"
    assert lane(results) is LaneState.OFF
    done, of = vectors_of(app, "new"), vectors_of(app, "old")
    assert 0 < done < of
    assert (
        results.lanes[1].reason == f"Vectors of the embedding model are being made: {done} of {of} passages have one."
    )
    with desk(app) as session:
        counted = indexing.status(session).states
        assert 0 < counted[IndexState.STALE] < len(ANIMALS)
        assert counted[IndexState.STALE] + counted[IndexState.INDEXED] == len(ANIMALS)
    run_jobs(app)
    assert lane(ask(app, "gibbon")) is LaneState.OK


@pytest.mark.parametrize("how", ["raises", "hangs"])
def test_a_new_embedder_that_does_not_work_keeps_the_old_one_in_use(make_app: Callable[..., Flask], how: str) -> None:
    old = Words("old")
    zoo(make_app(EMBEDDER=old))
    works = threading.Event()

    def before(kind: str) -> None:
        if not works.is_set() and how == "raises":
            raise OSError("no network")
        works.wait(1.0 if kind == "query" else 0.1)
        if not works.is_set():
            raise TimeoutError

    app = make_app(EMBEDDER=Words("new", before=before), PREVIOUS_EMBEDDER=old, HOOK_TIMEOUT=0.3)
    at_start(app)
    run_jobs(app)
    with Asking(app) as somebody:
        wait_until(lambda: somebody.asked > 10)
    assert somebody.wrong == []
    with desk(app) as session:
        status = indexing.status(session)
        assert (status.model, status.building, status.with_vectors) == ("old", "new", len(ANIMALS))
        assert status.states[IndexState.FAILED] == len(ANIMALS)
        assert {failure.reason for failure in status.failed} <= {
            "The embedder raised OSError.",
            "The embedder raised TimeoutError.",
        }
    works.set()
    run_jobs(app, within=timedelta(minutes=2))
    assert states(app) == {"old": ModelState.RETIRED, "new": ModelState.LIVE}
    assert lane(ask(app, "ferret")) is LaneState.OK


def test_going_back_before_the_old_vectors_are_gone_keeps_them(make_app: Callable[..., Flask]) -> None:
    old, new = Words("old"), Words("new")
    zoo(make_app(EMBEDDER=old))
    app = make_app(EMBEDDER=new, PREVIOUS_EMBEDDER=old)
    at_start(app)
    run_jobs(app)
    assert states(app) == {"old": ModelState.RETIRED, "new": ModelState.LIVE}
    made = old.passages
    back = make_app(EMBEDDER=old, PREVIOUS_EMBEDDER=new)
    at_start(back)
    run_jobs(back)
    assert states(back) == {"old": ModelState.LIVE, "new": ModelState.RETIRED}
    assert old.passages == made, "they were all still there"
    run_jobs(back, within=WHOLE)
    assert vectors_of(back, "new") == 0
    assert vectors_of(back, "old") > 0
    assert lane(ask(back, "ibex")) is LaneState.OK


def test_an_article_written_while_the_switch_happens_gets_the_vectors_that_count(
    make_app: Callable[..., Flask],
) -> None:
    """Its job looked before the switch, and writes after it."""
    old, new = Words("old"), Words("new")
    zoo(make_app(EMBEDDER=old))
    app = make_app(EMBEDDER=old)  # a worker that has not been told of the new one yet
    told = make_app(EMBEDDER=new, PREVIOUS_EMBEDDER=old)

    def switch_meanwhile(kind: str) -> None:
        if kind == "passage":
            old.before = None
            at_start(told)
            run_jobs(told)

    with desk(app) as session:
        article_id = article(session, "kiwi", "The kiwi lives in the dark.")
        mine = session.scalars(select(Job.id).where(Job.unique_key == indexing.index_key(article_id))).one()
    old.before = switch_meanwhile
    assert run_row(app, mine, "me")
    assert states(told)["new"] is ModelState.LIVE
    with desk(told) as session:
        waits = select(Job).where(Job.unique_key == indexing.index_key(article_id), Job.state != JobState.SUCCEEDED)
        assert session.scalars(waits).one() is not None
    run_jobs(told)
    with desk(told) as session:
        assert indexing.standings(session, [article_id])[article_id].state is IndexState.INDEXED
    assert ask(told, "kiwi").passages[0].title == "Kiwi"
