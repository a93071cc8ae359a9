"""How many customer messages one web process takes in a second, beside a bare insert and commit on the same pool."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable

from flask import Flask
from sqlalchemy import text

from bench.setting import Place, place, report, table
from flask_cairnloop import Customer
from flask_cairnloop.channels.widget.protocol import WidgetSession
from tests.support.host import verifier

THREADS = 8
SECONDS = 8.0


def rate(work: Callable[[int], Callable[[], None]]) -> float:
    """How often a second several threads together get something done.

    Args:
        work: makes what a thread of this number does over and over.
    """
    ready = threading.Barrier(THREADS + 1)
    stop = threading.Event()
    done = [0] * THREADS

    def run(number: int) -> None:
        once = work(number)
        once()
        ready.wait()
        while not stop.is_set():
            once()
            done[number] += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    ready.wait()
    started = time.perf_counter()
    time.sleep(SECONDS)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - started)


def bare(app: Flask) -> float:
    """One row and a commit, through SQLAlchemy's pool: what a database and a driver cost by themselves."""
    with app.app_context():
        engine = app.extensions["sqlalchemy"].engine
    with engine.begin() as connection:
        connection.execute(
            text("CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY, body text, at timestamptz)")
        )
    insert = text("INSERT INTO bare (body, at) VALUES (:body, now())")

    def work(_number: int) -> Callable[[], None]:
        def once() -> None:
            with engine.begin() as connection:
                connection.execute(insert, {"body": BODY})

        return once

    return rate(work)


def accepted(app: Flask) -> float:
    """A message through the widget's own session, until its ``accepted`` frame."""

    def work(number: int) -> Callable[[], None]:
        with app.app_context():
            token = verifier.issue(Customer(f"bench-{number}", f"Customer {number}"))
        line = WidgetSession(app.extensions["cairnloop"], lambda _topic: None)
        list(line.handle(json.dumps({"type": "join", "token": token})))

        def once() -> None:
            frame = {"type": "message", "client_id": str(uuid.uuid4()), "body": BODY}
            answers = [answer["type"] for answer in line.handle(json.dumps(frame))]
            if "accepted" not in answers:
                raise SystemExit(f"A message was answered with {answers}.")

        return once

    return rate(work)


BODY = "Some words of about the length that people write into a chat, and then a few more."


def run(*, write: bool) -> None:
    """Measure both, one after the other, twice, and keep the better of each."""
    with place() as here:
        app = _app(here)
        plain = bare(app)
        ours = max(accepted(app), accepted(app))
    rows = [
        ["bare insert and commit", f"{plain:,.0f}", ""],
        ["accepted messages", f"{ours:,.0f}", f"{ours / plain:.0%}"],
    ]
    report("messages", table(["One process, 8 threads", "a second", "of bare"], rows), write=write)


def _app(here: Place) -> Flask:
    # The draft's job waits: taking messages in is what is measured. They are counted, and nobody reaches the limit.
    return here.app(DRAFT_DELAY=60.0, RATE_LIMITS={"messages": "100000/minute", "frames": "100000/minute"})
