"""How many customer messages one web process takes in a second, beside a bare insert and commit on the same pool."""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask
from sqlalchemy import Engine, text

from bench.setting import Place, place, report, table
from flask_cairnloop import Customer
from flask_cairnloop.actors import Actor
from flask_cairnloop.channels.widget.protocol import WidgetSession
from flask_cairnloop.clock import now
from flask_cairnloop.conversations import intake
from flask_cairnloop.drafting.lifecycle import carried_on_terms
from tests.support.host import verifier

THREADS = 8
SECONDS = 3.0
ROUNDS = 4
BODY = "Some words of about the length that people write into a chat, and then a few more."
Work = Callable[[int], Callable[[], object]]  # makes what a thread of this number does over and over


@dataclass
class Way:
    """One way of spending the time, and how far it came."""

    label: str
    work: Work
    done: int = 0
    seconds: float = 0.0
    calls: int = 0
    processor: float = 0.0  # seconds of this process, all its threads together

    def spend(self) -> None:
        """Let the threads do it for a while. They run in one process, as a web server's do."""
        ready = threading.Barrier(THREADS + 1)
        stop = threading.Event()
        done = [0] * THREADS

        def run(number: int) -> None:
            once = self.work(number)
            once()
            ready.wait()
            while not stop.is_set():
                once()
                done[number] += 1

        threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        ready.wait()
        started, processor = time.perf_counter(), time.process_time()
        time.sleep(SECONDS)
        stop.set()
        for thread in threads:
            thread.join()
        self.done += sum(done)
        self.seconds += time.perf_counter() - started
        self.processor += time.process_time() - processor

    def count(self) -> None:
        """Count the calls, of Python's functions and of C's, that one of them takes."""
        once = self.work(0)
        for _ in range(10):
            once()

        def note(_frame: object, what: str, _argument: object) -> None:
            self.calls += what in ("call", "c_call")

        sys.setprofile(note)
        once()
        sys.setprofile(None)

    @property
    def rate(self) -> float:
        return self.done / self.seconds

    @property
    def processor_each(self) -> float:
        """Microseconds of the processor for each."""
        return self.processor / self.done * 1e6


def bare(app: Flask) -> Work:
    """One row and a commit, through SQLAlchemy's pool: what a database and a driver cost by themselves."""
    engine = _engine(app)
    with engine.begin() as connection:
        connection.execute(
            text("CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY, body text, at timestamptz)")
        )
    insert = text("INSERT INTO bare (body, at) VALUES (:body, now())")

    def work(_number: int) -> Callable[[], object]:
        def once() -> None:
            with engine.begin() as connection:
                connection.execute(insert, {"body": BODY})

        return once

    return work


def by_hand(app: Flask, *, redis: bool) -> Work:
    """The statement that an accepted message is, without a frame, a session or a rule around it.

    Args:
        redis: with its two commands, for the limit and for the live event.
    """
    engine, desk = _engine(app), app.extensions["cairnloop"]
    event = {"type": "message", "data": {"conversation_id": 1, "sequence": 1, "kind": "customer"}}

    def work(number: int) -> Callable[[], object]:
        customer = Customer(f"bench-{number}", f"Customer {number}")
        conversation_id, actor = _conversation(app, customer), Actor.customer(customer)
        with app.app_context():
            terms = carried_on_terms()

        def once() -> None:
            if redis:
                desk.rate_limits.take("messages", customer.ref)
            values = intake.terms(
                conversation_id,
                customer,
                actor=actor,
                body=BODY,
                client_id=uuid.uuid4(),
                at=now(),
                draft_terms=terms,
                shown=intake.preview(BODY),
            )
            with engine.begin() as connection:
                intake.statement(held=False).execute(connection, values).one()
            if redis:
                desk.publisher.send({"topic": "a", **event}, {"topic": "console", **event})

        return once

    return work


def accepted(app: Flask) -> Work:
    """A message through the widget's own session, until its ``accepted`` frame."""

    def work(number: int) -> Callable[[], object]:
        line = joined(app, Customer(f"bench-{number}", f"Customer {number}"))
        return lambda: send(line)

    return work


def run(*, write: bool) -> None:
    """Take turns, so that whatever else the machine does meets each of them alike."""
    with place() as here:
        app = _app(here)
        ways = [
            Way("bare insert and commit", bare(app)),
            Way("the statement of a message, by hand", by_hand(app, redis=False)),
            Way("the same with its two Redis commands", by_hand(app, redis=True)),
            Way("accepted messages", accepted(app)),
        ]
        for _ in range(ROUNDS):
            for way in ways:
                way.spend()
        for way in ways:
            way.count()
    plain = ways[0].rate
    rows = [
        [
            way.label,
            f"{way.rate:,.0f}",
            "" if way is ways[0] else f"{way.rate / plain:.0%}",
            f"{way.processor_each:,.0f}",
            f"{way.calls:,}",
        ]
        for way in ways
    ]
    head = ["One process, 8 threads", "a second", "of bare", "its processor time, µs each", "calls each"]
    report("messages", table(head, rows), write=write)


def _engine(app: Flask) -> Engine:
    with app.app_context():
        engine: Engine = app.extensions["sqlalchemy"].engine
        return engine


def joined(app: Flask, customer: Customer) -> WidgetSession:
    """The customer's line, joined."""
    with app.app_context():
        token = verifier.issue(customer)
    line = WidgetSession(app.extensions["cairnloop"], lambda _topic: None)
    list(line.handle(json.dumps({"type": "join", "token": token})))
    return line


def send(line: WidgetSession) -> int:
    """A message on it, until its ``accepted`` frame; in which conversation it is."""
    frame = {"type": "message", "client_id": str(uuid.uuid4()), "body": BODY}
    answers = list(line.handle(json.dumps(frame)))
    for answer in answers:
        if answer["type"] == "accepted":
            conversation_id: int = answer["conversation"]
            return conversation_id
    raise SystemExit(f"A message was answered with {[answer['type'] for answer in answers]}.")


def _conversation(app: Flask, customer: Customer) -> int:
    """A conversation of theirs for which a draft is being made."""
    return send(joined(app, customer))


def _app(here: Place) -> Flask:
    # The draft's job waits: taking messages in is what is measured. They are counted, and nobody reaches the limit.
    return here.app(DRAFT_DELAY=60.0, RATE_LIMITS={"messages": "100000/minute", "frames": "100000/minute"})
